"""Switches that PyTorch scripts set, and what is behind them here.

`cudnn.benchmark`, `cudnn.deterministic` and `cudnn.enabled` are remembered and change nothing: naiad does not use
cuDNN, and its ops are deterministic. `allow_tf32` is remembered too: float32 products on cuda are made of three tf32
products, as accurate as float32, whatever it says.
"""

from __future__ import annotations

from types import SimpleNamespace

cudnn = SimpleNamespace(
    benchmark=False,
    deterministic=False,
    allow_tf32=True,
    enabled=True,
    is_available=lambda: False,
    version=lambda: None,
)
cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False))
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
