"""index_copy, index_fill, take and put: writing slices and elements by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.dtype import int64
from naiad.core.op import public
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.indexing import as_value, checked_source, put_into, raise_outside, take
from naiad.ops.indexing import put as put_slices
from naiad.ops.movement import reshape


def _checked_copy(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> int:
    dim = checked_source(name, x, dim, index, source)
    if isinstance(index._array, np.ndarray):
        raise_outside(index._array, dim, x._array.shape[dim], low=0)
    return dim


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), 0, s.fixed([2, 0]), s(2, 4))], autocast={"cpu": "promote"}
)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices of `source` in the places `index` along `dim`."""
    dim = _checked_copy("index_copy", input, dim, index, source)
    return put_slices(input, reshape(index, (-1,)), source, dims=(dim,), accumulate=False)


@public("Tensor")
def index_copy_(self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """In-place version of `index_copy`."""
    dim = _checked_copy("index_copy_", self, dim, index, source)
    return put_into(self, reshape(index, (-1,)), source, dims=(dim,), accumulate=False)


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), 0, s.fixed([2, 0]), 1.5), s.call(s(3), 0, s.fixed([-1]), 2)]
)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` (a number or a 0-d tensor) in the places `index` along `dim`."""
    return put_slices(
        input,
        reshape(index, (-1,)),
        as_value("index_fill_", input, value),
        dims=(normalize_dim(dim, input.ndim),),
        accumulate=False,
    )


@public("Tensor")
def index_fill_(self: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """In-place version of `index_fill`."""
    dims = (normalize_dim(dim, self.ndim),)
    return put_into(self, reshape(index, (-1,)), as_value("index_fill_", self, value), dims=dims, accumulate=False)


# ---------------------------------------------------------------- take, put_
def _all_dims(x: Tensor) -> Tensor:
    return reshape(x, (-1,)) if x.numel() else reshape(x, (0,))


@public("naiad", "Tensor", name="take", samples=lambda s: [s.call(s(3, 4), s.fixed([[0, -1], [5, 5]]))])
def take_flat(input: Tensor, index: Tensor) -> Tensor:
    """The elements with the numbers `index` among all, row by row; the result has the shape of `index`."""
    if index._dtype is not int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index._dtype.name}")
    numbers, n = index._array, input.numel()
    if isinstance(numbers, np.ndarray) and numbers.size:
        wrong = numbers[(numbers < -n) | (numbers >= n)]
        if wrong.size:
            raise IndexError(f"out of range: tried to access index {wrong.flat[0]} on a tensor of {n} elements.")
    return take(_all_dims(input), index, (0,))


@public("Tensor", samples=lambda s: [s.call(s(3, 4), s.fixed([0, -1]), s(2))], oracle=lambda torch: torch.Tensor.put)
def put(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with the elements of `source` written (or added) at the numbers `index` among all elements."""
    _check_put(self, index, source)
    flat = put_slices(_all_dims(self), _all_dims(index), _all_dims(source), dims=(0,), accumulate=accumulate)
    return reshape(flat, self._array.shape)


@public("Tensor")
def put_(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """In-place version of `put`."""
    return self.copy_(put(self, index, source, accumulate))


def _check_put(x: Tensor, index: Tensor, source: Tensor) -> None:
    if source.numel() != index.numel():
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.numel()}, index.numel() = {index.numel()}"
        )
    if source._dtype is not x._dtype:
        raise RuntimeError(f"put_(): self ({x._dtype.name}) and source ({source._dtype.name}) must have the same dtype")
