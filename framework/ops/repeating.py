"""Elements in other places and more often: repeat, tile, repeat_interleave, flip, roll, rot90."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_int
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CUDA, device
from naiad.core.dispatch import apply
from naiad.core.op import public
from naiad.core.primitive import Primitive, primitive, same_as
from naiad.core.strided import contiguous_strides
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import clone_op
from naiad.ops.indexing import take, vector_of
from naiad.ops.joining import cat
from naiad.ops.movement import expand_op, permute_op, reshape
from naiad.ops.shape import flat_args
from naiad.ops.windows import slice_op

Shape = tuple[int, ...]


def _repeat_shapes(shape: Shape, times: Shape) -> tuple[Shape, Shape, Shape]:
    """The result's shape; the input's with a dimension of 1 before each; and that one repeated."""
    sizes = (1,) * (len(times) - len(shape)) + tuple(shape)
    pairs = tuple(zip(times, sizes, strict=True))
    return (
        tuple(t * n for t, n in pairs),
        tuple(m for _, n in pairs for m in (1, n)),
        tuple(m for p in pairs for m in p),
    )


def _repeat_rule(input: Tensor, *, times: Shape) -> tuple:
    return _repeat_shapes(input._array.shape, times)[0], input._dtype


def _repeated(input: np.ndarray, *, times: Shape) -> np.ndarray:
    """The tensor repeated along each dimension."""
    shape, between, wide = _repeat_shapes(input.shape, times)
    out = np.empty(shape, input.dtype)
    if out.size:
        out.reshape(wide)[...] = input.reshape(between)
    return out


def _repeat_back(g: Tensor, input_shape: Shape, times: Shape) -> Tensor:
    _, _, wide = _repeat_shapes(input_shape, times)
    if not wide:
        return g
    summed = reshape(g, wide).sum(tuple(range(0, len(wide), 2)))
    return reshape(summed, input_shape)


class _Repeat(Primitive):
    """On a device: one copy, of the input seen again and again."""

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        shape, between, wide = _repeat_shapes(arrays[0].shape, attrs["times"])
        out = backend.empty(shape, xs[0]._dtype, home)
        if home.kind == CUDA and out.size:
            steps = iter(arrays[0].strides)
            lead = len(shape) - len(arrays[0].shape)
            seen = tuple(s for d in range(len(shape)) for s in (0, next(steps) if d >= lead else 0))
            target = out.view(wide, contiguous_strides(wide))
            backend.launcher("copy.copy", self.name)(target, arrays[0].view(between, seen).broadcast(wide))
        return [out]


_REPEAT = _Repeat("repeat_op", _repeated, rule=_repeat_rule, kernel="copy.copy", widen=False, grad=(_repeat_back,))


@public("Tensor", samples=lambda s: [s.call(s(2, 3), 2, 1), s.call(s(3), (4, 2)), s.call(s(2), 0), s.call(s(), 3)])
def repeat(self: Tensor, *times_each: Any, repeats: Any = None) -> Tensor:
    """A copy repeated along each dimension; more numbers than dimensions add leading ones."""
    times = flat_args(times_each if repeats is None else (repeats,))
    shape = self._array.shape
    lead = len(times) - len(shape)
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: repeat"
            f"{times} for shape {list(shape)}"
        )
    if any(n < 0 for n in times):
        raise RuntimeError(f"repeat: the numbers of repetitions must not be negative, got {list(times)}")
    return apply(_REPEAT, (self,), {"times": times})


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), (2,)), s.call(s(3), (2, 2))])
def tile(input: Tensor, *times: Any, dims: Any = None) -> Tensor:
    """`repeat`, where missing leading numbers are 1."""
    times = flat_args(times if dims is None else (dims,))
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3), 2),
        s.call(s(2, 3), 2, dim=1),
        s.call(s(3, 2), s.fixed([1, 0, 3]), dim=0),
        s.call(s.fixed([1, 2])),
    ],
)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each slice along `dim` (default: each element) as often as `repeats` says, a number or one per slice."""
    if repeats is None:  # the numbers of slices themselves
        return _slices(input.reshape(-1), output_size)
    x = reshape(input, (-1,)) if dim is None else input
    dim = normalize_dim(0 if dim is None else dim, x.ndim)
    size = x._array.shape[dim]
    if isinstance(repeats, Tensor) and repeats.numel() == 1:
        repeats = int(repeats.item())
    if not isinstance(repeats, Tensor):
        return _each_repeated(x, dim, as_int(repeats))
    if repeats.numel() != size:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.numel()} and input.size({dim}) = {size}"
        )
    return take(x, _slices(repeats.to(x._device).reshape(-1), output_size), (dim,))


