"""Elements in other places: picking by position and putting back, triangles, padding, windows laid side by side.

Each goes once over its result and reads what it needs of x; no arithmetic but the additions where several elements
meet in one place. Those are by atomics in `unpick` (the order is free) and gathered in one order elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.elementwise import prepare
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.indexing import _WIDE
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.reduce import _accumulator

BLOCK = 1024


@triton.jit
def _flat(BLOCK: tl.constexpr, WIDE: tl.constexpr):
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    return start * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _pick(out_ptr, x_ptr, index_ptr, numel, count, inner, size, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """out[a, j, b] = x[a, index[a, j, b], b] for j < count."""
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat, mask=inside, other=0).to(tl.int64)
    valid = inside & (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "found an invalid index")
    at = (flat // inner // count * size + i) * inner + flat % inner
    tl.store(out_ptr + flat, tl.load(x_ptr + at, mask=valid, other=0), mask=inside)


@triton.jit
def _unpick(
    out_ptr, g_ptr, index_ptr, numel, count, inner, size, ADD: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    """out[a, index[a, j, b], b] += g[a, j, b], or = if not ADD."""
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat, mask=inside, other=0).to(tl.int64)
    valid = inside & (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "found an invalid index")
    at = (flat // inner // count * size + i) * inner + flat % inner
    g = tl.load(g_ptr + flat, mask=inside, other=0).to(out_ptr.dtype.element_ty)
    if ADD:
        tl.atomic_add(out_ptr + at, g, mask=valid, sem="relaxed")
    else:
        tl.store(out_ptr + at, g, mask=valid)


@triton.jit
def _triangle(
    out_ptr, x_ptr, numel, rows, columns, diagonal, LOWER: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    above = flat % columns - (flat // columns) % rows
    kept = above <= diagonal if LOWER else above >= diagonal
    tl.store(out_ptr + flat, tl.load(x_ptr + flat, mask=inside & kept, other=0), mask=inside)


@triton.jit
def _edge(i, low, high, MODE: tl.constexpr):
    """Which position of [low, high) a position around it shows."""
    if MODE == "replicate":
        return tl.minimum(tl.maximum(i, low), high - 1)
    elif MODE == "reflect":
        i = tl.where(i < low, 2 * low - i, i)
        return tl.where(i >= high, 2 * (high - 1) - i, i)
    else:
        i = tl.where(i < low, i + (high - low), i)
        return tl.where(i >= high, i - (high - low), i)


@triton.jit
def _edge_pad(
    out_ptr, x_ptr, numel, count, inner, size, before, low, high,
    MODE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One dimension of x, of `size` positions, with a border: `count` positions."""
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = _edge((flat // inner) % count - before, low, high, MODE)
    at = (flat // inner // count * size + i) * inner + flat % inner
    tl.store(out_ptr + flat, tl.load(x_ptr + at, mask=inside, other=0), mask=inside)


@triton.jit
def _edge_pad_grad(
    out_ptr, g_ptr, numel, count, inner, size, before, low, high, around,
    MODE: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """For each position of x the sum of the positions of g, `count` of them, that show it."""
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = (flat // inner) % size
    g_row = g_ptr + flat // inner // size * count * inner + flat % inner
    there = inside & (i >= low) & (i < high)
    total = tl.load(g_row + (i + before) * inner, mask=there & (i + before < count), other=0).to(ACC)
    for step in range(1, around + 1):  # positions of the border, going out on both sides
        left = tl.zeros_like(i) + (low - step)
        shown = there & (left + before >= 0) & (_edge(left, low, high, MODE) == i)
        total += tl.load(g_row + (left + before) * inner, mask=shown, other=0).to(ACC)
        right = tl.zeros_like(i) + (high - 1 + step)
        shown = there & (right + before < count) & (_edge(right, low, high, MODE) == i)
        total += tl.load(g_row + (right + before) * inner, mask=shown, other=0).to(ACC)
    tl.store(out_ptr + flat, total.to(out_ptr.dtype.element_ty), mask=inside)


def pick(out: Any, x: Any, index: Any, *, dim: int) -> None:
    """out = the elements of x along `dim` at index, which has out's shape."""
    if not x.shape:
        copy(out, x)
        return
    _over(_pick, out, contiguous(x), contiguous(index), index.shape, dim, x.shape[dim])


def unpick(out: Any, g: Any, index: Any, *, dim: int, size: int) -> None:
    """out = zeros with `size` positions along `dim`, to which g is added at index."""
    if not g.shape:
        copy(out, g)
        return
    _put(out, g, index, dim, size, True)


def plane_take(out: Any, x: Any, index: Any, *, rank: int) -> None:
    """out = the elements at positions of the flattened last `rank` dimensions of x."""
    x, index = _planes(contiguous(x), rank), _planes(contiguous(index), rank)
    _over(_pick, out, x, index, index.shape, 1, x.shape[1])


def plane_put(out: Any, x: Any, index: Any, *, size: Shape, add: bool) -> None:
    """out (..., *size) = zeros with elements written, or added, at positions of the flattened last dimensions."""
    rank = len(size)
    _put(_planes(out, rank), _planes(contiguous(x), rank), _planes(contiguous(index), rank), 1, prod(size), add)


def masked_fill(out: Any, x: Any, mask: Any, *, value: Any) -> None:
    """out = x with `value` where mask is true; both are broadcast."""
    _masked_fill(x.dtype.name)(out, mask.broadcast(out.shape), value, x.broadcast(out.shape))


@cache
def _masked_fill(dtype: str) -> Any:
    mask, value, x, out = map(_Symbol, ("mask", "value", "x", "chosen"))
    names, dtypes = ("mask", "value", "x"), ("bool", ("scalar", dtype), dtype)
    return prepare("masked_fill", names, ((out, "where", (mask, value, x)),), out, dtypes, dtype)


@dataclass(frozen=True)
class _Symbol:
    name: str


def tril(out: Any, x: Any, *, diagonal: int) -> None:
    """out = x on and below a diagonal, 0 elsewhere."""
    _cut(out, x, diagonal, True)


def triu(out: Any, x: Any, *, diagonal: int) -> None:
    """out = x on and above a diagonal, 0 elsewhere."""
    _cut(out, x, diagonal, False)


def constant_pad(out: Any, x: Any, *, pairs: tuple[tuple[int, int], ...], value: Any) -> None:
    """out = x with a border of a constant; negative widths cut."""
    fill(out, value=value or 0)
    to, of = out.offset, x.offset
    sizes = []
    for d, (before, after) in enumerate(pairs):
        to += max(before, 0) * out.strides[d]
        of += max(-before, 0) * x.strides[d]
        sizes.append(max(x.shape[d] + min(before, 0) + min(after, 0), 0))
    if prod(sizes):
        copy(out.view(tuple(sizes), out.strides, to), x.view(tuple(sizes), x.strides, of))


def edge_pad(out: Any, x: Any, *, pairs: tuple[tuple[int, int], ...], mode: str) -> None:
    """out = x with a border that shows x itself: "reflect", "replicate" or "circular"."""
    padded = [d for d, pair in enumerate(pairs) if pair != (0, 0)]
    if not padded:
        copy(out, x)
    x = contiguous(x)
    for d in padded:
        (before, after), n = pairs[d], x.shape[d]
        shape = (*x.shape[:d], n + before + after, *x.shape[d + 1 :])
        target = out if d == padded[-1] else out.new(shape, out.dtype)
        _launch(
            _edge_pad, shape, target, x, shape[d], prod(shape[d + 1 :]), n, before, max(-before, 0), n + min(after, 0),
            MODE=mode,
        )  # fmt: skip
        x = target


def edge_pad_grad(out: Any, g: Any, *, shape: Shape, pairs: tuple[tuple[int, int], ...], mode: str) -> None:
    """out (shape) = the sum over where each element is shown: the transpose of `edge_pad`."""
    padded = [d for d, pair in enumerate(pairs) if pair != (0, 0)]
    if not padded:
        copy(out, g)
    g = contiguous(g)
    for d in padded:
        (before, after), n = pairs[d], shape[d]
        sizes = (*g.shape[:d], n, *g.shape[d + 1 :])
        target = out if d == padded[-1] else out.new(sizes, out.dtype)
        _launch(
            _edge_pad_grad, sizes, target, g, g.shape[d], prod(sizes[d + 1 :]), n, before, max(-before, 0),
            n + min(after, 0), max(before, after, 0), MODE=mode, ACC=_accumulator(out.dtype.name),
        )  # fmt: skip
        g = target


def _cut(out: Any, x: Any, diagonal: int, lower: bool) -> None:
    _launch(_triangle, out.shape, out, contiguous(x), *out.shape[-2:], diagonal, LOWER=lower)


def _put(out: Any, g: Any, index: Any, dim: int, size: int, add: bool) -> None:
    wide: np.dtype | None = _WIDE.get(out.dtype.name) if add else None
    total = out if wide is None else out.new(out.shape, wide)
    fill(total, value=0)
    _over(_unpick, total, contiguous(g), contiguous(index), index.shape, dim, size, ADD=add)
    if total is not out:
        copy(out, total)


def _over(kernel: Any, out: Any, x: Any, index: Any, shape: Shape, dim: int, size: int, **constants: Any) -> None:
    _launch(kernel, shape, out, x, index, shape[dim], prod(shape[dim + 1 :]), size, **constants)


def _launch(kernel: Any, shape: Shape, out: Any, x: Any, *rest: Any, **constants: Any) -> None:
    """One program per block of `shape`; arrays of `rest` come before the number of elements, numbers after it."""
    numel = prod(shape)
    if numel == 0:
        return
    arrays = [a for a in rest if hasattr(a, "buffer")]
    block = block_for(numel, BLOCK)
    wide = any(needs_int64((prod(a.shape),), [(1,)]) for a in (out, x, *arrays))
    launch(
        kernel, (cdiv(numel, block),), out, x, *arrays, numel, *rest[len(arrays) :], BLOCK=block, WIDE=wide, **constants
    )


def _planes(x: Any, rank: int) -> Any:
    """A contiguous array as (planes, elements of one)."""
    lead, size = prod(x.shape[: len(x.shape) - rank]), prod(x.shape[len(x.shape) - rank :])
    return x.view((lead, size), (size, 1))
