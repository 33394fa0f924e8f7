"""Sorting, the largest few, and medians along a dimension, stably: of equals the first comes first, NaN is the largest.

Each element counts how many come before it, and goes there: n * n comparisons for a row of n, all of them independent,
and no passes over memory but the first. That is right for rows of thousands; `LONGEST` is where it stops.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import interpreting
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.launch import cdiv, launch, next_power_of_2
from naiad.kernels.reduce import _comparer

LONGEST = 1 << 16
RANGE, MEDIAN, NANMEDIAN = 0, 1, 2  # which places are wanted


@triton.jit
def _order(
    values_ptr, indices_ptr, x_ptr, inner, n, first, last,
    DESCENDING: tl.constexpr, WANTED: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, OTHERS: tl.constexpr,
):  # fmt: skip
    """The elements of one row whose places in order are in [first, last), BLOCK elements looking for theirs."""
    tiles = tl.cdiv(n, BLOCK)
    row = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles) * BLOCK + tl.arange(0, BLOCK)
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


def _run(values: Any, indices: Any, x: Any, dim: int, descending: bool, first: int, last: int, wanted: int = 0) -> None:
    if not x.shape:
        if prod(values.shape):
            copy(values.view((), ()), x)
            fill(indices, value=0)
        return
    n, inner = x.shape[dim], prod(x.shape[dim + 1 :])
    if prod(values.shape) == 0:
        return
    if n > LONGEST:
        raise NotImplementedError(
            f"sort, topk, median: rows of {n} elements are too long for the kernel on cuda, which takes up to "
            f"{LONGEST}: use .cpu()"
        )
    rows = prod(x.shape) // n
    size = next_power_of_2(n)
    block, others = (min(size, 512), min(size, 512)) if interpreting() else (min(size, 128), min(size, 32))
    launch(
        _order, (cdiv(n, block) * rows,), values, indices, contiguous(x), inner, n, first, last,
        DESCENDING=descending, WANTED=wanted, ACC=_comparer(x.dtype.name), BLOCK=block, OTHERS=others,
    )  # fmt: skip
