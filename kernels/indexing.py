"""Gathering and scattering slices along one dimension.

index_select: out[a, i, b] = x[a, index[i], b]; reads the chosen slices and the index, writes out, no arithmetic.
take is the same for an index of any shape whose numbers may count from the end, put_rows what adds up its gradient.
index_add: out = x, then out[a, index[i], b] += source[a, i, b]; reads x and source once, writes out once and updates it
by atomics, so an index may occur more than once (in floats then, the order of additions, hence the last bit, is free).
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import block_for, cdiv, launch

BLOCK = 1024


@triton.jit
def _index_select(
    out_ptr, x_ptr, index_ptr, numel, count, inner, size, index_stride, WRAP: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    flat = (
        tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        if WIDE
        else tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    )
    inside = flat < numel
    row = flat // inner
    i = tl.load(index_ptr + (row % count) * index_stride, mask=inside, other=0)
    if WRAP:
        i = tl.where(i < 0, i + size, i)
    valid = (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "index out of range in index_select")
    source = ((row // count) * size + i) * inner + flat % inner
    tl.store(out_ptr + flat, tl.load(x_ptr + source, mask=inside & valid, other=0), mask=inside)


@triton.jit
def _index_add(
    out_ptr, source_ptr, index_ptr, numel, count, inner, size, index_stride, WRAP: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    flat = (
        tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        if WIDE
        else tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    )
    inside = flat < numel
    row = flat // inner
    i = tl.load(index_ptr + (row % count) * index_stride, mask=inside, other=0)
    if WRAP:
        i = tl.where(i < 0, i + size, i)
    valid = (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "index out of range in index_add")
    target = ((row // count) * size + i) * inner + flat % inner
    value = tl.load(source_ptr + flat, mask=inside, other=0).to(out_ptr.dtype.element_ty)
    tl.atomic_add(out_ptr + target, value, mask=inside & valid, sem="relaxed")


def index_select(out: Any, x: Any, index: Any, *, dim: int) -> None:
    """out = the slices of x along `dim` that index (int32 or int64, 0-d or 1-d) names."""
    x, dim = contiguous(x), dim % max(len(x.shape), 1)
    size = x.shape[dim] if x.shape else 1
    _launch(_index_select, out, x, index, prod(out.shape), prod(x.shape[dim + 1 :]), size)


def index_add(out: Any, x: Any, index: Any, source: Any, *, dim: int, wrap: bool = False) -> None:
    """out = x with the slices of source added at index along `dim`. Narrow dtypes add up in a wide copy of x.

    wrap: -1 is the last slice, which is an error otherwise.
    """
    dim = dim % max(len(x.shape), 1)
    wide = _WIDE.get(out.dtype.name)
    total = out if wide is None else out.new(out.shape, wide)
    copy(total, x)
    size = x.shape[dim] if x.shape else 1
    inner = prod(x.shape[dim + 1 :])
    _launch(_index_add, total, contiguous(source), index, prod(source.shape), inner, size, wrap)
    if total is not out:
        copy(out, total)


def take(out: Any, x: Any, index: Any, *, dim: int) -> None:
    """out = the slices of x along `dim` that index names; its dimensions replace `dim`; -1 is the last slice."""
    x, index = contiguous(x), contiguous(index)
    inner = prod(x.shape[dim + 1 :])
    _launch(_index_select, out, x, _flat(index), prod(out.shape), inner, x.shape[dim], wrap=True)


def put_rows(out: Any, source: Any, index: Any, *, dim: int, shape: tuple[int, ...]) -> None:
    """out (shape) = zeros to which the slices of source are added where index says: the transpose of `take`."""
    wide = _WIDE.get(out.dtype.name)
    total = out if wide is None else out.new(out.shape, wide)
    fill(total, value=0)
    source, index = contiguous(source), contiguous(index)
    inner = prod(shape[dim + 1 :])
    _launch(_index_add, total, source, _flat(index), prod(source.shape), inner, shape[dim], wrap=True)
    if total is not out:
        copy(out, total)


def _flat(index: Any) -> Any:
    """A contiguous index as a vector."""
    return index.view((prod(index.shape),), (1,))


# Dtypes without atomic addition, or with too few bits to add up in.
_WIDE = {
    **dict.fromkeys(("float16", "bfloat16"), np.dtype(np.float32)),
    **dict.fromkeys(("bool", "uint8", "int8", "int16"), np.dtype(np.int32)),
}


def _launch(
    kernel: Any, out: Any, array: Any, index: Any, numel: int, inner: int, size: int, wrap: bool = False
) -> None:
    if numel == 0:
        return
    count, stride = (index.shape[0], index.strides[0]) if index.shape else (1, 0)
    block = block_for(numel, BLOCK)
    wide = any(needs_int64((prod(a.shape),), [(1,)]) for a in (out, array))
    wide = wide or needs_int64(index.shape, [index.strides])
    numbers = (numel, count, inner, size, stride)
    launch(kernel, (cdiv(numel, block),), out, array, index, *numbers, WRAP=wrap, BLOCK=block, WIDE=wide)
