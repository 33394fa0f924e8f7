"""Triangles and diagonals of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.device import device
from naiad.core.dtype import dtype, int64
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import factory, primitive, same_as
from naiad.core.tensor import Tensor
from naiad.ops.creation import home
from naiad.ops.forms import in_order, into
from naiad.ops.ranges import steps


def _triangle_rule(name: str) -> Callable:
    def rule(input: Tensor, *, diagonal: int) -> tuple:
        if input.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got shape {list(input.shape)}")
        return same_as()(input)

    return rule


def _triangle(name: str, keep: Callable, doc: str) -> Callable:
    def body(input: np.ndarray, *, diagonal: int) -> np.ndarray:
        if input.ndim < 2:
            raise ValueError("a vector")
        return in_order(np.where(keep(*input.shape[-2:], diagonal), input, np.zeros((), input.dtype)))

    body.__name__, body.__doc__ = name, doc
    op = primitive(
        name=name,
        rule=_triangle_rule(name),
        kernel=f"places.{name}",
        parts="move",
        widen=False,
        grad=(lambda g, diagonal: op(g, diagonal=diagonal),),
    )(body)

    def call(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
        return into(op(input, diagonal=diagonal), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    samples = lambda s: [s.call(s(3, 4)), s.call(s(2, 4, 3), 1), s.call(s(3, 3), diagonal=-1), s.call(s.ints(3, 3))]  # noqa: E731
    public("naiad", "Tensor", name=name, samples=samples)(call)
    _inplace(op, name)
    return call


def _inplace(op: Callable, name: str) -> Callable:
    write = inplace_call(op.op)  # type: ignore[attr-defined]

    def call(self: Tensor, diagonal: int = 0) -> Tensor:
        return write(self, diagonal=diagonal)

    call.__name__ = call.__qualname__ = name + "_"
    call.__doc__ = f"In-place `{name}`."
    return public("Tensor", name=name + "_")(call)


def _below(rows: int, columns: int, diagonal: int) -> np.ndarray:
    return np.arange(columns) <= np.arange(rows)[:, None] + diagonal


tril = _triangle("tril", _below, "The lower triangle of matrices: elements above the `diagonal`-th diagonal become 0.")
triu = _triangle(
    "triu",
    lambda rows, columns, diagonal: ~_below(rows, columns, diagonal - 1),
    "The upper triangle of matrices: elements below the `diagonal`-th diagonal become 0.",
)


def _places_rule(
    *, dtype: dtype, device: device, rows: int, columns: int, offset: int, upper: bool
) -> tuple[tuple[int, int], dtype]:
    # Below: 0, 1, ... elements in a row, cut to [0, columns], beginning with offset + 1. Above: all the others.
    first = offset if upper else offset + 1
    below = _staircase(first + rows - 1, columns) - _staircase(first - 1, columns)
    return (2, rows * columns - below if upper else below), dtype


def _staircase(n: int, columns: int) -> int:
    """The sum of j, cut to at most `columns`, for j from 1 to n."""
    low = min(max(n, 0), columns)
    return low * (low + 1) // 2 + (max(n, 0) - low) * columns


@factory(kernel="ranges.triangle", rule=_places_rule)
def triangle_places(*, dtype: dtype, device: device, rows: int, columns: int, offset: int, upper: bool) -> np.ndarray:
    """(2, n): rows and columns of the elements on and below (upper: above) the `offset`-th diagonal."""
    mask = ~_below(rows, columns, offset - 1) if upper else _below(rows, columns, offset)
    return np.stack(np.nonzero(mask)).astype(dtype.np)


def _indices(upper: bool, rows: int, columns: int, offset: int, of: dtype | None, target: Any) -> Tensor:
    return triangle_places(
        dtype=of or int64, device=home(target), rows=rows, columns=columns, offset=offset, upper=upper
    )


@public("naiad", samples=lambda s: [s.call(3, 3), s.call(4, 3, 1), s.call(4, 3, -1)])
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """(2, n) int64: the row and column of every element in the lower triangle of a row x col matrix."""
    return _indices(False, row, col, offset, dtype, device)


@public("naiad", samples=lambda s: [s.call(3, 3), s.call(4, 3, 1), s.call(4, 3, -1)])
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """(2, n) int64: the row and column of every element in the upper triangle of a row x col matrix."""
    return _indices(True, row, col, offset, dtype, device)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3)), s.call(s(3), 1), s.call(s(3, 4)), s.call(s(3, 4), -1)])
def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """A vector as the diagonal of a square matrix; a matrix's diagonal as a vector (a copy)."""
    if input.ndim == 1:
        return into(PUBLIC["naiad"]["diag_embed"](input, diagonal), out)
    if input.ndim == 2:
        return into(PUBLIC["naiad"]["diagonal"](input, diagonal).clone(), out)
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3)), s.call(s(2, 2), 1), s.call(s())])
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The elements, flattened, as the diagonal of a square matrix."""
    return PUBLIC["naiad"]["diag_embed"](input.reshape(-1), offset)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(3, 3)), s.call(s(2, 4)), s.call(s.ints(3, 3))],
    autocast={"cpu": "float32", "cuda": "keep"},
)
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return PUBLIC["naiad"]["diagonal"](input).sum()


@public(
    "naiad",
    samples=lambda s: [s.call(s.fixed([1.5, -2.0])), s.call(s.ints(3), 4), s.call(s.ints(2), 3, True)],
    autocast={"cuda": "keep"},
)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element of a vector in a row, highest first unless `increasing`."""
    if x.ndim != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor, got shape {list(x.shape)}")
    n = x.numel() if N is None else N
    if n < 0:
        raise RuntimeError(f"N must be non-negative, got {n}")
    start, step = (0, 1) if increasing else (n - 1, -1)
    return x.unsqueeze(-1) ** steps(shape=(n,), dtype=int64, device=x._device, start=start, step=step)
