"""Sequences of numbers: arange, linspace, logspace, and the identity."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from naiad.core.device import CUDA, device
from naiad.core.dispatch import deliver
from naiad.core.dtype import BOOL, COMPLEX, FLOAT, dtype, int64
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import factory
from naiad.core.state import default_dtype
from naiad.core.tensor import Tensor
from naiad.ops.creation import finish, full_op, home, whole


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


@factory(kernel="ranges.steps")
def steps(*, shape: tuple[int, ...], dtype: dtype, device: device, start: Any, step: Any) -> np.ndarray:
    """start + i * step, in int64 for integers and bools, in float64 for floats."""
    i = np.arange(shape[0], dtype=np.int64 if dtype.kind < FLOAT else np.float64)
    return (start + i * step).astype(dtype.np)


@factory(kernel="ranges.spaced")
def spaced(
    *,
    shape: tuple[int, ...],
    dtype: dtype,
    device: device,
    start: Any,
    end: Any,
    step: Any,
    base: float | None,
    of: str,
) -> np.ndarray:
    """Numbers from start to end, counted from the nearer one, computed in dtype `of`; base: its powers."""
    (n,), exact = shape, np.dtype(of).type
    i = np.arange(n).astype(of)
    values = np.where(i < n / 2, exact(start) + exact(step) * i, exact(end) - exact(step) * (n - 1 - i))
    return (values if base is None else np.power(base, values)).astype(dtype.np)


@factory(kernel="ranges.eye", parts="real", name="eye")
def eye_op(*, shape: tuple[int, ...], dtype: dtype, device: device) -> np.ndarray:
    """Zeros with ones on the diagonal."""
    return np.eye(*shape, dtype=dtype.np)


def _counted(name: str, start: Any, end: Any, step: Any, of: dtype | None, inclusive: bool, target: Any) -> Tensor:
    start, end, step = _number(start), _number(end), _number(step)
    if of is None:
        of = int64 if not inclusive and all(isinstance(v, int) for v in (start, end, step)) else default_dtype()
    if of.kind == BOOL:
        raise NotImplementedError(f"{name}(): not implemented for 'bool'")
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
    return steps(shape=(n,), dtype=of, device=home(target), start=start, step=step)


@public(
    "naiad",
    samples=lambda s: [s.call(5), s.call(1, 4), s.call(1, 2.5, 0.5), s.call(10, 0, -3), s.call(2.5), s.call(0)],
)
def arange(
    start: Any = None,
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
    if end is None:
        raise TypeError("arange(): give the end: arange(end) or arange(start, end)")
    made = _counted("arange", 0 if start is None else start, end, step, dtype, False, device)
    return finish(made, requires_grad) if out is None else deliver(made, out)


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
    made = _counted("range", start, end, step, dtype, True, device)
    return finish(made, requires_grad) if out is None else deliver(made, out)


def _spaced(name: str, start: Any, end: Any, n: int, of: dtype | None, base: float | None, target: Any) -> Tensor:
    """n values from start to end, built from the nearer end in the result's precision; base: its powers of them."""
    start, end, n = _number(start), _number(end), whole(n, "steps")
    if n < 0:
        raise RuntimeError(f"{name}(): number of steps must be non-negative, got {n}")
    if of is None:
        of = default_dtype().to_complex() if any(isinstance(v, complex) for v in (start, end)) else default_dtype()
    if of.kind < FLOAT:
        exact: Any = np.float64
        if n == 1 and base is None:  # exactly, however large
            return full_op(shape=(1,), value=int(start), dtype=of, device=home(target))
    else:
        exact = of.compute.np.type
    if of.kind == COMPLEX and home(target).kind == CUDA:
        real, imag = (
            _spaced(name, a, b, n, of.to_real(), None, target)
            for a, b in ((start.real, end.real), (start.imag, end.imag))
        )
        exponents = PUBLIC["naiad"]["complex"](real, imag)
        return exponents if base is None else base**exponents
    start, end = exact(start), exact(end)
    step = (end - start) / exact(n - 1) if n > 1 else exact(0)
    numbers = {"start": start.item(), "end": start.item() if n == 1 else end.item(), "step": step.item()}
    return spaced(shape=(n,), dtype=of, device=home(target), **numbers, base=base, of=np.dtype(exact).name)


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
    made = _spaced("linspace", start, end, steps, dtype, None, device)
    return finish(made, requires_grad) if out is None else deliver(made, out)


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
    made = _spaced("logspace", start, end, steps, dtype, float(base), device)
    return finish(made, requires_grad) if out is None else deliver(made, out)


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
    made = eye_op(shape=(n, m), dtype=dtype or default_dtype(), device=home(device))
    return finish(made, requires_grad) if out is None else deliver(made, out)
