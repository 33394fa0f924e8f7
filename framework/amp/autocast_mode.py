"""`autocast`, the context manager and decorator, and the functions that ask for and set what it sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from naiad.amp.mode import KINDS, active, enable, kind_of, settings
from naiad.core import backend
from naiad.core.device import device
from naiad.core.dtype import bfloat16, dtype, float16


class autocast:
    """Mixed precision for what is inside: ``with autocast("cuda"):`` or ``@autocast("cuda")``.

    device_type: "cuda" or "cpu"; ops on other devices are left alone. dtype: float16 or bfloat16 (None: float16 on
    cuda and bfloat16 on cpu, or what `set_autocast_dtype` says). enabled=False switches an outer region off.
    cache_enabled: a weight is cast once per region, not once per use (None: as the outer region has it).

    Raises RuntimeError for a kind of device without autocast, ValueError if it is no string. Warns, and stays off, for
    another dtype on the cpu and for cuda where there is none.
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self._kind = kind_of(device_type)
        self.device = device_type
        self.fast_dtype = settings.dtypes[self._kind] if dtype is None else dtype
        self._cache_enabled = settings.use_cache if cache_enabled is None else cache_enabled
        if enabled and self._kind == "cuda" and not backend.device_count():
            warnings.warn("CUDA is not available, so autocast('cuda') is disabled", stacklevel=2)
            enabled = False
        elif enabled and self._kind == "cpu" and self.fast_dtype not in (bfloat16, float16):
            warnings.warn(
                f"In CPU autocast, the target dtype {self.fast_dtype!r} is not supported: disabling autocast. "
                "CPU autocast only supports dtypes of torch.bfloat16, torch.float16",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple] = []

    def __enter__(self) -> autocast:
        kind, before = self._kind, active()
        self._before.append((kind in before, settings.dtypes[kind], settings.use_cache))
        settings.dtypes[kind], settings.use_cache = self.fast_dtype, self._cache_enabled
        autocast_increment_nesting()
        _set(kind, self._enabled)
        return self

    def __exit__(self, *exc: object) -> Literal[False]:
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        was_enabled, settings.dtypes[self._kind], settings.use_cache = self._before.pop()
        _set(self._kind, was_enabled)
        return False

    def __call__(self, function: Callable) -> Callable:
        if not callable(function):
            raise TypeError(
                f"autocast()(function) needs something to call, but got {type(function).__name__}. To use autocast as "
                "a context manager, write: with autocast(device_type=...):"
            )
        return autocast_decorator(self, function)


def autocast_decorator(autocast_instance: autocast, func: Callable) -> Callable:
    """`func`, called inside of `autocast_instance`."""

    @wraps(func)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with autocast_instance:
            return func(*args, **kwargs)

    return decorated


# ---------------------------------------------------------------- asking and setting
def is_autocast_available(device_type: str) -> bool:
    """Whether there is autocast for a kind of device."""
    return device(device_type).type in KINDS


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether ops on a kind of device are being autocast, in this thread."""
    return kind_of(device_type) in active()


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch autocast on or off for a kind of device, in this thread. `set_autocast_enabled(flag)`: for cuda."""
    if enabled is None:
        device_type, enabled = "cuda", bool(device_type)
    assert isinstance(device_type, str)
    _set(kind_of(device_type), enabled)


def _set(kind: str, on: bool) -> None:
    now = active()
    if on:
        now[kind] = settings.dtypes[kind]
    else:
        now.pop(kind, None)
    enable(now)


def get_autocast_dtype(device_type: str) -> dtype:
    """The dtype that autocast uses on a kind of device, in this thread."""
    return settings.dtypes[kind_of(device_type)]


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set the dtype that autocast uses on a kind of device, in this thread."""
    kind = kind_of(device_type)
    settings.dtypes[kind] = dtype
    if kind in active():
        _set(kind, True)


def is_autocast_cache_enabled() -> bool:
    """Whether the casts of weights are kept while a region lasts."""
    return settings.use_cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether the casts of weights are kept while a region lasts."""
    settings.use_cache = enabled


def clear_autocast_cache() -> None:
    """Forget the casts of weights that have been kept."""
    settings.cache.clear()


def autocast_increment_nesting() -> int:
    """Count one more region; returns how many there are."""
    settings.nesting += 1
    return settings.nesting


def autocast_decrement_nesting() -> int:
    """Count one region less; returns how many there are."""
    settings.nesting -= 1
    return settings.nesting


# ---------------------------------------------------------------- older names
def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"torch.{name} is deprecated. Please use torch.{instead} instead.", DeprecationWarning, stacklevel=3)


def is_autocast_cpu_enabled() -> bool:
    """Whether ops on the cpu are being autocast."""
    _deprecated("is_autocast_cpu_enabled()", "is_autocast_enabled('cpu')")
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Switch autocast on or off for the cpu."""
    _deprecated("set_autocast_cpu_enabled(enabled)", "set_autocast_enabled('cpu', enabled)")
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> dtype:
    """The dtype that autocast uses on the cpu."""
    _deprecated("get_autocast_cpu_dtype()", "get_autocast_dtype('cpu')")
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: dtype) -> None:
    """Set the dtype that autocast uses on the cpu."""
    _deprecated("set_autocast_cpu_dtype(dtype)", "set_autocast_dtype('cpu', dtype)")
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> dtype:
    """The dtype that autocast uses on cuda."""
    _deprecated("get_autocast_gpu_dtype()", "get_autocast_dtype('cuda')")
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: dtype) -> None:
    """Set the dtype that autocast uses on cuda."""
    _deprecated("set_autocast_gpu_dtype(dtype)", "set_autocast_dtype('cuda', dtype)")
    set_autocast_dtype("cuda", dtype)
