"""Elements by numbers along one dimension: gather, and scatter with what it shares with its reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.dispatch import deliver
from naiad.core.dtype import INT
from naiad.core.inplace import inplace_call
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.strided import broadcast_shapes, contiguous_strides
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.creation import full_op
from naiad.ops.indexing import raise_outside, take, zeros_like_gradient
from naiad.ops.movement import expand_op, reshape
from naiad.ops.windows import embed, slice_op

Shape = tuple[int, ...]


# ---------------------------------------------------------------- gather
def _grid(index: np.ndarray, dim: int) -> tuple:
    """What NumPy needs to find the elements with the numbers `index` along `dim`."""
    grid: list = []
    for d, n in enumerate(index.shape):
        grid.append(index if d == dim else np.arange(n).reshape((n,) + (1,) * (index.ndim - d - 1)))
    return tuple(grid)


def _numbers(index: np.ndarray, dim: int, shape: Shape) -> np.ndarray:
    """The numbers, among all elements of a contiguous array of `shape`, of those with the numbers `index`."""
    if index.size and index.max() >= (shape[dim] if shape else 1):
        raise IndexError("index")
    steps = contiguous_strides(shape)
    places = index * steps[dim] if steps and steps[dim] != 1 else index
    for d, n in enumerate(index.shape):
        if d != dim and n > 1:
            places = places + (np.arange(n) * steps[d]).reshape((n,) + (1,) * (index.ndim - d - 1))
    return places


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
    widen=False,
    kernel="elements.gather",
    parts="move",
    grad=(
        lambda g, index, input_shape, dim: add_elements(zeros_like_gradient(g, input_shape), index, g, dim),
        None,
    ),
)
def gather_op(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    """out[i, j, ...] = input[i, index[i, j, ...], ...] with the index in the place of `dim`."""
    _check_low(index)
    if index.ndim != input.ndim:
        raise IndexError("index")
    if input.flags.c_contiguous:
        if any(n > m for d, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if d != dim):
            raise IndexError("index")
        return np.asarray(np.take(input.reshape(-1), _numbers(index, dim, input.shape)))
    return np.ascontiguousarray(input[_grid(index, dim)]).reshape(index.shape)


def gathered(input: Tensor, index: Tensor, dim: int) -> Tensor:
    """`gather_op` with its attribute by position."""
    return gather_op(input, index, dim=dim)


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
    result = gathered(input, index, normalize_dim(dim, input.ndim))
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
    result = gathered(wide, wrapped, dim)
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
        if not index.ndim or index.shape[dim] == 1:  # no place is met twice
            grid = _grid(index, dim)
            input[grid] = ufunc(input[grid], src)
        elif input.flags.c_contiguous and index.size:
            if any(n > m for d, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if d != dim):
                raise IndexError("index")
            places = _numbers(index, dim, input.shape).reshape(-1)
            ufunc.at(input.reshape(-1), places, np.broadcast_to(src, index.shape).reshape(-1))
        else:
            ufunc.at(input, _grid(index, dim), src)

    return into


def _out_of_place(into: Any) -> Any:
    def body(input: np.ndarray, index: np.ndarray, src: np.ndarray, *, dim: int) -> np.ndarray:
        out = np.array(input, order="C")
        into(out, index, src, dim=dim)
        return out

    return body


def of_source(g: Tensor, index: Tensor, shape: Shape, dim: int) -> Tensor:
    """The gradient of a source: what its elements became, zeros where the index did not reach."""
    found = gathered(g, index, dim)
    size = index._array.shape
    if not shape or shape == size:
        return found
    return embed(found, slice_op, shape, index=tuple(slice(0, n) for n in size))


def _zero(g: Tensor) -> Tensor:
    return zeros_like_gradient(g, ())


def entry(name: str, into: Any, kernel: str, grad: Any, parts: str | None = None) -> Any:
    rule = _scatter_rule(name.removesuffix("_op"))
    facts = {"kernel": kernel, "parts": parts, "widen": False, "into": into, "grad": grad}
    return primitive(name=name, rule=rule, **facts)(_out_of_place(into))


def _keep_gradient(g: Tensor) -> Tensor:
    return g


scatter_op = entry(
    "scatter_op",
    _scatter_into,
    "elements.scatter",
    (
        lambda g, index, dim: put_elements(g, index, _zero(g), dim),
        None,
        lambda g, index, src_shape, dim: of_source(g, index, src_shape, dim),
    ),
    parts="move",
)
scatter_add_op = entry(
    "scatter_add_op",
    combine_into(np.add),
    "elements.scatter_add",
    (_keep_gradient, None, lambda g, index, src_shape, dim: of_source(g, index, src_shape, dim)),
    parts="each",
)
_put_in_place, _add_in_place = inplace_call(scatter_op.op), inplace_call(scatter_add_op.op)


def put_elements(input: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """`scatter_op` with its attribute by position."""
    return scatter_op(input, index, src, dim=dim)


def add_elements(input: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """`scatter_add_op` with its attribute by position."""
    return scatter_add_op(input, index, src, dim=dim)


def put_elements_(x: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """`put_elements` into `x`."""
    return _put_in_place(x, index, src, dim=dim)


def add_elements_(x: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """`add_elements` into `x`."""
    return _add_in_place(x, index, src, dim=dim)
