"""Selecting and writing elements by index."""

from __future__ import annotations

import numpy as np

from naiad.core.op import public
from naiad.core.primitive import primitive, same_as
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.creation import full_op


def _index_select_rule(input: Tensor, index: Tensor, *, dim: int) -> tuple:
    if index._array.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, but got dim: {index._array.ndim}")
    if index._dtype.kind != 1 or index._dtype.itemsize < 4:
        raise RuntimeError(f"index_select(): Expected dtype int32 or int64 for index, got {index._dtype.name}")
    shape = input._array.shape
    return shape[:dim] + (index.numel(),) + shape[dim + 1 :], input._dtype


def check_index(name: str, index: np.ndarray, size: int) -> None:
    """Raise IndexError unless all of `index` lies in [0, size)."""
    if index.size and (index.min() < 0 or index.max() >= size):
        wrong = index[(index < 0) | (index >= size)].flat[0]
        raise IndexError(f"{name}: index {wrong} is out of bounds for dimension with size {size}")


@primitive(
    rule=_index_select_rule,
    kernel="indexing.index_select",
    widen=False,
    grad=(lambda g, index, input_shape, dim: index_add_op(_zeros(g, input_shape), index, g, dim=dim), None),
)
def index_select_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """The slices of `input` along `dim` that `index` names."""
    if index.ndim > 1 or index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise TypeError("index")
    check_index("index_select()", index, input.shape[dim])
    return np.take(input, index.reshape(-1), dim)


def _zeros(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    return full_op(shape=shape, value=0, dtype=g._dtype, device=g._device)


@primitive(
    rule=same_as(),
    kernel="indexing.index_add",
    grad=(lambda g: g, None, lambda g, index, dim: index_select_op(g, index, dim=dim)),
)
def index_add_op(input: np.ndarray, index: np.ndarray, source: np.ndarray, *, dim: int) -> np.ndarray:
    """`input` with the slices of `source` added where `index` says; an index may occur more than once."""
    check_index("index_add()", index, input.shape[dim])
    out = np.array(input, order="C")
    np.add.at(np.moveaxis(out, dim, 0), index, np.moveaxis(source, dim, 0))
    return out


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), 1, s.ints(5, high=4)), s.call(s(3, 2), -2, s.ints(2, high=3))]
)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along `dim` named by `index`, an int32 or int64 vector. Raises IndexError out of range."""
    return index_select_op(input, index, dim=normalize_dim(dim, input.ndim))
