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
from naiad.core.primitive import Primitive
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import cast
from naiad.ops.movement import reshape
from naiad.ops.shape import atleast_1d, atleast_2d, atleast_3d
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


class _Joining(Primitive):
    """On a device: one copy per tensor into its place."""

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        shape, of = self.infer(xs, attrs)
        out = backend.empty(shape, of, home)
        if home.kind == CUDA:
            copy, dim, at = backend.launcher("copy.copy", self.name), attrs["dim"], 0
            for x in arrays:
                strides = out.strides if x.ndim == out.ndim else out.strides[:dim] + out.strides[dim + 1 :]
                if x.size:
                    copy(out.view(x.shape, strides, out.offset + at * out.strides[dim]), x)
                at += x.shape[dim] if x.ndim == out.ndim else 1
        return [out]


def _joined(*tensors: np.ndarray, dim: int) -> np.ndarray:
    """The tensors one after the other along `dim`."""
    out = np.concatenate(tensors, dim)
    return out if out.flags.c_contiguous else np.ascontiguousarray(out)


def _piece(g: Tensor, shapes: list, index: int, dim: int) -> Tensor:
    start = sum(shape[dim] for shape in shapes[:index])
    return slice_op(g, index=(slice(None),) * dim + (slice(start, start + shapes[index][dim]),))


_CAT = _Joining("cat_op", _joined, rule=_cat_rule, kernel="copy.copy", widen=False, grad=(_piece,))


def _stacked(*tensors: np.ndarray, dim: int) -> np.ndarray:
    """The tensors along a new dimension."""
    first = tensors[0]
    shape = first.shape
    out = np.empty((*shape[:dim], len(tensors), *shape[dim:]), first.dtype)
    if dim < len(shape) and first.size:  # side by side along the next dimension is the same memory
        np.concatenate(tensors, dim, out=out.reshape((*shape[:dim], len(tensors) * shape[dim], *shape[dim + 1 :])))
    else:
        for i, x in enumerate(tensors):
            out[..., i] = x
    return out


_STACK = _Joining(
    "stack_op",
    _stacked,
    rule=lambda *tensors, dim: (
        (*tensors[0]._array.shape[:dim], len(tensors), *tensors[0]._array.shape[dim:]),
        tensors[0]._dtype,
    ),
    kernel="copy.copy",
    widen=False,
    grad=(lambda g, index, dim: slice_op(g, index=(slice(None),) * dim + (index, ...)),),
)


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
    given = _given("cat", tensors)
    if not _is_uniform(given):
        given, dim = _prepared(given, dim)
    result = apply(_CAT, given, {"dim": normalize_dim(dim, given[0]._array.ndim)})
    return result if out is None else deliver(result, out)


def _given(name: str, tensors: Any) -> tuple:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    return tuple(tensors)


def _is_uniform(given: tuple) -> bool:
    """Whether all are tensors of one dtype with the same number of dimensions."""
    of = ndim = None
    for x in given:
        if not isinstance(x, Tensor):
            return False
        if x._dtype is not of or x._array.ndim != ndim:
            if of is not None:
                return False
            of, ndim = x._dtype, x._array.ndim
    return bool(ndim)


def _prepared(given: tuple, dim: int) -> tuple[tuple[Tensor, ...], int]:
    """Operands of one dtype, empty vectors in the others' shape. Raises for what cannot be joined."""
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
    return given, dim


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
    given = _given("stack", tensors)
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
    joined = apply(_STACK, given, {"dim": dim})
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
