"""The classes behind `naiad.cuda.amp` and `naiad.cpu.amp`, whose names PyTorch has deprecated."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from naiad.amp import autocast_mode, custom, grad_scaler
from naiad.core.dtype import bfloat16, dtype, float16


def _warn(kind: str, name: str, instead: str) -> None:
    message = f"`torch.{kind}.amp.{name}(args...)` is deprecated. Please use `torch.amp.{instead}` instead."
    warnings.warn(message, FutureWarning, stacklevel=3)


class CudaAutocast(autocast_mode.autocast):
    """`naiad.autocast("cuda", ...)`, under its older name."""

    def __init__(self, enabled: bool = True, dtype: dtype = float16, cache_enabled: bool = True) -> None:
        _warn("cuda", "autocast", "autocast('cuda', args...)")
        super().__init__("cuda", dtype, enabled, cache_enabled)


class CpuAutocast(autocast_mode.autocast):
    """`naiad.autocast("cpu", ...)`, under its older name."""

    def __init__(self, enabled: bool = True, dtype: dtype = bfloat16, cache_enabled: bool = True) -> None:
        _warn("cpu", "autocast", "autocast('cpu', args...)")
        super().__init__("cpu", dtype, enabled, cache_enabled)


def _scaler(kind: str) -> type:
    class GradScaler(grad_scaler.GradScaler):
        def __init__(
            self,
            init_scale: float = 2.0**16,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            enabled: bool = True,
        ) -> None:
            _warn(kind, "GradScaler", f"GradScaler('{kind}', args...)")
            super().__init__(kind, init_scale, growth_factor, backoff_factor, growth_interval, enabled)

    GradScaler.__doc__ = f'`naiad.amp.GradScaler("{kind}", ...)`, under its older name.'
    GradScaler.__module__, GradScaler.__qualname__ = f"naiad.{kind}.amp", "GradScaler"
    return GradScaler


CudaGradScaler, CpuGradScaler = _scaler("cuda"), _scaler("cpu")


def cuda_custom_fwd(fwd: Callable | None = None, *, cast_inputs: dtype | None = None) -> Any:
    """`naiad.amp.custom_fwd` for cuda, under its older name."""
    _warn("cuda", "custom_fwd", "custom_fwd(args..., device_type='cuda')")
    return custom.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def cuda_custom_bwd(bwd: Callable | None = None) -> Any:
    """`naiad.amp.custom_bwd` for cuda, under its older name."""
    _warn("cuda", "custom_bwd", "custom_bwd(args..., device_type='cuda')")
    return custom.custom_bwd(bwd, device_type="cuda")


for _class, _kind in ((CudaAutocast, "cuda"), (CpuAutocast, "cpu")):
    _class.__name__ = _class.__qualname__ = "autocast"
    _class.__module__ = f"naiad.{_kind}.amp"
