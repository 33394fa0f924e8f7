"""Triangles and diagonals of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dtype import dtype, int64
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive, same_as
from naiad.core.tensor import Tensor
from naiad.ops.creation import placed
from naiad.ops.forms import into


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
        return np.where(keep(*input.shape[-2:], diagonal), input, np.zeros((), input.dtype))

    body.__name__, body.__doc__ = name, doc
    op = primitive(
        name=name,
        rule=_triangle_rule(name),
        kernel=f"places.{name}",
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


def _indices(name: str, mask: np.ndarray, of: dtype | None, target: Any) -> Tensor:
    return placed(np.stack(np.nonzero(mask)).astype((of or int64).np), target)


@public("naiad", samples=lambda s: [s.call(3, 3), s.call(4, 3, 1), s.call(4, 3, -1)])
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """(2, n) int64: the row and column of every element in the lower triangle of a row x col matrix."""
    return _indices("tril_indices", _below(row, col, offset), dtype, device)


@public("naiad", samples=lambda s: [s.call(3, 3), s.call(4, 3, 1), s.call(4, 3, -1)])
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """(2, n) int64: the row and column of every element in the upper triangle of a row x col matrix."""
    return _indices("triu_indices", ~_below(row, col, offset - 1), dtype, device)


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
    powers = np.arange(n) if increasing else np.arange(n)[::-1].copy()
    return x.unsqueeze(-1) ** placed(powers.astype(np.int64), x._device)
