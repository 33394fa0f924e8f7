"""Writing slices by number along one dimension, the last writer winning where an index occurs more than once.

index_put: out = x, then out[a, index[i], b] = values[a, i, b]; reads x and values once, writes out once and the chosen
slices again; no arithmetic. On a GPU it is not defined which of several writes to one place is the last.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, copy
from naiad.kernels.geometry import needs_int64
from naiad.kernels.indexing import index_add
from naiad.kernels.launch import block_for, cdiv, launch

BLOCK = 1024


@triton.jit
def _index_put(
    out_ptr, values_ptr, index_ptr, numel, count, inner, size, index_stride, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    flat = (
        tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        if WIDE
        else tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    )
    inside = flat < numel
    row = flat // inner
    i = tl.load(index_ptr + (row % count) * index_stride, mask=inside, other=0)
    i = tl.where(i < 0, i + size, i)
    valid = (i >= 0) & (i < size)
    tl.device_assert(valid | ~inside, "index out of range in index_put")
    target = ((row // count) * size + i) * inner + flat % inner
    tl.store(out_ptr + target, tl.load(values_ptr + flat, mask=inside, other=0), mask=inside & valid)


def index_put(out: Any, x: Any, index: Any, values: Any, *, dims: tuple[int, ...], accumulate: bool) -> None:
    """out = x with `values`, which are broadcast, written at the numbers `index`, a vector, along one dimension.

    -1 is the last slice.

    `accumulate` adds, and is done by `indexing.index_add`.
    """
    (dim,) = dims
    inner = prod(x.shape[dim + 1 :])
    wide = values.broadcast((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]))
    if accumulate:
        return index_add(out, x, index, contiguous(wide), dim=dim, wrap=True)
    copy(out, x)
    numel = prod(wide.shape)
    if numel:
        block = block_for(numel, BLOCK)
        far = any(needs_int64((prod(a.shape),), [(1,)]) for a in (out, wide))
        far = far or needs_int64(index.shape, [index.strides])
        count, step, size = index.shape[0], index.strides[0], x.shape[dim]
        operands = out, contiguous(wide), index
        launch(_index_put, (cdiv(numel, block),), *operands, numel, count, inner, size, step, BLOCK=block, WIDE=far)
    return None
