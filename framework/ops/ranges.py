"""Sequences of numbers: arange, linspace, logspace, and the identity."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from naiad.core.dtype import dtype, int64
from naiad.core.op import public
from naiad.core.state import default_dtype
from naiad.core.tensor import Tensor
from naiad.ops.creation import placed


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


def _counted(name: str, start: Any, end: Any, step: Any, of: dtype | None, inclusive: bool) -> np.ndarray:
    start, end, step = _number(start), _number(end), _number(step)
    if of is None:
        of = int64 if not inclusive and all(isinstance(v, int) for v in (start, end, step)) else default_dtype()
    if step == 0:
        raise RuntimeError(f"{name}(): step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"{name}(): upper bound and lower bound inconsistent with step sign: from {start} to {end} by {step}"
        )
    if any(isinstance(v, float) and v - v != 0 for v in (start, end)):
        raise RuntimeError(f"{name}(): unsupported range: {start} -> {end}")
    whole = all(isinstance(v, int) for v in (start, end, step))
    n = (-((start - end) // step) if whole else ceil((end - start) / step)) + 0
    if inclusive:
        n = int((end - start) / step + 1)
    if of.kind < 2:
        start, step = int(start), int(step)
        return (start + np.arange(n, dtype=np.int64) * step).astype(of.np)
    return (start + np.arange(n, dtype=np.float64) * step).astype(of.np)


@public(
    "naiad",
    samples=lambda s: [s.call(5), s.call(1, 4), s.call(1, 2.5, 0.5), s.call(10, 0, -3), s.call(2.5), s.call(0)],
)
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """start, start + step, ... up to and without `end`; ``arange(end)`` begins at 0. Integers give int64."""
    if end is None:
        start, end = 0, start
    return placed(_counted("arange", start, end, step, dtype, False), device, requires_grad, out)


@public("naiad")
def range(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to and with `end`. Deprecated in PyTorch: use arange."""
    if end is None:
        start, end = 0, start
    return placed(_counted("range", start, end, step, dtype, True), device, requires_grad, out)


def _spaced(name: str, start: Any, end: Any, steps: int, of: dtype | None) -> tuple[np.ndarray, dtype]:
    """`steps` values from start to end, built from the nearer end in the result's precision, and the result's dtype."""
    start, end = _number(start), _number(end)
    if steps < 0:
        raise RuntimeError(f"{name}(): number of steps must be non-negative, got {steps}")
    if of is None:
        of = default_dtype().to_complex() if any(isinstance(v, complex) for v in (start, end)) else default_dtype()
    if steps == 1:
        return np.array([start]), of
    exact = of.compute.np.type if of.kind >= 2 else np.float64
    start, end = exact(start), exact(end)
    step = (end - start) / exact(steps - 1) if steps else 0
    i = np.arange(steps).astype(exact)
    return np.where(i < steps / 2, start + step * i, end - step * (steps - 1 - i)), of


@public("naiad", samples=lambda s: [s.call(0, 1, 5), s.call(-2.5, 3.5, 4), s.call(3, 1, steps=3), s.call(2, 5, 1)])
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` evenly spaced numbers from `start` to `end`, both included."""
    values, of = _spaced("linspace", start, end, steps, dtype)
    return placed(values.astype(of.np), device, requires_grad, out)


@public("naiad", samples=lambda s: [s.call(0, 2, 5), s.call(-1, 1, 3, 2.0), s.call(2, 5, 1)])
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """base to the power of `steps` evenly spaced exponents from `start` to `end`."""
    exponents, of = _spaced("logspace", start, end, steps, dtype)
    return placed(np.power(float(base), exponents).astype(of.np), device, requires_grad, out)


@public("naiad", samples=lambda s: [s.call(3), s.call(2, 4), s.call(4, 2), s.call(0)])
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """n by m (n) zeros with ones on the diagonal."""
    m = n if m is None else m
    if n < 0 or m < 0:
        raise RuntimeError(f"eye(): n and m must be greater or equal to 0, got {n} and {m}")
    return placed(np.eye(n, m, dtype=(dtype or default_dtype()).np), device, requires_grad, out)
