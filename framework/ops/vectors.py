"""Vectors of a tensor: cross and dot products along a dimension, lengths held below a bound."""

from __future__ import annotations

import numpy as np

from naiad.core.caution import warn
from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT
from naiad.core.op import public
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.blends import where
from naiad.ops.forms import inplace_form
from naiad.ops.linear import matmul
from naiad.ops.norms import vector_norm_dims
from naiad.ops.repeating import roll


def _cross(name: str, input: Tensor, other: Tensor, dim: int, out: Tensor | None) -> Tensor:
    try:
        shape = np.broadcast_shapes(input._array.shape, other._array.shape)
    except ValueError:
        raise RuntimeError(
            f"{name}: inputs must have shapes that broadcast, got {list(input.shape)} and {list(other.shape)}"
        ) from None
    dim = normalize_dim(dim, input.ndim)
    if input._array.shape[dim] != 3 or other._array.shape[dim] != 3:
        raise RuntimeError(
            f"{name}: inputs dimension {dim} must have length 3. Got {input._array.shape[dim]} and "
            f"{other._array.shape[dim]}"
        )
    input, other = input.expand(shape), other.expand(shape)
    # Place j of this has what belongs to place j + 2, as places are counted modulo 3.
    turned = input * roll(other, -1, dim) - roll(input, -1, dim) * other
    result = roll(turned, -1, dim)
    return result if out is None else deliver(result, out)


@public(
    "linalg",
    name="cross",
    samples=lambda s: [s.call(s(2, 3), s(2, 3)), s.call(s(3, 2), s(3, 1), dim=0), s.call(s.complex(3), s.complex(3))],
)
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """The cross product of the vectors of length 3 along `dim`; other sizes broadcast.

    Raises RuntimeError where tensors differ in their number of dimensions, or a vector has another length.
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    return _cross("linalg.cross", input, other, dim, out)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(2, 3), 1), s.call(s(3, 2), s(3, 2), dim=0)])
def cross(input: Tensor, other: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """The cross product of the vectors of length 3 along `dim`, by default the first dimension of that size."""
    if dim is None:
        found = [d for d, size in enumerate(input._array.shape) if size == 3]
        if not found:
            raise RuntimeError(f"no dimension of size 3 in input: {list(input.shape)}")
        dim = found[0]
        warn(
            f"Using cross without specifying the dim arg is deprecated. It takes dimension {dim} here; pass dim, or "
            "use linalg.cross, which takes the last."
        )
    return _cross("cross", input, other, dim, out)


@public("linalg", samples=lambda s: [s.call(s(2, 3), s(2, 3)), s.call(s(3, 2), s(3, 1), dim=0)], autocast="lower")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """The dot product of the vectors along `dim`, those of `x` conjugated; other sizes broadcast."""
    result = (x.conj() * y).sum(dim)
    return result if out is None else deliver(result, out)


@public("linalg", name="diagonal", samples=lambda s: [s.call(s(2, 3, 4)), s.call(s(2, 3), offset=1, dim1=0, dim2=1)])
def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """`diagonal` of the last two dimensions: a view."""
    return A.diagonal(offset, dim1, dim2)


@public("linalg", name="matmul", samples=lambda s: [s.call(s(2, 3), s(3, 4)), s.call(s(2, 3, 4), s(4))])
def linalg_matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`matmul`."""
    result = matmul(input, other)
    return result if out is None else deliver(result, out)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), 2, 0, 0.5), s.call(s(2, 3, 2), 1, -2, 1.5)])
def renorm(input: Tensor, p: float, dim: int, maxnorm: float, *, out: Tensor | None = None) -> Tensor:
    """Each slice along `dim` shortened to the p-norm `maxnorm` where it is longer.

    Raises RuntimeError for fewer than two dimensions, p that is not positive, a negative bound, and for integers.
    """
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p = {p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input._dtype.kind < FLOAT:
        raise RuntimeError(f"renorm: expected a floating point tensor, got {input.dtype}. Use .float()")
    dim = normalize_dim(dim, input.ndim)
    length = vector_norm_dims(input, p, tuple(d for d in range(input.ndim) if d != dim), True)
    result = where(length > maxnorm, input * (maxnorm / (length + 1e-7)), input).contiguous()
    return result if out is None else deliver(result, out)


inplace_form(renorm, "renorm_")
