"""Taking and writing slices by number: what indexing with tensors comes down to, and the index_* functions.

An index of several dimensions at once is a number in the merged dimensions, so that one tensor of numbers is enough.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.device import CUDA
from naiad.core.dispatch import deliver
from naiad.core.dtype import INT, int64
from naiad.core.inplace import inplace_call
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor, normalize_dim, wrap
from naiad.ops.convert import cast, fitting
from naiad.ops.creation import full_op
from naiad.ops.movement import inverse, permute_op, reshape

Shape = tuple[int, ...]
_ROW = 96  # elements from which on a row is added faster by itself than element by element


def zeros_like_gradient(g: Tensor, shape: Shape) -> Tensor:
    """Zeros of a shape with the dtype and device of a gradient."""
    return full_op(shape=shape, value=0, dtype=g._dtype, device=g._device)


def check_index(name: str, index: np.ndarray, size: int) -> None:
    """Raise IndexError unless all of `index` lies in [0, size)."""
    if index.size and (index.min() < 0 or index.max() >= size):
        wrong = index[(index < 0) | (index >= size)].flat[0]
        raise IndexError(f"{name}: index {wrong} is out of bounds for dimension with size {size}")


def add_rows(out: np.ndarray, index: np.ndarray, source: np.ndarray, dim: int) -> None:
    """out[..., index[i], ...] += source[..., i, ...] along `dim`; an index may occur more than once.

    `out` is C-contiguous; `source` has the dimensions of `index` in the place of `dim`.
    """
    outer, inner = prod(out.shape[:dim]), prod(out.shape[dim + 1 :])
    size = out.shape[dim] if out.ndim else 1
    numbers = index.reshape(-1)
    if not numbers.size or not outer * inner:
        return
    if numbers.min() < -size or numbers.max() >= size:
        raise IndexError("index")
    rows = out.reshape(outer, size, inner)
    values = source.reshape(outer, numbers.size, inner)
    if outer * inner >= _ROW:
        turn = outer > 1 and inner < _ROW  # adding short rows is slower than turning everything round and back
        target, given = (rows[0], values[0]) if outer == 1 else (rows.swapaxes(0, 1), values.swapaxes(0, 1))
        if turn:
            target, given = np.ascontiguousarray(target), np.ascontiguousarray(given)
        for i, row in zip(numbers.tolist(), given, strict=True):
            target[i] += row
        if turn:
            rows[...] = target.swapaxes(0, 1)
        return
    if numbers.min() < 0:
        numbers = np.where(numbers < 0, numbers + size, numbers)
    if outer * inner > 1:
        places = (np.arange(outer) * size)[:, None] + numbers
        numbers = (places[..., None] * inner + np.arange(inner)).reshape(-1)
    np.add.at(out.reshape(-1), numbers, values.reshape(-1))


# ---------------------------------------------------------------- taking
def _take_rule(input: Tensor, index: Tensor, *, dim: int) -> tuple:
    shape, numbers = input._array.shape, index._array
    if index._dtype.kind != INT:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if isinstance(numbers, np.ndarray) and numbers.size:
        raise_outside(numbers, dim, shape[dim])
    if not shape[dim] and numbers.size:
        raise IndexError(f"index 0 is out of bounds for dimension {dim} with size 0")
    return shape[:dim] + numbers.shape + shape[dim + 1 :], input._dtype


def raise_outside(index: np.ndarray, dim: int, size: int, error: type[Exception] = IndexError, low: Any = None) -> None:
    """Raise for the first number outside of [low, size); low is -size unless told."""
    wrong = index[(index < (-size if low is None else low)) | (index >= size)]
    if wrong.size:
        raise error(f"index {wrong.flat[0]} is out of bounds for dimension {dim} with size {size}")


@primitive(
    rule=_take_rule,
    kernel="indexing.take",
    parts="move",
    widen=False,
    grad=(lambda g, index, input_shape, dim: put_rows_op(g, index, dim=dim, shape=input_shape), None),
)
def take_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """The slices along `dim` numbered by `index`, whose dimensions replace `dim`; negative ones count from the end."""
    if input.flags.c_contiguous:
        return np.take(input, index, dim)
    return np.ascontiguousarray(input[(slice(None),) * dim + (index,)])


@primitive(
    rule=lambda input, index, *, dim, shape: (shape, input._dtype),
    kernel="indexing.put_rows",
    parts="each",
    grad=(lambda g, index, dim: take_op(g, index, dim=dim), None),
)
def put_rows_op(input: np.ndarray, index: np.ndarray, *, dim: int, shape: Shape) -> np.ndarray:
    """Zeros of `shape` to which the slices of `input` are added at `index`: the derivative of `take_op`."""
    out = np.zeros(shape, input.dtype)
    add_rows(out, index, input, dim)
    return out


def take(x: Tensor, index: Tensor, dims: Shape) -> Tensor:
    """`x` at the numbers `index` in the merged dimensions `dims` (ascending).

    The dimensions of `index` stand where `dims` stood if those are adjacent, else first.
    """
    dim, shape = dims[0], x._array.shape
    if len(dims) > 1:
        sizes = tuple(shape[d] for d in dims)
        if dims[-1] - dim + 1 != len(dims):
            rest = tuple(d for d in range(len(shape)) if d not in dims)
            x, shape, dim = permute_op(x, dims=dims + rest), sizes + tuple(shape[d] for d in rest), 0
        shape = (*shape[:dim], prod(sizes), *shape[dim + len(dims) :])
        x = reshape(x, shape)
    return take_op(x, index, dim=dim)


# ---------------------------------------------------------------- putting
def _result_shape(shape: Shape, index: Shape, dims: Shape) -> Shape:
    dim = dims[0]
    if dims[-1] - dim + 1 != len(dims):
        return index + tuple(n for d, n in enumerate(shape) if d not in dims)
    return shape[:dim] + index + shape[dims[-1] + 1 :]


def _put_rule(input: Tensor, index: Tensor, values: Tensor, *, dims: Shape, accumulate: bool) -> tuple:
    shape, numbers = input._array.shape, index._array
    if isinstance(numbers, np.ndarray) and numbers.size:
        raise_outside(numbers, dims[0], prod(shape[d] for d in dims))
    wanted, given = _result_shape(shape, numbers.shape, dims), values._array.shape
    if len(given) > len(wanted) or any(
        a != b and a != 1 for a, b in zip(reversed(given), reversed(wanted), strict=False)
    ):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(given)} cannot be broadcast to indexing result of shape "
            f"{list(wanted)}"
        )
    return shape, input._dtype


def _put(input: np.ndarray, index: np.ndarray, values: np.ndarray, *, dims: Shape, accumulate: bool) -> None:
    if len(dims) == 1:
        where: Any = (slice(None),) * dims[0] + (index,)
        if accumulate and input.flags.c_contiguous:
            wanted = _result_shape(input.shape, index.shape, dims)
            add_rows(input, index, np.broadcast_to(values, wanted), dims[0])
            return
    else:
        parts = iter(np.unravel_index(index, tuple(input.shape[d] for d in dims)))
        where = tuple(next(parts) if d in dims else slice(None) for d in range(dims[-1] + 1))
    if accumulate:
        np.add.at(input, where, values)
    else:
        input[where] = values


def _put_back(g: Tensor, index: Tensor, dims: Shape, accumulate: bool) -> Tensor:
    if accumulate:
        return g
    return put(g, index, zeros_like_gradient(g, ()), dims=dims, accumulate=False)


@primitive(
    rule=_put_rule,
    widen=False,
    into=_put,
    kernel="index_put.index_put",
    parts="each",
    grad=(_put_back, None, lambda g, index, dims: take(g, index, dims)),
)
def put_op(input: np.ndarray, index: np.ndarray, values: np.ndarray, *, dims: Shape, accumulate: bool) -> np.ndarray:
    """`input` with `values` written (or added) at the numbers `index` in the merged dimensions `dims`."""
    out = np.array(input, order="C")
    _put(out, index, values, dims=dims, accumulate=accumulate)
    return out


_put_in_place = inplace_call(put_op.op)


def put(x: Tensor, index: Tensor, values: Tensor, *, dims: Shape, accumulate: bool) -> Tensor:
    """A copy of `x` with `values` written (or added) at the numbers `index` in the merged dimensions `dims`."""
    if x._device.kind != CUDA:
        return put_op(x, index, values, dims=dims, accumulate=accumulate)
    # The kernel knows one dimension and a vector of numbers.
    shape, wanted = x._array.shape, _result_shape(x._array.shape, index._array.shape, dims)
    rest = tuple(d for d in range(len(shape)) if d not in dims)
    adjacent = dims[-1] - dims[0] + 1 == len(dims)
    order = tuple(range(len(shape))) if adjacent else dims + rest
    turned, dim = permute_op(x, dims=order), dims[0] if adjacent else 0
    before, after = turned._array.shape[:dim], turned._array.shape[dim + len(dims) :]
    size = prod(shape[d] for d in dims)
    wide = reshape(values.expand(wanted), (*before, index.numel(), *after))
    flat = put_op(
        reshape(turned, (*before, size, *after)),
        reshape(index, (-1,)),
        wide,
        dims=(dim,),
        accumulate=accumulate,
    )
    return permute_op(reshape(flat, turned._array.shape), dims=inverse(order))


def put_into(x: Tensor, index: Tensor, values: Tensor, *, dims: Shape, accumulate: bool) -> Tensor:
    """The same written into `x`."""
    if x._device.kind != CUDA:
        return _put_in_place(x, index, values, dims=dims, accumulate=accumulate)
    return x.copy_(put(x, index, values, dims=dims, accumulate=accumulate))


# ---------------------------------------------------------------- index_select and index_add
def _index_select_rule(input: Tensor, index: Tensor, *, dim: int) -> tuple:
    check_vector("index_select", index)
    shape, numbers = input._array.shape, index._array
    if isinstance(numbers, np.ndarray):
        check_index("index_select()", numbers, shape[dim] if shape else 1)
    return (shape[:dim] + (index.numel(),) + shape[dim + 1 :] if shape else ()), input._dtype


def check_vector(name: str, index: Tensor) -> None:
    """Raise unless `index` is an int32 or int64 tensor of at most one dimension."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index._array.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index._array.ndim}")
    if index._dtype.kind != INT or index._dtype.itemsize < 4:
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index, got {index._dtype.name}")


