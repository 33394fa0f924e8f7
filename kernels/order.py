"""Sorting, the largest few, medians and modes along a dimension, stably: of equals the first comes first, NaN is the
largest.

Each element counts how many come before it, and goes there: n * n comparisons for a row of n, all of them independent,
and no passes over memory but the first. That is right for rows of thousands; rows of more than `LONGEST` are sorted by
digits (`radix.py`), and what is wanted is read off the order.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels import interpreting, radix
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import block_for, cdiv, launch, next_power_of_2
from naiad.kernels.reduce import _comparer
from naiad.kernels.rows import widened

LONGEST = 1 << 13
RANGE, MEDIAN, NANMEDIAN = 0, 1, 2  # which places are wanted
BLOCK = 1024


@triton.jit
def _order(
    values_ptr, indices_ptr, x_ptr, inner, n, first, last,
    DESCENDING: tl.constexpr, WANTED: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, OTHERS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """The elements of one row whose places in order are in [first, last), BLOCK elements looking for theirs."""
    tiles = tl.cdiv(n, BLOCK)
    row = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles) * BLOCK + tl.arange(0, BLOCK)
    inner = widened(inner, WIDE)
    x_row = x_ptr + (row // inner) * (n * inner) + row % inner
    mine = tl.load(x_row + i * inner, mask=i < n, other=0).to(ACC)[:, None]
    hole = mine != mine
    place = tl.zeros([BLOCK], tl.int32)
    whole = tl.zeros([OTHERS], tl.int32)
    for start in range(0, n, OTHERS):
        j = start + tl.arange(0, OTHERS)
        other = tl.load(x_row + j * inner, mask=j < n, other=0).to(ACC)[None, :]
        other_hole = other != other
        equal = (other == mine) | (other_hole & hole)
        if DESCENDING:
            before = (other > mine) | (other_hole & (mine == mine))
        else:
            before = (other < mine) | (hole & (other == other))
        before = before | (equal & (j[None, :] < i[:, None]))
        place += tl.sum((before & (j < n)[None, :]).to(tl.int32), 1)
        whole += ((other == other) & (j < n)[None, :]).to(tl.int32).reshape([OTHERS])
    if WANTED == 1:  # NaN where there is one: of those the first
        seen = tl.sum(whole, 0)
        first = tl.where(seen < n, seen, (n - 1) // 2)
        last = first + 1
    if WANTED == 2:
        seen = tl.sum(whole, 0)
        first = tl.where(seen > 0, (seen - 1) // 2, 0)
        last = first + 1
    wanted = (i < n) & (place >= first) & (place < last)
    at = (row // inner) * ((last - first) * inner) + (place - first) * inner + row % inner
    tl.store(values_ptr + at, mine.reshape([BLOCK]).to(values_ptr.dtype.element_ty), mask=wanted)
    tl.store(indices_ptr + at, i.to(tl.int64), mask=wanted)


@triton.jit
def _ranked(values_ptr, indices_ptr, x_ptr, order_ptr, numel, n, inner, first, count, BLOCK: tl.constexpr):
    """The elements of all rows whose places in order are in [first, first + count)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < numel
    outer, b = i // inner // count, i % inner
    j = tl.load(order_ptr + (outer * inner + b) * n + first + i // inner % count, mask=inside, other=0).to(tl.int64)
    tl.store(values_ptr + i, tl.load(x_ptr + (outer * n + j) * inner + b, mask=inside, other=0), mask=inside)
    tl.store(indices_ptr + i, j, mask=inside)


@triton.jit
def _middle(values_ptr, indices_ptr, x_ptr, order_ptr, n, inner, NAN: tl.constexpr, BLOCK: tl.constexpr):
    """The median of one row: of those that are no NaN, or (NAN) the first NaN where there is one."""
    row = tl.program_id(0).to(tl.int64)
    x_row = x_ptr + row // inner * n * inner + row % inner
    seen = 0
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        x = tl.load(x_row + j.to(tl.int64) * inner, mask=j < n, other=0)
        seen += tl.sum(((x == x) & (j < n)).to(tl.int32), 0)
    if NAN:
        place = tl.where(seen < n, seen, (n - 1) // 2)
    else:
        place = tl.where(seen > 0, (seen - 1) // 2, 0)
    j = tl.load(order_ptr + row * n + place).to(tl.int64)
    tl.store(values_ptr + row, tl.load(x_row + j * inner))
    tl.store(indices_ptr + row, j)


@triton.jit
def _later(a, b):
    return tl.maximum(a, b)


@triton.jit
def _mode(values_ptr, indices_ptr, x_ptr, sorted_ptr, order_ptr, n, inner, BLOCK: tl.constexpr):
    """The last of the first among the longest runs of equals in one sorted row."""
    row = tl.program_id(0).to(tl.int64)
    begin, best, place = 0, 0, 0  # of the run that reaches into this block, its length so far, where it ends
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        own = tl.load(sorted_ptr + row * n + j, mask=j < n, other=0)
        before = tl.load(sorted_ptr + row * n + j - 1, mask=(j > 0) & (j < n), other=0)
        begins = tl.where((j == 0) | (own != before), j, begin)
        begins = tl.associative_scan(begins, 0, _later)
        length = tl.where(j < n, j - begins + 1, 0)
        top = tl.max(length, 0)
        at = tl.min(tl.where(length == top, j, n), 0)
        place = tl.where(top > best, at, place)
        best = tl.maximum(top, best)
        begin = tl.max(begins, 0)
    j = tl.load(order_ptr + row * n + place).to(tl.int64)
    tl.store(values_ptr + row, tl.load(x_ptr + row // inner * n * inner + row % inner + j * inner))
    tl.store(indices_ptr + row, j)


def sort(outs: tuple, x: Any, *, dim: int, descending: bool) -> None:
    """outs = x in order along `dim`, and where each element was."""
    _run(*outs, x, dim, descending, 0, x.shape[dim] if x.shape else 1)


def topk(outs: tuple, x: Any, *, k: int, dim: int, largest: bool, sorted: bool) -> None:
    """outs = the k largest or smallest along `dim`, in order, and where they were."""
    _run(*outs, x, dim, largest, 0, k)


def kthvalue(outs: tuple, x: Any, *, k: int, dim: int, keepdim: bool) -> None:
    """outs = the k-th smallest along `dim`, counted from 1, and where it was."""
    _run(*outs, x, dim, False, k - 1, k)


def median(outs: tuple, x: Any, *, dim: int, keepdim: bool) -> None:
    """outs = the lower of the middle elements along `dim`, or the first NaN, and where it was."""
    _run(*outs, x, dim, False, 0, 1, MEDIAN)


def nanmedian(outs: tuple, x: Any, *, dim: int, keepdim: bool) -> None:
    """outs = the lower of the middle elements along `dim` of what is not NaN, and where it was."""
    _run(*outs, x, dim, False, 0, 1, NANMEDIAN)


def mode(outs: tuple, x: Any, *, dim: int, keepdim: bool) -> None:
    """outs = the most frequent along `dim`, of several the smallest, and the last place where it is."""
    values, indices = outs
    if _few(values, indices, x):
        return
    n, inner = x.shape[dim], prod(x.shape[dim + 1 :])
    x, rows = contiguous(x), prod(x.shape) // n
    order = positions(x, rows, n, inner)
    ranked, place = x.new((rows, n, 1), x.dtype), x.new((rows, n, 1), np.dtype(np.int64))
    block = block_for(rows * n, BLOCK)
    # Of one row after the other, whichever way they lie in x: `_ranked` with all places, and rows as their own planes.
    turned = contiguous(x.view((rows // inner, inner, n), (n * inner, 1, inner)))
    launch(_ranked, (cdiv(rows * n, block),), ranked, place, turned, order, rows * n, n, 1, 0, n, BLOCK=block)
    block = min(next_power_of_2(n), 1024)
    launch(_mode, (rows,), values, indices, x, ranked, order, n, inner, BLOCK=block)


def positions(x: Any, rows: int, n: int, inner: int, bits: int | None = None) -> Any:
    """int32 (rows, n): where the elements of each row of x, which is contiguous, come from in order.

    Element j of row r is x[r // inner, j, r % inner]; `bits` as for `radix.order`.
    """
    if n > LONGEST:
        return radix.order(x, rows, n, inner, False, bits)
    values, places = x.new(x.shape, x.dtype), x.new(x.shape, np.dtype(np.int64))
    _quadratic(values, places, x, rows, n, inner, False, 0, n, RANGE)
    order = x.new((rows, n), np.dtype(np.int32))
    copy(
        order.view((rows // inner, inner, n), (inner * n, n, 1)),
        places.view((rows // inner, inner, n), (n * inner, 1, inner)),
    )
    return order


def _few(values: Any, indices: Any, x: Any) -> bool:
    """Deal with a single element and with nothing at all; whether that was it."""
    if x.shape and prod(values.shape):
        return False
    if prod(values.shape):
        copy(values.view((), ()), x)
        fill(indices, value=0)
    return True


def _run(values: Any, indices: Any, x: Any, dim: int, descending: bool, first: int, last: int, wanted: int = 0) -> None:
    if _few(values, indices, x):
        return
    n, inner = x.shape[dim], prod(x.shape[dim + 1 :])
    x, rows = contiguous(x), prod(x.shape) // n
    if n <= LONGEST:
        _quadratic(values, indices, x, rows, n, inner, descending, first, last, wanted)
        return
    order = radix.order(x, rows, n, inner, descending)
    if wanted != RANGE:
        launch(_middle, (rows,), values, indices, x, order, n, inner, NAN=wanted == MEDIAN, BLOCK=1024)
        return
    numel = rows * (last - first)
    block = block_for(numel, BLOCK)
    numbers = (numel, n, inner, first, last - first)
    launch(_ranked, (cdiv(numel, block),), values, indices, x, order, *numbers, BLOCK=block)


def _quadratic(
    values: Any,
    indices: Any,
    x: Any,
    rows: int,
    n: int,
    inner: int,
    descending: bool,
    first: int,
    last: int,
    wanted: int,
) -> None:
    size = next_power_of_2(n)
    block, others = (min(size, 512), min(size, 512)) if interpreting() else (min(size, 128), min(size, 32))
    launch(
        _order, (cdiv(n, block) * rows,), values, indices, x, inner, n, first, last,
        DESCENDING=descending, WANTED=wanted, ACC=_comparer(x.dtype.name), BLOCK=block, OTHERS=others,
        WIDE=needs_int64(x.shape, [x.strides]),
    )  # fmt: skip
