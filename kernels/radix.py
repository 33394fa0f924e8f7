"""Sorting long rows, stably: by digits of four bits, the lowest first (Knuth, The Art of Computer Programming 5.2.5).

Each element becomes an integer that is ordered as the elements are. A pass over a digit counts how often each of its
16 values occurs in each block, sums that up over the row, and moves every key, and where it was, to its place: keys
of 32 bits take 8 passes, each of which reads and writes a key and a position. No atomics, so equals keep their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.rows import widened
from naiad.kernels.scan import cumsum

BLOCK = 1024
DIGITS = tl.constexpr(16)
BITS = {"bool": 1, "uint8": 8, "int8": 8, "int16": 16, "float16": 16, "bfloat16": 16, "int64": 64, "float64": 64}


@triton.jit
def _key(x, KEY: tl.constexpr, DESCENDING: tl.constexpr):
    """An integer, seen without a sign, that is ordered as x is: NaN last, both zeros the same."""
    if x.dtype.is_floating():
        bits = x.to(KEY, bitcast=True)
        lowest: tl.constexpr = -(1 << (KEY.primitive_bitwidth - 1))
        key = tl.where(bits < 0, ~bits, bits ^ lowest)
        key = tl.where(x == 0, tl.zeros_like(bits) + lowest, key)
        key = tl.where(x != x, tl.zeros_like(bits) - 1, key)
    elif x.dtype.is_int_signed():
        least: tl.constexpr = -(1 << (x.dtype.primitive_bitwidth - 1))
        key = (x ^ least).to(KEY)
    else:
        key = x.to(KEY)
    return ~key if DESCENDING else key


@triton.jit
def _keys(
    key_ptr, x_ptr, numel, n, inner, KEY: tl.constexpr, DESCENDING: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Keys, row after row, of the rows of x, whose elements are `inner` apart."""
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    i = start * BLOCK + tl.arange(0, BLOCK)
    row, j = i // n, i % n
    x = tl.load(x_ptr + (row // inner) * (widened(n, WIDE) * inner) + j * inner + row % inner, mask=i < numel, other=0)
    tl.store(key_ptr + i, _key(x, KEY, DESCENDING).to(key_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _digits(key_ptr, n, blocks, shift, BLOCK: tl.constexpr):
    """(first element of the row, places in it, of each whether it has each digit) of this program's block."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    j = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(key_ptr + row * n + j, mask=j < n, other=0)
    digit = (key >> shift).to(tl.int32) & (DIGITS - 1)
    has = (digit[:, None] == tl.arange(0, DIGITS)[None, :]) & (j < n)[:, None]
    return row, j, key, has.to(tl.int32)


@triton.jit
def _count(counts_ptr, key_ptr, n, blocks, shift, BLOCK: tl.constexpr):
    """How often each digit occurs in each block: counts[row, digit, block]."""
    row, _, _, has = _digits(key_ptr, n, blocks, shift, BLOCK)
    at = (row * DIGITS + tl.arange(0, DIGITS)) * blocks + tl.program_id(0) % blocks
    tl.store(counts_ptr + at, tl.sum(has, 0).to(counts_ptr.dtype.element_ty))


@triton.jit
def _move(
    key_out_ptr, from_out_ptr, key_ptr, from_ptr, ends_ptr, n, blocks, shift, FIRST: tl.constexpr, BLOCK: tl.constexpr
):
    """Each element to where its digit puts it: behind those with lower digits and behind its equals before it."""
    row, j, key, has = _digits(key_ptr, n, blocks, shift, BLOCK)
    digit = tl.arange(0, DIGITS)
    block = tl.program_id(0) % blocks
    start = tl.load(ends_ptr + (row * DIGITS + digit) * blocks + block - 1, mask=digit + block > 0, other=0)
    place = tl.sum(has * (tl.cumsum(has, 0) - 1 + start[None, :].to(tl.int32)), 1)
    if FIRST:
        source = j
    else:
        source = tl.load(from_ptr + row * n + j, mask=j < n, other=0)
    tl.store(key_out_ptr + row * n + place, key, mask=j < n)
    tl.store(from_out_ptr + row * n + place, source, mask=j < n)


def order(x: Any, rows: int, n: int, inner: int, descending: bool = False, bits: int | None = None) -> Any:
    """int32 (rows, n): where the elements of each row of x, which is contiguous, come from in order.

    Element j of row r is x[r // inner, j, r % inner]. bits: how many low bits of integers that are no less than 0 tell
    them apart, where that is known.
    """
    if n >= 1 << 31:
        raise RuntimeError(f"sort: a row of {n} elements is too long, it may have up to {(1 << 31) - 1}")
    name = x.dtype.name
    bits = bits or BITS.get(name, 32)
    wide = BITS.get(name, 32) == 64
    keys = [x.new((rows, n), np.dtype(np.int64 if wide else np.int32)) for _ in range(2)]
    places = [x.new((rows, n), np.dtype(np.int32)) for _ in range(2)]
    block = block_for(rows * n, BLOCK)
    size = {"float16": "int16", "bfloat16": "int16", "float64": "int64", "int64": "int64"}.get(name, "int32")
    launch(
        _keys, (cdiv(rows * n, block),), keys[0], x, rows * n, n, inner, KEY=getattr(tl, size), DESCENDING=descending,
        BLOCK=block, WIDE=needs_int64((rows * n,), [(1,)]),
    )  # fmt: skip
    block = block_for(n, BLOCK, 8192)
    blocks = cdiv(n, block)
    counts, ends = (x.new((rows, 16 * blocks), np.dtype(np.int32)) for _ in range(2))
    for shift in range(0, bits, 4):
        at = {"BLOCK": block, "num_warps": 16}
        launch(_count, (rows * blocks,), counts, keys[0], n, blocks, shift, **at)
        cumsum(ends, counts, dim=1)
        moved = (keys[1], places[1], keys[0], places[0], ends)
        launch(_move, (rows * blocks,), *moved, n, blocks, shift, FIRST=shift == 0, **at)
        keys.reverse()
        places.reverse()
    return places[0]
