"""Tensors put together and repeated: cat, stack and their like, repeat, tile, flip, roll, rot90."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CUDA, device
from naiad.core.dispatch import apply, deliver
from naiad.core.dtype import promote_types
from naiad.core.op import public
from naiad.core.primitive import Primitive, primitive, same_as
from naiad.core.tensor import Tensor, normalize_dim, normalize_dims
from naiad.ops.convert import cast, clone_op
from naiad.ops.indexing import take, vector_of
from naiad.ops.movement import expand_op, permute_op, reshape
from naiad.ops.shape import atleast_1d, atleast_2d, atleast_3d, flat_args
from naiad.ops.windows import embed, slice_op

Shape = tuple[int, ...]


# ---------------------------------------------------------------- cat
def _cat_rule(*tensors: Tensor, dim: int) -> tuple:
    first = tensors[0]._array.shape
    total = 0
    for i, x in enumerate(tensors):
        shape = x._array.shape
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        for d, (n, m) in enumerate(zip(first, shape, strict=True)):
            if d != dim and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but got size {m} for "
                    f"tensor number {i} in the list."
                )
        total += shape[dim]
    return (*first[:dim], total, *first[dim + 1 :]), tensors[0]._dtype


class _Cat(Primitive):
    """On a device: one copy per tensor into its place."""

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        shape, of = self.infer(xs, attrs)
        out = backend.empty(shape, of, home)
        if home.kind == CUDA:
            copy, dim, at = backend.launcher("copy.copy", self.name), attrs["dim"], 0
            for x in arrays:
                if x.size:
                    copy(out.view(x.shape, out.strides, out.offset + at * out.strides[dim]), x)
                at += x.shape[dim]
        return [out]


def _joined(*tensors: np.ndarray, dim: int) -> np.ndarray:
    """The tensors one after the other along `dim`."""
    return np.ascontiguousarray(np.concatenate(tensors, dim))


def _piece(g: Tensor, shapes: list, index: int, dim: int) -> Tensor:
    start = sum(shape[dim] for shape in shapes[:index])
    return slice_op(g, index=(slice(None),) * dim + (slice(start, start + shapes[index][dim]),))


_CAT = _Cat("cat_op", _joined, rule=_cat_rule, widen=False, grad=(_piece,))


def _promoted(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """All in the dtype that they promote to."""
    common = tensors[0]._dtype
    for x in tensors:
        if x._dtype is not common:
            common = promote_types(common, x._dtype)
    return tuple(x if x._dtype is common else cast(x, dtype=common) for x in tensors)


def _is_old_empty(x: Tensor) -> bool:
    """An empty vector joins anything, by PyTorch's tradition."""
    return x._array.shape == (0,)


@public(
    "naiad",
    aliases=("concat", "concatenate"),
    samples=lambda s: [
        s.call([s(2, 3), s(1, 3)]),
        s.call((s(2, 3), s(2, 1), s(2, 2)), -1),
        s.call([s(2, 3), s(0), s(2, 3)], dim=1),
        s.call([s(3)]),
    ],
)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors one after the other along `dim`; their other sizes must be equal. Dtypes are promoted.

    Raises ValueError for no tensors, RuntimeError for shapes that do not fit.
    """
    given = tuple(tensors)
    if not given:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
        if not x._array.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    if any(x._dtype is not given[0]._dtype for x in given):
        given = _promoted(given)
    shaped = next((x for x in given if not _is_old_empty(x)), given[0])
    dim = normalize_dim(dim, shaped.ndim)
    if shaped.ndim > 1 and any(_is_old_empty(x) for x in given):
        size = (*shaped._array.shape[:dim], 0, *shaped._array.shape[dim + 1 :])
        given = tuple(reshape(x, size) if _is_old_empty(x) else x for x in given)
    result = apply(_CAT, given, {"dim": dim})
    return result if out is None else deliver(result, out)


@public(
    "naiad",
    samples=lambda s: [
        s.call([s(2, 3), s(2, 3)]),
        s.call((s(2, 3), s(2, 3)), -1),
        s.call([s(), s()]),
        s.call([s(2)], 1),
    ],
)
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors, all of one shape, along a new dimension `dim`."""
    given = tuple(tensors)
    if not given:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = given[0]._array.shape
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
        if x._array.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(x.shape)} at "
                f"entry {i}"
            )
    dim = normalize_dim(dim, len(shape) + 1)
    if any(x._dtype is not given[0]._dtype for x in given):
        given = _promoted(given)
    # Side by side along the next dimension is the same memory, with no view per tensor.
    if dim == len(shape):
        joined = apply(_CAT, tuple(x.unsqueeze(dim) for x in given), {"dim": dim})
    else:
        joined = reshape(apply(_CAT, given, {"dim": dim}), (*shape[:dim], len(given), shape[dim], *shape[dim + 1 :]))
    return joined if out is None else deliver(joined, out)