@primitive(
    rule=_index_select_rule,
    kernel="indexing.index_select",
    parts="move",
    widen=False,
    grad=(
        lambda g, index, input_shape, dim: index_add_op(zeros_like_gradient(g, input_shape), index, g, dim=dim),
        None,
    ),
)
def index_select_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """The slices of `input` along `dim` that `index` names."""
    if index.ndim > 1 or index.dtype.kind not in "iu" or index.dtype.itemsize < 4:
        raise TypeError("index")
    check_index("index_select()", index, input.shape[dim] if input.ndim else 1)
    return np.take(input, index.reshape(-1), dim) if input.ndim else np.array(input)


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), 1, s.ints(5, high=4)), s.call(s(3, 2), -2, s.ints(2, high=3))]
)
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices along `dim` named by `index`, an int32 or int64 vector. Raises IndexError out of range."""
    result = index_select_op(input, index, dim=normalize_dim(dim, input.ndim))
    return result if out is None else deliver(result, out)


def _index_add_rule(input: Tensor, index: Tensor, source: Tensor, *, dim: int) -> tuple:
    numbers = index._array
    if isinstance(numbers, np.ndarray):
        shape = input._array.shape
        raise_outside(numbers, dim, shape[dim] if shape else 1, RuntimeError, low=0)
    return input._array.shape, input._dtype


def _index_add_into(input: np.ndarray, index: np.ndarray, source: np.ndarray, *, dim: int) -> None:
    if input.flags.c_contiguous:
        add_rows(input, index, source, dim)
    else:
        np.add.at(np.moveaxis(input, dim, 0), index, np.moveaxis(source, dim, 0))


@primitive(
    rule=_index_add_rule,
    kernel="indexing.index_add",
    parts="each",
    into=_index_add_into,
    grad=(lambda g: g, None, lambda g, index, dim: index_select_op(g, index, dim=dim)),
)
def index_add_op(input: np.ndarray, index: np.ndarray, source: np.ndarray, *, dim: int) -> np.ndarray:
    """`input` with the slices of `source` added where `index` says; an index may occur more than once."""
    check_index("index_add()", index, input.shape[dim] if input.ndim else 1)
    out = np.array(input, order="C")
    add_rows(out, index, source, dim)
    return out


_index_add_in_place = inplace_call(index_add_op.op)


def checked_source(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> int:
    """The dimension counted from the front. Raises where slices of `source` do not fit `x` or `index`."""
    check_vector(name, index)
    dim = normalize_dim(dim, x.ndim)
    if x._dtype is not source._dtype:
        raise RuntimeError(
            f"{name}(): self ({x._dtype.name}) and source ({source._dtype.name}) must have the same scalar type"
        )
    have, given = x._array.shape, source._array.shape
    if have[:dim] + have[dim + 1 :] != given[:dim] + given[dim + 1 :] or len(have) < len(given):
        raise RuntimeError(
            f"{name}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got "
            f"self.shape = {list(have)} source.shape = {list(given)}"
        )
    count = given[dim] if given else 1
    if index.numel() != count:
        kind = RuntimeError if name.startswith("index_add") else IndexError
        raise kind(
            f"{name}(): Number of indices ({index.numel()}) should be equal to source.size(dim): ({count}), for dim: "
            f"{dim}"
        )
    return dim


def _scaled(source: Tensor, alpha: Any) -> Tensor:
    return source if alpha == 1 else source * alpha


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 4), 0, s.ints(5, high=3), s(5, 4)),
        s.call(s(3, 4), -1, s.ints(6, high=4), s(3, 6), alpha=2),
    ],
)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """`input` with `alpha` times the slices of `source` added at `index` along `dim`."""
    dim = checked_source("index_add", input, dim, index, source)
    return index_add_op(input, index, _scaled(source, alpha), dim=dim)


@public("Tensor")
def index_add_(self: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """In-place version of `index_add`."""
    dim = checked_source("index_add_", self, dim, index, source)
    if isinstance(index._array, np.ndarray):
        raise_outside(index._array, dim, self._array.shape[dim] if self.ndim else 1, RuntimeError, low=0)
    return _index_add_in_place(self, index, _scaled(source, alpha), dim=dim)


def as_value(name: str, x: Tensor, value: Any) -> Tensor:
    """A number, or a 0-d tensor, as a 0-d tensor of the dtype and device of `x`."""
    if not isinstance(value, Tensor):
        return full_op(shape=(), value=fitting(x, value), dtype=x._dtype, device=x._device)
    if value._array.shape:
        raise RuntimeError(
            f"{name} only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    value = value if value._device is x._device else value.to(x._device)
    return value if value._dtype is x._dtype else cast(value, dtype=x._dtype)


def vector_of(array: np.ndarray, like: Tensor) -> Tensor:
    """Numbers worked out on the host as a tensor on the device of `like`."""
    from naiad.core.device import CPU_DEVICE
    from naiad.ops.convert import transfer

    return transfer(wrap(array, int64, CPU_DEVICE), like._device)
