"""Looking values up: where they would go in something sorted, and whether they are among others.

searchsorted halves the row for each value, about log2(n) reads; isin compares each element with every other, which is
right where the others are few.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, fill
from naiad.kernels.launch import block_for, cdiv, launch, next_power_of_2
from naiad.kernels.reduce import _comparer

BLOCK = 256


@triton.jit
def _search(
    out_ptr, sorted_ptr, values_ptr, numel, n, per_row, steps, row_stride,
    RIGHT: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The first place whose element is not less than the value (RIGHT: is greater); NaN is the greatest."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = i < numel
    value = tl.load(values_ptr + i, mask=exists, other=0).to(ACC)
    row = sorted_ptr + i // per_row * row_stride
    low = tl.zeros([BLOCK], tl.int64)
    high = tl.zeros([BLOCK], tl.int64) + n
    for _ in range(steps):
        middle = (low + high) // 2
        open_ = exists & (low < high)
        seen = tl.load(row + middle, mask=open_, other=0).to(ACC)
        if RIGHT:
            further = ~((value < seen) | ((seen != seen) & (value == value)))
        else:
            further = (seen < value) | ((value != value) & (seen == seen))
        low = tl.where(open_ & further, middle + 1, low)
        high = tl.where(open_ & ~further, middle, high)
    tl.store(out_ptr + i, low.to(out_ptr.dtype.element_ty), mask=exists)


@triton.jit
def _isin(out_ptr, x_ptr, others_ptr, numel, n, ACC: tl.constexpr, BLOCK: tl.constexpr, OTHERS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < numel, other=0).to(ACC)
    found = tl.zeros([BLOCK], tl.int32)
    for start in range(0, n, OTHERS):
        j = start + tl.arange(0, OTHERS)
        other = tl.load(others_ptr + j, mask=j < n, other=0).to(ACC)
        equal = (x[:, None] == other[None, :]) & (j < n)[None, :]
        found = tl.maximum(found, tl.max(equal.to(tl.int32), 1))
    tl.store(out_ptr + i, found != 0, mask=i < numel)


def searchsorted(out: Any, sequence: Any, values: Any, *, side: str, out_int32: bool) -> None:
    """out = where each value would go in the sorted last dimension of sequence, before ("left") or after its equals."""
    numel, n = prod(values.shape), sequence.shape[-1]
    if numel == 0:
        return
    one = len(sequence.shape) == 1
    block = block_for(numel, BLOCK, 4096)
    launch(
        _search, (cdiv(numel, block),), out, contiguous(sequence), contiguous(values), numel, n,
        1 if one else max(values.shape[-1], 1), n.bit_length(), 0 if one else n,
        RIGHT=side == "right", ACC=_comparer(values.dtype.name), BLOCK=block,
    )  # fmt: skip


def isin(out: Any, x: Any, others: Any) -> None:
    """out = whether each element of x is among the others."""
    numel, n = prod(x.shape), prod(others.shape)
    if numel == 0:
        return
    if n == 0:
        fill(out, value=False)
        return
    block, among = block_for(numel, BLOCK, 1024), min(next_power_of_2(n), 32)
    launch(
        _isin, (cdiv(numel, block),), out, contiguous(x), contiguous(others), numel, n,
        ACC=_common(x.dtype.name, others.dtype.name), BLOCK=block, OTHERS=among,
    )  # fmt: skip


def _common(a: str, b: str) -> Any:
    """What elements of two dtypes are compared in."""
    return _comparer(a) if a == b else tl.float64 if "float" in a + b else tl.int64
