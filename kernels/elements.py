"""Elements by numbers along one dimension: gather, scatter, scatter_add, for any strides of all of them.

gather: out[e] = x[e, but index[e] along dim]; reads index and as many elements of x, writes out. scatter: out = x, then
out[e, but index[e] along dim] = or += src[e]; where an index occurs twice, addition is by atomics (in floats the order,
hence the last bit, is free), and which of several stores is the last is not defined on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import copy, fill
from naiad.kernels.geometry import Shape, collapse, needs_int64, reach
from naiad.kernels.indexing import _WIDE
from naiad.kernels.launch import block_for, cdiv, launch

BLOCK = 512
DIMS = 4  # that a kernel knows: more, which stay only where none merge, are walked over by the host


@triton.jit
def split(numel, size_1, size_2, size_3, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """(coordinates of this program's elements, which of them there are)."""
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    e = start * BLOCK + tl.arange(0, BLOCK)
    rest = e // size_3
    i_3 = e % size_3
    i_2 = rest % size_2
    rest = rest // size_2
    return rest // size_1, rest % size_1, i_2, i_3, e < numel


@triton.jit
def _gather(
    out_ptr, x_ptr, index_ptr, numel, size, step, size_1, size_2, size_3, o_0, o_1, o_2, o_3, x_0, x_1, x_2, x_3,
    n_0, n_1, n_2, n_3, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    i_0, i_1, i_2, i_3, inside = split(numel, size_1, size_2, size_3, BLOCK, WIDE)
    i = tl.load(index_ptr + i_0 * n_0 + i_1 * n_1 + i_2 * n_2 + i_3 * n_3, mask=inside, other=0).to(tl.int64)
    valid = inside & (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "index out of range in gather")
    x = tl.load(x_ptr + i_0 * x_0 + i_1 * x_1 + i_2 * x_2 + i_3 * x_3 + i * step, mask=valid, other=0)
    tl.store(out_ptr + i_0 * o_0 + i_1 * o_1 + i_2 * o_2 + i_3 * o_3, x, mask=inside)


@triton.jit
def _scatter(
    out_ptr, src_ptr, index_ptr, numel, size, step, size_1, size_2, size_3, o_0, o_1, o_2, o_3, s_0, s_1, s_2, s_3,
    n_0, n_1, n_2, n_3, ADD: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    i_0, i_1, i_2, i_3, inside = split(numel, size_1, size_2, size_3, BLOCK, WIDE)
    i = tl.load(index_ptr + i_0 * n_0 + i_1 * n_1 + i_2 * n_2 + i_3 * n_3, mask=inside, other=0).to(tl.int64)
    valid = inside & (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "index out of range in scatter")
    value = tl.load(src_ptr + i_0 * s_0 + i_1 * s_1 + i_2 * s_2 + i_3 * s_3, mask=inside, other=0)
    value = value.to(out_ptr.dtype.element_ty)
    at = out_ptr + i_0 * o_0 + i_1 * o_1 + i_2 * o_2 + i_3 * o_3 + i * step
    if ADD:
        tl.atomic_add(at, value, mask=valid, sem="relaxed")
    else:
        tl.store(at, value, mask=valid)


@triton.jit
def _add_strided(
    out_ptr, x_ptr, numel, size_1, size_2, size_3, o_0, o_1, o_2, o_3, x_0, x_1, x_2, x_3,
    BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Each element of x to its place in out, of which several may be the same."""
    i_0, i_1, i_2, i_3, inside = split(numel, size_1, size_2, size_3, BLOCK, WIDE)
    x = tl.load(x_ptr + i_0 * x_0 + i_1 * x_1 + i_2 * x_2 + i_3 * x_3, mask=inside, other=0)
    at = out_ptr + i_0 * o_0 + i_1 * o_1 + i_2 * o_2 + i_3 * o_3
    tl.atomic_add(at, x.to(out_ptr.dtype.element_ty), mask=inside, sem="relaxed")


def over(
    kernel: Any,
    shape: Shape,
    arrays: Sequence[Any],
    strides: Sequence[Shape],
    numbers: Sequence[int],
    counted: Shape | None = None,
    start: int = 0,
    **constants: Any,
) -> None:
    """Launch over the elements of `shape`; each array has its strides there, and extra `numbers` go before them.

    counted: strides of no array, with which the kernel counts from `start`; then the kernel is told that as well.
    """
    if prod(shape) == 0:
        return
    sizes, steps = collapse(shape, (*map(tuple, strides), *([counted] if counted is not None else ())))
    if len(sizes) > DIMS:
        for i in range(sizes[0]):
            moved = [a.view(a.shape, a.strides, a.offset + i * own[0]) for a, own in zip(arrays, steps, strict=False)]
            rest = [own[1:] for own in steps]
            last, at = (None, 0) if counted is None else (rest.pop(), start + i * steps[-1][0])
            over(kernel, sizes[1:], moved, rest, numbers, last, at, **constants)
        return
    lead = DIMS - len(sizes)
    walks = [step for own in steps for step in ((0,) * lead + own)]
    numel, padded = prod(sizes), (1,) * lead + sizes
    told = numbers if counted is None else (*numbers, start)
    block = block_for(numel, BLOCK)
    wide = needs_int64(sizes, steps)
    launch(
        kernel, (cdiv(numel, block),), *arrays, numel, *told, *padded[1:], *walks, BLOCK=block, WIDE=wide, **constants
    )  # fmt: skip


def _along(x: Any, dim: int) -> tuple[int, int, Shape]:
    """(size and stride of a dimension, strides with 0 in its place)."""
    if not x.shape:
        return 1, 0, ()
    return x.shape[dim], x.strides[dim], (*x.strides[:dim], 0, *x.strides[dim + 1 :])


def gather(out: Any, x: Any, index: Any, *, dim: int) -> None:
    """out = the elements of x with the numbers `index` along `dim`; both have the shape of index."""
    size, step, strides = _along(x, dim)
    over(_gather, index.shape, (out, x, index), (out.strides, strides, index.strides), (size, step))


def scatter(out: Any, x: Any, index: Any, src: Any, *, dim: int) -> None:
    """out = x with the elements of src, which is no smaller than index or 0-d, at the numbers `index` along `dim`."""
    copy(out, x)
    _into(out, index, src, dim, False)


def scatter_add(out: Any, x: Any, index: Any, src: Any, *, dim: int) -> None:
    """out = x with the elements of src added at the numbers `index`. Narrow dtypes add up in a wide copy of x."""
    wide = _WIDE.get(out.dtype.name)
    total = out if wide is None else out.new(out.shape, wide)
    copy(total, x)
    _into(total, index, src, dim, True)
    if total is not out:
        copy(out, total)


def _into(out: Any, index: Any, src: Any, dim: int, add: bool) -> None:
    size, step, strides = _along(out, dim)
    given = src.strides if src.shape else (0,) * len(index.shape)
    over(_scatter, index.shape, (out, src, index), (strides, given, index.strides), (size, step), ADD=add)


def restride(out: Any, x: Any, *, of: tuple, to: tuple) -> None:
    """out = what a storage shows with the geometry `to` after x has been added into it with the geometry `of`.

    A geometry is (sizes, strides, offset), offsets from any one place.
    """
    low = min(of[2], to[2])
    high = max(shift + max(reach(sizes, strides), 0) for sizes, strides, shift in (of, to))
    wide = _WIDE.get(x.dtype.name)
    memory = x.new((high - low + 1,), wide or x.dtype)
    fill(memory, value=0)
    room = memory.view((prod(memory.shape),), (1,), memory.offset + of[2] - low)
    over(_add_strided, x.shape, (room, x), (of[1], x.strides), ())
    copy(out, memory.view(to[0], to[1], memory.offset + to[2] - low))
