"""Elements by masks and by numbers along one dimension: masked_*, nonzero, gather and the scatter family."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.device import CPU_DEVICE
from naiad.core.dispatch import deliver
from naiad.core.dtype import BOOL, INT
from naiad.core.inplace import inplace_call
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import fitting
from naiad.ops.creation import full_op
from naiad.ops.indexing import as_value, put_op, raise_outside, take, zeros_like_gradient
from naiad.ops.movement import expand_op, reshape
from naiad.ops.windows import embed, slice_op

Shape = tuple[int, ...]


# ---------------------------------------------------------------- masks
def _masked_fill_rule(input: Tensor, mask: Tensor, *, value: Any) -> tuple:
    return broadcast_shapes([input._array.shape, mask._array.shape]), input._dtype


@primitive(
    rule=_masked_fill_rule,
    widen=False,
    kernel="indexing.masked_fill",
    into=lambda input, mask, *, value: np.copyto(input, input.dtype.type(value), where=mask),
    grad=(lambda g, mask, value: masked_fill_op(g, mask, value=0), None),
)
def masked_fill_op(input: np.ndarray, mask: np.ndarray, *, value: Any) -> np.ndarray:
    """`input`, with a number where `mask` is true."""
    return np.where(mask, input.dtype.type(value), input)


_masked_fill_into = inplace_call(masked_fill_op.op)


def _check_mask(name: str, mask: Any) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}(): argument 'mask' must be Tensor, not {type(mask).__name__}")
    if mask._dtype.kind != BOOL:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {mask._dtype.name}")


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3), s.bools(2, 3), 1.5),
        s.call(s(2, 3), s.bools(3), float("-inf")),
        s.call(s(3), s.bools(2, 3), 0),
        s.call(s(2, 3), s.bools(2, 1), s()),
    ],
)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` (a number or a 0-d tensor) where `mask` is true. Both are broadcast."""
    _check_mask("masked_fill_", mask)
    if not isinstance(value, Tensor) and input._device is CPU_DEVICE:
        return masked_fill_op(input, mask, value=fitting(input, value))
    from naiad.ops.arithmetic import where_op

    given = as_value("masked_fill_", input, value) if isinstance(value, Tensor) else fitting(input, value)
    return where_op(mask, given, input)


@public("Tensor")
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In-place version of `masked_fill`."""
    _check_mask("masked_fill_", mask)
    if not isinstance(value, Tensor) and self._device is CPU_DEVICE:
        return _masked_fill_into(self, mask, value=fitting(self, value))
    return self.copy_(_unbroadcast(self, masked_fill(self, mask, value)))


def _unbroadcast(x: Tensor, result: Tensor) -> Tensor:
    if result._array.shape != x._array.shape:
        raise RuntimeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(result.shape)}")
    return result


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), s.bools(2, 3)), s.call(s(2, 3), s.bools(3)), s.call(s(), s.bools(2))],
)
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where `mask` is true, in one dimension. Both are broadcast."""
    from naiad.ops.getitem import flat_numbers

    _check_mask("masked_select", mask)
    size = broadcast_shapes([input._array.shape, mask._array.shape])
    flat = reshape(expand_op(input, size=size) if input._array.shape != size else input, (-1,))
    numbers = flat_numbers(reshape(expand_op(mask, size=size) if mask._array.shape != size else mask, (-1,)))
    result = take(flat, numbers, (0,))
    return result if out is None else deliver(result, out)


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s.bools(2, 3), s(7)), s.call(s(2, 3), s.bools(3), s(2, 4))]
)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, one after the other, where `mask` is true."""
    from naiad.ops.getitem import flat_numbers

    _check_mask("masked_scatter", mask)
    if input._dtype is not source._dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input._dtype.name} and "
            f"{source._dtype.name}"
        )
    size = broadcast_shapes([input._array.shape, mask._array.shape])
    numbers = flat_numbers(reshape(expand_op(mask, size=size), (-1,)))
    if numbers.numel() > source.numel():
        raise RuntimeError(
            f"Number of elements of source < number of ones in mask: masked_scatter got {source.numel()} for "
            f"{numbers.numel()}"
        )
    given = slice_op(reshape(source, (-1,)), index=(slice(0, numbers.numel()),))
    flat = put_op(reshape(expand_op(input, size=size), (-1,)), numbers, given, dims=(0,), accumulate=False)
    return reshape(flat, size)


@public("Tensor")
def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """In-place version of `masked_scatter`."""
    return self.copy_(_unbroadcast(self, masked_scatter(self, mask, source)))


# ---------------------------------------------------------------- nonzero
def _nonzero_rule(input: Tensor) -> tuple:
    raise NotImplementedError(
        f"nonzero: the shape of the result depends on the values, which is not possible on {input._device} yet; use "
        ".cpu() first"
    )


@primitive(rule=_nonzero_rule, widen=False)
def nonzero_op(input: np.ndarray) -> np.ndarray:
    """The places of the elements that are not 0, one per row."""
    columns = np.nonzero(input) if input.ndim else ()
    if not columns:
        return np.zeros((int(bool(input)), 0), np.int64)
    return columns[0].reshape(-1, 1) if len(columns) == 1 else np.stack(columns, 1)


@public("naiad", "Tensor", samples=lambda s: [s.call(s.ints(2, 3, high=2)), s.call(s.bools(2, 2, 2), as_tuple=True)])
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The places of the elements that are not 0: an (n, ndim) int64 tensor, or one vector per dimension."""
    if not as_tuple:
        return nonzero_op(input)
    found = nonzero_op(input if input.ndim else reshape(input, (1,)))
    return tuple(slice_op(found, index=(..., i)) for i in range(max(input.ndim, 1)))


