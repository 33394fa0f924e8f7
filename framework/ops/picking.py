"""Taking one element per row by index, and its transpose: what the gradients of max, sort, median and topk need."""

from __future__ import annotations

import numpy as np

from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor


def along(array: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    """`np.take_along_axis`, with a quicker way for the last dimension of an array without gaps."""
    if dim != array.ndim - 1 or not array.size or not array.flags.c_contiguous:
        return np.take_along_axis(array, index, dim)
    n = array.shape[-1]
    begins = np.arange(0, array.size, n).reshape((*array.shape[:-1], 1))
    return array.reshape(-1).take(index + begins)


def _put_rule(g: Tensor, index: Tensor, *, dim: int, size: int) -> tuple:
    shape = index._array.shape
    return (*shape[:dim], size, *shape[dim + 1 :]) if shape else (), g._dtype


@primitive(
    rule=_put_rule,
    kernel="places.unpick",
    parts="each",
    widen=False,
    grad=(lambda g, index, dim: pick_op(g, index, dim=dim), None),
)
def unpick_op(g: np.ndarray, index: np.ndarray, *, dim: int, size: int) -> np.ndarray:
    """Zeros with `size` elements along `dim`, to which the elements of `g` are added where `index` says."""
    if not index.ndim:
        return g.copy()
    out = np.zeros((*index.shape[:dim], size, *index.shape[dim + 1 :]), g.dtype)
    where: list[np.ndarray] = list(np.indices(index.shape, sparse=True))
    where[dim] = index
    np.add.at(out, tuple(where), g)
    return out


@primitive(
    rule=lambda input, index, *, dim: (index._array.shape, input._dtype),
    kernel="places.pick",
    parts="move",
    widen=False,
    grad=(
        lambda g, index, input_shape, dim: unpick_op(g, index, dim=dim, size=input_shape[dim] if input_shape else 1),
        None,
    ),
)
def pick_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """The elements along `dim` at `index`, which has the shape of the result."""
    return along(input, index, dim) if index.ndim else input.copy()


def spread_at(g: Tensor, index: Tensor, shape: tuple[int, ...], dim: int, keepdim: bool) -> Tensor:
    """The gradient of picking one element per row: `g` at the index that was picked, 0 elsewhere."""
    if not shape:
        return g
    if not keepdim:
        g, index = g.unsqueeze(dim), index.unsqueeze(dim)
    return unpick_op(g, index, dim=dim, size=shape[dim])