def _each_repeated(x: Tensor, dim: int, times: int) -> Tensor:
    if times < 0:
        raise RuntimeError("repeats can not be negative")
    shape = x._array.shape
    if times == 1:
        return clone_op(x)
    wide = expand_op(
        reshape(x, (*shape[: dim + 1], 1, *shape[dim + 1 :])), size=(*shape[: dim + 1], times, *shape[dim + 1 :])
    )
    return reshape(wide, (*shape[:dim], shape[dim] * times, *shape[dim + 1 :]))


def _slices(counts: Tensor, total: int | None) -> Tensor:
    """The numbers 0, 1, ..., each as often as a vector says; `total` spares cuda a look at what they add up to."""
    if isinstance(counts._array, np.ndarray):
        if counts._array.size and counts._array.min() < 0:
            raise RuntimeError("repeats can not be negative")
        return vector_of(np.repeat(np.arange(counts._array.size), counts._array), counts)
    from naiad.ops.ranges import arange
    from naiad.ops.sets import search_op

    ends = counts.long().cumsum(0)
    if total is None and counts.numel():
        low, total = int(counts.min()), int(ends[-1])
        if low < 0:
            raise RuntimeError("repeats can not be negative")
    return search_op(ends, arange(total or 0, device=counts._device), side="right", out_int32=False)


# ---------------------------------------------------------------- turning
@primitive(rule=same_as(), kernel="copy.flip", parts="move", widen=False, grad=(lambda g, dims: flip_op(g, dims=dims),))
def flip_op(input: np.ndarray, *, dims: Shape) -> np.ndarray:
    """The order along some dimensions reversed."""
    return np.array(np.flip(input, dims), order="C")


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), (0,)), s.call(s(2, 3), [0, -1]), s.call(s(2), dims=[])])
def flip(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """A copy with the order along `dims` reversed."""
    wanted = [normalize_dim(d, input.ndim) for d in flat_args((named["dims"],) if named else dims)]
    for d in wanted:
        if wanted.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return _flipped(input, tuple(wanted) if input.ndim else ())


def _flipped(x: Tensor, dims: Shape) -> Tensor:
    return flip_op(x, dims=dims) if dims else clone_op(x)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])
def fliplr(input: Tensor) -> Tensor:
    """The columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return _flipped(input, (1,))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])
def flipud(input: Tensor) -> Tensor:
    """The rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return _flipped(input, (0,))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s(2, 3), 2), s.call(s(2, 3, 2), -1, (1, 2))])
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned `k` times by 90 degrees in the plane of `dims`, from the first towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = normalize_dim(dims[0], input.ndim), normalize_dim(dims[1], input.ndim)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    if k % 4 == 0:
        return clone_op(input)
    if k % 4 == 2:
        return _flipped(input, (a, b))
    order = list(range(input.ndim))
    order[a], order[b] = order[b], order[a]
    return permute_op(_flipped(input, (b,) if k % 4 == 1 else (a,)), dims=tuple(order))


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), 1), s.call(s(4, 3), (1, -2), (0, 1)), s.call(s(4), 5, 0), s.call(s(0, 2), 1, 0)],
)
def roll(input: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """A copy with the elements moved by `shifts` along `dims`, round the end; over all elements without `dims`."""
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    if not along and len(moves) == 1:
        return (
            reshape(roll(reshape(input, (-1,)), moves, (0,)), input._array.shape) if input.numel() else clone_op(input)
        )
    if len(moves) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(along)}")
    out = input
    for shift, d in zip(moves, along, strict=True):
        dim = normalize_dim(d, input.ndim)
        size = out._array.shape[dim] if out.ndim else 0
        at = -shift % size if size else 0
        if at:
            lead = (slice(None),) * dim
            pieces = slice_op(out, index=(*lead, slice(at, None))), slice_op(out, index=(*lead, slice(0, at)))
            out = cat(pieces, dim)
    return clone_op(out) if out is input else out
