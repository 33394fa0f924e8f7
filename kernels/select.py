"""Where elements are not 0: counted first, because the host has to know how many places there will be.

`count` reads x once and writes one number per block of it; the host reads the last; `places` reads x once more and
writes the number of each element that is not 0, in order. A place in several dimensions is worked out of its number.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.scan import cumsum

BLOCK = 2048
INT64 = np.dtype(np.int64)


@triton.jit
def _flat(BLOCK: tl.constexpr, WIDE: tl.constexpr):
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    return start * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _count(counts_ptr, x_ptr, numel, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    i = _flat(BLOCK, WIDE)
    chosen = tl.load(x_ptr + i, mask=i < numel, other=0) != 0
    tl.store(counts_ptr + tl.program_id(0), tl.sum(chosen.to(tl.int32), 0).to(tl.int64))


@triton.jit
def _places(out_ptr, x_ptr, ends_ptr, numel, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The numbers of this block's elements, which end where ends[program] says."""
    i = _flat(BLOCK, WIDE)
    chosen = tl.load(x_ptr + i, mask=i < numel, other=0) != 0
    rank = tl.cumsum(chosen.to(tl.int32), 0) - 1
    start = tl.load(ends_ptr + tl.program_id(0)) - tl.sum(chosen.to(tl.int32), 0)
    tl.store(out_ptr + start + rank, i.to(tl.int64), mask=chosen)


@triton.jit
def _coordinate(out_ptr, places_ptr, numel, ndim, step, size, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """One column of a table of places."""
    i = _flat(BLOCK, WIDE)
    place = tl.load(places_ptr + i, mask=i < numel, other=0)
    tl.store(out_ptr + i * ndim, place // step % size, mask=i < numel)


def count(x: Any) -> Any:
    """How many elements up to the end of each block of x are not 0: an int64 vector, empty for an empty x."""
    numel = prod(x.shape)
    block = block_for(numel, BLOCK)
    counts = x.new((cdiv(numel, block),), INT64)
    if numel:
        launch(
            _count, counts.shape, counts, contiguous(x), numel, BLOCK=block, WIDE=needs_int64((numel,), [(1,)])
        )  # fmt: skip
        ends = x.new(counts.shape, INT64)
        cumsum(ends, counts, dim=0)
        return ends
    return counts


def nonzero(out: Any, x: Any, ends: Any) -> None:
    """out (n, ndim) = the places of the n elements of x that are not 0; `ends` is what `count` told."""
    n, ndim = out.shape
    if n == 0 or ndim == 0:
        return
    numel = prod(x.shape)
    block = block_for(numel, BLOCK)
    numbers = out if ndim == 1 else out.new((n,), INT64)
    wide = needs_int64((numel,), [(1,)])
    launch(_places, ends.shape, numbers, contiguous(x), ends, numel, BLOCK=block, WIDE=wide)
    if ndim == 1:
        return
    block = block_for(n, 1024)
    wide = needs_int64((n * ndim,), [(1,)])
    for d in range(ndim):
        column = out.view((n,), (ndim,), out.offset + d)
        step = prod(x.shape[d + 1 :])
        launch(_coordinate, (cdiv(n, block),), column, numbers, n, ndim, step, x.shape[d], BLOCK=block, WIDE=wide)