def _shaped_stack(name: str, prepare: Any, dim_of: Any, samples: Any, aliases: tuple = ()) -> Any:
    def function(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
        given = [prepare(x) for x in tensors]
        if not given:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        return cat(given, dim_of(given[0]), out=out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The tensors side by side, as NumPy's {name} puts them."
    return public("naiad", aliases=aliases, samples=samples)(function)


hstack = _shaped_stack(
    "hstack",
    atleast_1d,
    lambda x: 0 if x.ndim == 1 else 1,
    lambda s: [s.call([s(2), s(3)]), s.call([s(2, 1), s(2, 2)]), s.call([s(), s()])],
)
vstack = _shaped_stack(
    "vstack", atleast_2d, lambda x: 0, lambda s: [s.call([s(2), s(2)]), s.call([s(1, 2), s(3, 2)])], ("row_stack",)
)
dstack = _shaped_stack("dstack", atleast_3d, lambda x: 2, lambda s: [s.call([s(2), s(2)]), s.call([s(2, 2), s(2, 2)])])
column_stack = _shaped_stack(
    "column_stack",
    lambda x: reshape(x, (x.numel(), 1)) if x.ndim < 2 else x,
    lambda x: 1,
    lambda s: [s.call([s(3), s(3, 2)]), s.call([s(), s()])],
)


@public("naiad", samples=lambda s: [s.call(s(2, 3), s(), s(2)), s.call(s(2, 2))])
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices along its diagonal, zeros elsewhere."""
    given = _promoted([_as_matrix(i, x) for i, x in enumerate(tensors)])
    shape = sum(x._array.shape[0] for x in given), sum(x._array.shape[1] for x in given)
    result: Any = None
    row = column = 0
    for x in given:
        rows, columns = x._array.shape
        place = embed(x, slice_op, shape, index=(slice(row, row + rows), slice(column, column + columns)))
        result = place if result is None else result + place
        row, column = row + rows, column + columns
    return result


def _as_matrix(i: int, x: Tensor) -> Tensor:
    if x.ndim > 2:
        raise RuntimeError(
            f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {x.ndim} dimensions"
        )
    return atleast_2d(x)


# ---------------------------------------------------------------- repeating
@public("Tensor", samples=lambda s: [s.call(s(2, 3), 2, 1), s.call(s(3), (4, 2)), s.call(s(2), 0), s.call(s(), 3)])
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """A copy repeated along each dimension; more numbers than dimensions add leading ones."""
    times = flat_args(repeats)
    shape = self._array.shape
    lead = len(times) - len(shape)
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: repeat"
            f"{times} for shape {list(shape)}"
        )
    if any(n < 0 for n in times):
        raise RuntimeError(f"repeat: the numbers of repetitions must not be negative, got {list(times)}")
    sizes = (1,) * lead + tuple(shape)
    between = tuple(n for d in range(len(sizes)) for n in (1, sizes[d]))
    wide = tuple(n for d in range(len(sizes)) for n in (times[d], sizes[d]))
    spread = expand_op(reshape(self, between), size=wide)
    return reshape(clone_op(spread), tuple(n * t for n, t in zip(sizes, times, strict=True)))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), (2,)), s.call(s(3), (2, 2))])
def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, where missing leading numbers are 1."""
    times = flat_args(dims)
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
        counts = input._array if isinstance(input._array, np.ndarray) else input.cpu()._array
        return vector_of(np.repeat(np.arange(counts.size), counts), input)
    x = reshape(input, (-1,)) if dim is None else input
    dim = normalize_dim(0 if dim is None else dim, x.ndim)
    size = x._array.shape[dim]
    if isinstance(repeats, Tensor):
        counts = repeats.cpu()._array.reshape(-1)
        if counts.size not in (1, size):
            raise RuntimeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{counts.size} and input.size({dim}) = {size}"
            )
    else:
        counts = np.asarray(repeats)
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return take(x, vector_of(np.repeat(np.arange(size), counts), x), (dim,))


# ---------------------------------------------------------------- turning
@primitive(rule=same_as(), kernel="copy.flip", widen=False, grad=(lambda g, dims: flip_op(g, dims=dims),))
def flip_op(input: np.ndarray, *, dims: Shape) -> np.ndarray:
    """The order along some dimensions reversed."""
    return np.array(np.flip(input, dims), order="C")


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), (0,)), s.call(s(2, 3), [0, -1]), s.call(s(2), dims=[])])
def flip(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """A copy with the order along `dims` reversed."""
    wanted = flat_args((named["dims"],) if named else dims)
    return flip_op(input, dims=normalize_dims(wanted, input.ndim) if wanted else ())


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])
def fliplr(input: Tensor) -> Tensor:
    """The columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip_op(input, dims=(1,))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])
def flipud(input: Tensor) -> Tensor:
    """The rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip_op(input, dims=(0,))


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
        return flip_op(input, dims=(a, b))
    order = list(range(input.ndim))
    order[a], order[b] = order[b], order[a]
    return permute_op(flip_op(input, dims=(b,) if k % 4 == 1 else (a,)), dims=tuple(order))


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
            out = apply(_CAT, pieces, {"dim": dim})
    return clone_op(out) if out is input else out