@public("naiad", "Tensor", samples=lambda s: [s.call(s.ints(2, 3, high=2))])
def argwhere(input: Tensor) -> Tensor:
    """The places of the elements that are not 0, one per row."""
    return nonzero_op(input)


# ---------------------------------------------------------------- gather
def _grid(index: np.ndarray, dim: int) -> tuple:
    """What NumPy needs to find the elements with the numbers `index` along `dim`."""
    grid: list = []
    for d, n in enumerate(index.shape):
        grid.append(index if d == dim else np.arange(n).reshape((n,) + (1,) * (index.ndim - d - 1)))
    return tuple(grid)


def _check_low(index: np.ndarray) -> None:
    if index.dtype.kind not in "iu" or (index.size and index.min() < 0):
        raise IndexError("index")


def _check_numbers(name: str, input: Tensor, index: Tensor, dim: int) -> None:
    """Raise RuntimeError unless `index` has as many dimensions as `input`, is no larger apart from `dim`, and fits."""
    if index._dtype.kind != INT or index._dtype.itemsize < 4:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {index._dtype.name}")
    shape, size = input._array.shape, index._array.shape
    if len(size) != len(shape):
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor: index has {len(size)}, "
            f"input {len(shape)}"
        )
    for d, n in enumerate(size):
        if d != dim and n > shape[d]:
            raise RuntimeError(
                f"{name}(): Size does not match at dimension {d} expected index {list(size)} to be no larger than self "
                f"{list(shape)} apart from dimension {dim}"
            )
    if isinstance(index._array, np.ndarray) and index._array.size:
        raise_outside(index._array, dim, shape[dim] if shape else 1, RuntimeError, low=0)


def _gather_rule(input: Tensor, index: Tensor, *, dim: int) -> tuple:
    _check_numbers("gather", input, index, dim)
    return index._array.shape, input._dtype


@primitive(
    rule=_gather_rule,
    kernel="indexing.gather",
    widen=False,
    grad=(
        lambda g, index, input_shape, dim: scatter_add_op(zeros_like_gradient(g, input_shape), index, g, dim=dim),
        None,
    ),
)
def gather_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """out[i, j, ...] = input[i, index[i, j, ...], ...] with the index in the place of `dim`."""
    _check_low(index)
    if index.ndim != input.ndim:
        raise IndexError("index")
    return np.ascontiguousarray(input[_grid(index, dim)]).reshape(index.shape)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 4), 1, s.ints(3, 2, high=4)),
        s.call(s(3, 4), 0, s.ints(5, 3, high=3)),
        s.call(s(2, 3, 4), -1, s.ints(2, 1, 6, high=4)),
        s.call(s(), 0, s.fixed(0)),
    ],
)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """Elements of `input` with the numbers `index` along `dim`; the result has the shape of `index`.

    Raises RuntimeError where `index` has other dimensions than `input` or is out of range.
    """
    if index.ndim != input.ndim and not index.numel():
        return full_op(shape=index._array.shape, value=0, dtype=input._dtype, device=input._device)
    result = gather_op(input, index, dim=normalize_dim(dim, input.ndim))
    return result if out is None else deliver(result, out)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(3, 4), s.fixed([[-1], [0], [2]]), 1), s.call(s(3, 4), s.fixed([5, 1]))],
)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """Elements with the numbers `indices` along `dim`, broadcast against each other; all elements if `dim` is None."""
    if dim is None:
        result = take(reshape(input, (-1,)), reshape(indices, (-1,)), (0,))
        return result if out is None else deliver(result, out)
    if indices.ndim != input.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = normalize_dim(dim, input.ndim)
    have, wanted = input._array.shape, indices._array.shape
    size = broadcast_shapes([have[:dim] + have[dim + 1 :], wanted[:dim] + wanted[dim + 1 :]])
    wide = expand_op(input, size=(*size[:dim], have[dim], *size[dim:]))
    numbers = expand_op(indices, size=(*size[:dim], wanted[dim], *size[dim:]))
    n = have[dim]
    wrapped = numbers + (numbers < 0).to(numbers.dtype) * n
    result = gather_op(wide, wrapped, dim=dim)
    return result if out is None else deliver(result, out)


