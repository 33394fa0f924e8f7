"""Switches that PyTorch scripts set, and what is behind them here.

How float32 is multiplied on cuda is a real switch: `cuda.matmul.allow_tf32` (False at first), `cudnn.allow_tf32` for
convolutions (True at first, as in PyTorch), `fp32_precision` at every level, and `naiad.set_float32_matmul_precision`.
Where tf32 is not allowed, a product is made of three of tf32, nearly as accurate as float32. Recurrent layers multiply
as matrices do.

The others are remembered and change nothing: naiad does not use cuDNN, its ops are deterministic, its products
accumulate in float32, and its attention has one kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from naiad.core.caution import warn

_CHOICES = ("none", "ieee", "tf32")


class Precision:
    """One level of `fp32_precision`: "ieee", "tf32", or "none", which leaves it to the level above."""

    def __init__(self, above: Precision | None = None, own: str = "none", **remembered: Any) -> None:
        self._above, self._own = above, own
        vars(self).update(remembered)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in vars(self) and not hasattr(type(self), name):
            raise AttributeError(f"Unknown attribute {name}")
        super().__setattr__(name, value)

    @property
    def fp32_precision(self) -> str:
        """How float32 is multiplied here, by this level or those above it."""
        return self._own if self._own != "none" or self._above is None else self._above.fp32_precision

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        if value not in _CHOICES:
            raise RuntimeError(f"Unknown precision: {value}; fp32_precision is one of {', '.join(_CHOICES)}")
        self._own = value
        _apply()


class _Matmul(Precision):
    """`backends.cuda.matmul`."""

    _legacy = "highest"

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 matrices on cuda are multiplied in tf32."""
        return self.fp32_precision == "tf32"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        self.fp32_precision = "tf32" if _flag("set_allow_tf32_cublas", value) else "ieee"


class _Cudnn(Precision):
    """`backends.cudnn`: takes any attribute."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def allow_tf32(self) -> bool:
        """Whether convolutions of float32 on cuda multiply in tf32."""
        return self.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        chosen = "tf32" if _flag("set_allow_tf32_cudnn", value) else "ieee"
        self.conv.fp32_precision = self.rnn.fp32_precision = chosen  # type: ignore[attr-defined]

    @contextmanager
    def flags(
        self,
        enabled: bool = False,
        benchmark: bool = False,
        benchmark_limit: int = 10,
        deterministic: bool = False,
        allow_tf32: bool = True,
    ) -> Iterator[None]:
        """Other switches for a while."""
        chosen: dict[str, Any] = {"enabled": enabled, "benchmark": benchmark, "benchmark_limit": benchmark_limit}
        chosen |= {"deterministic": deterministic, "allow_tf32": allow_tf32}
        before = {name: getattr(self, name) for name in chosen}
        try:
            for name, value in chosen.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RuntimeError(f"{name} expects a bool, but got {type(value).__name__}")
    return value


def _apply() -> None:
    """Tell the kernels, and forget what was launched under other switches."""
    from naiad.core import backend

    conv: Precision = cudnn.conv  # type: ignore[attr-defined]
    matrices, images = cuda.matmul.fp32_precision == "tf32", conv.fp32_precision == "tf32"
    backend.allow_single_precision({"matmul": matrices, "conv": images})


def set_float32_matmul_precision(precision: str) -> None:
    """How float32 matrices are multiplied on cuda: "highest" nearly as float32, "high" and "medium" in tf32."""
    if precision not in ("highest", "high", "medium"):
        warn(f"{precision} is not one of 'highest', 'high', or 'medium'; set_float32_matmul_precision has no effect")
        return
    cuda.matmul.fp32_precision = "ieee" if precision == "highest" else "tf32"
    cuda.matmul._legacy = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told, or what another switch has made of it."""
    if not cuda.matmul.allow_tf32:
        return "highest"
    return "high" if cuda.matmul._legacy == "highest" else cuda.matmul._legacy


def _attention_switches() -> dict[str, Any]:
    """enable_flash_sdp(bool), flash_sdp_enabled() and the like."""
    state: dict[str, bool] = {}

    def pair(name: str) -> dict[str, Any]:
        state[name] = True

        def enable(enabled: bool) -> None:
            state[name] = bool(enabled)

        return {f"enable_{name}_sdp": enable, f"{name}_sdp_enabled": lambda: state[name]}

    return pair("flash") | pair("mem_efficient") | pair("math") | pair("cudnn")


class _Backends(ModuleType):
    """This module, with `fp32_precision`, which stands above all levels."""

    @property
    def fp32_precision(self) -> str:
        return _all.fp32_precision

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        _all.fp32_precision = value


_all = Precision()
cudnn = _Cudnn(
    _all,
    benchmark=False,
    benchmark_limit=10,
    deterministic=False,
    enabled=True,
    is_available=lambda: False,
    version=lambda: None,
)
cudnn.conv = Precision(cudnn, "tf32")
cudnn.rnn = Precision(cudnn, "tf32")
cuda = SimpleNamespace(
    matmul=_Matmul(
        _all,
        allow_fp16_reduced_precision_reduction=True,
        allow_bf16_reduced_precision_reduction=True,
        allow_fp16_accumulation=False,
    ),
    is_built=lambda: True,
    **_attention_switches(),
)
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
sys.modules[__name__].__class__ = _Backends
for _name in ("cuda", "cudnn", "mps"):  # so that `import naiad.backends.cudnn as cudnn` finds it
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]
