"""`custom_fwd` and `custom_bwd`: autocast for operations whose forward and backward a user writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from naiad.amp.autocast_mode import autocast, get_autocast_dtype, is_autocast_enabled
from naiad.amp.mode import kind_of
from naiad.core.dtype import FLOAT, dtype, float64
from naiad.core.tensor import Tensor


def _converted(value: Any, kind: str, to: dtype) -> Any:
    """Floating-point tensors on a kind of device, but float64, in another dtype, in lists, tuples and dicts too."""
    if isinstance(value, Tensor):
        fit = value._dtype.kind == FLOAT and value._dtype is not float64 and value._device.type == kind
        return value.to(to) if fit else value
    if isinstance(value, dict):
        return {_converted(k, kind, to): _converted(v, kind, to) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(v, kind, to) for v in value)
    return value


def custom_fwd(fwd: Callable | None = None, *, device_type: str, cast_inputs: dtype | None = None) -> Any:
    """Decorate the `forward(ctx, ...)` of an `autograd.Function` that is called under autocast.

    cast_inputs: convert floating-point tensors to this dtype and run forward with autocast off; None: run it with
    autocast as it is. Outside of autocast it does nothing. Raises ValueError unless device_type is a string.
    """
    kind = kind_of(device_type)
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._dtype = get_autocast_dtype(device_type)
        on = is_autocast_enabled(device_type)
        ctx._fwd_used_autocast = on and cast_inputs is None
        if cast_inputs is None or not on:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_converted(args, kind, cast_inputs), **_converted(kwargs, kind, cast_inputs))

    return forward


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Any:
    """Decorate the `backward(ctx, ...)` that belongs to a `custom_fwd`: it runs with autocast as forward did."""
    kind_of(device_type)
    if bwd is None:
        return partial(custom_bwd, device_type=device_type)

    @wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return backward