# ---------------------------------------------------------------- scatter
def _scatter_rule(name: str) -> Any:
    def rule(input: Tensor, index: Tensor, src: Tensor, *, dim: int) -> tuple:
        _check_numbers(name, input, index, dim)
        given, size = src._array.shape, index._array.shape
        if given and (len(given) != len(size) or any(n > have for n, have in zip(size, given, strict=True))):
            raise RuntimeError(
                f"{name}(): Expected index {list(size)} to be no larger than self {list(input.shape)} apart from "
                f"dimension {dim} and to be no larger size than src {list(given)}"
            )
        if src._dtype is not input._dtype:
            raise RuntimeError(
                f"{name}(): Expected self.dtype to be equal to src.dtype: they are {input._dtype.name} and "
                f"{src._dtype.name}"
            )
        return input._array.shape, input._dtype

    return rule


def _cut(src: np.ndarray, shape: Shape) -> np.ndarray:
    """The part of a source that an index of this shape speaks of."""
    if src.shape == shape or not src.ndim:
        return src
    if src.ndim != len(shape) or any(n > have for n, have in zip(shape, src.shape, strict=True)):
        raise ValueError("shape")
    return src[tuple(slice(n) for n in shape)]


def _prepare(input: np.ndarray, index: np.ndarray, src: np.ndarray) -> np.ndarray:
    _check_low(index)
    if input.dtype != src.dtype or index.ndim != input.ndim:
        raise TypeError("operands")
    return _cut(src, index.shape)


def _scatter_into(input: np.ndarray, index: np.ndarray, src: np.ndarray, *, dim: int) -> None:
    input[_grid(index, dim)] = _prepare(input, index, src)


def combine_into(ufunc: np.ufunc) -> Any:
    """Scatter that combines what meets in one place by a NumPy function."""

    def into(input: np.ndarray, index: np.ndarray, src: np.ndarray, *, dim: int) -> None:
        src = _prepare(input, index, src)
        grid = _grid(index, dim)
        if not index.ndim or index.shape[dim] == 1:  # no place is met twice
            input[grid] = ufunc(input[grid], src)
        elif input.flags.c_contiguous and index.size:
            if index.max() >= input.shape[dim]:
                raise IndexError("index")
            steps = [int(np.prod(input.shape[d + 1 :])) for d in range(input.ndim)]
            places = sum(part * step for part, step in zip(grid, steps, strict=True))
            flat = np.broadcast_to(places, index.shape).reshape(-1)
            ufunc.at(input.reshape(-1), flat, np.broadcast_to(src, index.shape).reshape(-1))
        else:
            ufunc.at(input, grid, src)

    return into


def _out_of_place(into: Any) -> Any:
    def body(input: np.ndarray, index: np.ndarray, src: np.ndarray, *, dim: int) -> np.ndarray:
        out = np.array(input, order="C")
        into(out, index, src, dim=dim)
        return out

    return body


def of_source(g: Tensor, index: Tensor, shape: Shape, dim: int) -> Tensor:
    """The gradient of a source: what its elements became, zeros where the index did not reach."""
    found = gather_op(g, index, dim=dim)
    size = index._array.shape
    if not shape or shape == size:
        return found
    return embed(found, slice_op, shape, index=tuple(slice(0, n) for n in size))


def _zero(g: Tensor) -> Tensor:
    return zeros_like_gradient(g, ())


def entry(name: str, into: Any, kernel: str | None, grad: Any) -> Any:
    public_name = name.removesuffix("_op")
    return primitive(name=name, rule=_scatter_rule(public_name), kernel=kernel, widen=False, into=into, grad=grad)(
        _out_of_place(into)
    )


def _keep_gradient(g: Tensor) -> Tensor:
    return g


scatter_op = entry(
    "scatter_op",
    _scatter_into,
    "indexing.scatter",
    (
        lambda g, index, dim: scatter_op(g, index, _zero(g), dim=dim),
        None,
        lambda g, index, src_shape, dim: of_source(g, index, src_shape, dim),
    ),
)
scatter_add_op = entry(
    "scatter_add_op",
    combine_into(np.add),
    "indexing.scatter_add",
    (_keep_gradient, None, lambda g, index, src_shape, dim: of_source(g, index, src_shape, dim)),
)
put_elements, add_elements = inplace_call(scatter_op.op), inplace_call(scatter_add_op.op)
