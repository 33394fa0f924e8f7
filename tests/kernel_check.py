"""One op on two devices: kernels on the simulated cuda device against float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import naiad

FLOATS = ["float32", "float16", "bfloat16"]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def on_cuda(values: np.ndarray, dtype: Any = None, layout: str = "contiguous") -> naiad.Tensor:
    """A tensor on the simulated device: contiguous, transposed (columns first in memory) or strided."""
    x = naiad.from_numpy(np.array(values)).to("cuda")
    x = x if dtype is None or values.dtype.kind != "f" else x.to(dtype)
    if layout == "transposed" and x.ndim > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "strided" and x.ndim:
        wide = naiad.full((*x.shape[:-1], 2 * x.shape[-1]), 7, dtype=x.dtype, device="cuda")
        wide[..., ::2] = x
        return wide[..., ::2]
    return x


def agree(
    call: Callable[..., Any],
    *operands: np.ndarray | None,
    dtype: str = "float32",
    layout: str = "contiguous",
    tolerance: float | None = None,
) -> None:
    """`call` gives the same on cuda in `dtype` as on the cpu in float64 for the rounded operands."""
    kind = getattr(naiad, dtype)
    there = [None if x is None else on_cuda(x, kind, layout) for x in operands]
    here = [None if t is None else t.cpu().double() if t.dtype.is_floating_point else t.cpu() for t in there]
    got, want = call(*there), call(*here)
    got, want = (r if isinstance(r, (tuple, list)) else (r,) for r in (got, want))
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert tuple(a.shape) == tuple(b.shape)
        if b.dtype.is_floating_point:
            assert a.dtype is kind
            np.testing.assert_allclose(a.cpu().double().numpy(), b.numpy(), limit, limit, err_msg=f"result {i}")
        else:
            np.testing.assert_array_equal(a.cpu().numpy(), b.numpy(), err_msg=f"result {i}")
