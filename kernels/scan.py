"""Running sums, products, extremes and log-sum-exps along a dimension.

Reads x once and writes out once; a program takes whole rows, tile by tile, and carries what the last tile ended with.
Halves are carried in float32.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import interpreting
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import cdiv, launch
from naiad.kernels.reduce import _accumulator, _comparer, _extreme
from naiad.kernels.rows import own_rows, row_tile, widened


@triton.jit
def _log_add(a, b):
    """log(exp(a) + exp(b))."""
    top = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    shift = tl.where(tl.abs(top) == float("inf"), tl.zeros_like(top), top)
    return libdevice.log(libdevice.exp(a - shift) + libdevice.exp(b - shift)) + shift


@triton.jit
def _later_larger(a, i, b, j):
    """The larger of two and its place; of equals the later. A NaN stays."""
    take = (b >= a) | (b != b)
    take = take & ((a == a) | (b != b))
    return tl.where(take, b, a), tl.where(take, j, i)


@triton.jit
def _later_smaller(a, i, b, j):
    take = (b <= a) | (b != b)
    take = take & ((a == a) | (b != b))
    return tl.where(take, b, a), tl.where(take, j, i)


@triton.jit
def _at_end(x, column, BLOCK: tl.constexpr):
    """The last column of a tile."""
    return tl.sum(tl.where((column == BLOCK - 1)[None, :], x, tl.zeros([1, 1], x.dtype)), 1).to(x.dtype)


@triton.jit
def _offsets(rows, inner, n, start, REVERSE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    row = own_rows(ROWS, WIDE)
    column = start + widened(tl.arange(0, BLOCK), WIDE)
    place = n - 1 - column if REVERSE else column
    mask = (row < rows)[:, None] & (column < n)[None, :]
    return ((row // inner) * (widened(n, WIDE) * inner) + row % inner)[:, None] + (place * inner)[None, :], mask, column


@triton.jit
def _scan(
    out_ptr, x_ptr, rows, inner, n, OP: tl.constexpr, IDENTITY: tl.constexpr, REVERSE: tl.constexpr, ACC: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    carry = tl.full([ROWS], IDENTITY, ACC)
    for start in range(0, n, BLOCK):
        offset, mask, _ = _offsets(rows, inner, n, start, REVERSE, ROWS, BLOCK, WIDE)
        x = tl.load(x_ptr + offset, mask=mask, other=0).to(ACC)
        x = tl.where(mask, x, tl.full([1, 1], IDENTITY, ACC))
        if OP == "sum":
            y = carry[:, None] + tl.cumsum(x, 1)
        elif OP == "prod":
            y = carry[:, None] * tl.cumprod(x, 1)
        else:
            y = _log_add(carry[:, None] + tl.zeros([1, BLOCK], ACC), tl.associative_scan(x, 1, _log_add))
        carry = _at_end(y, tl.arange(0, BLOCK), BLOCK)
        tl.store(out_ptr + offset, y.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _scan_extreme(
    values_ptr, indices_ptr, x_ptr, rows, inner, n, MAX: tl.constexpr, WORST: tl.constexpr, ACC: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    best = tl.full([ROWS], WORST, ACC)
    place = tl.zeros([ROWS], tl.int64)
    for start in range(0, n, BLOCK):
        offset, mask, column = _offsets(rows, inner, n, start, False, ROWS, BLOCK, WIDE)
        x = tl.load(x_ptr + offset, mask=mask, other=0).to(ACC)
        x = tl.where(mask, x, tl.full([1, 1], WORST, ACC))
        index = column[None, :].to(tl.int64) + tl.zeros([ROWS, 1], tl.int64)
        before = best[:, None] + tl.zeros([1, BLOCK], ACC)
        before_place = place[:, None] + tl.zeros([1, BLOCK], tl.int64)
        if MAX:
            values, indices = tl.associative_scan((x, index), 1, _later_larger)
            values, indices = _later_larger(before, before_place, values, indices)
        else:
            values, indices = tl.associative_scan((x, index), 1, _later_smaller)
            values, indices = _later_smaller(before, before_place, values, indices)
        best = _at_end(values, tl.arange(0, BLOCK), BLOCK)
        place = _at_end(indices, tl.arange(0, BLOCK), BLOCK)
        tl.store(values_ptr + offset, values.to(values_ptr.dtype.element_ty), mask=mask)
        tl.store(indices_ptr + offset, indices, mask=mask)


@triton.jit
def _sum_of_powers(a_log, a, b_log, b):
    """a exp(a_log) + b exp(b_log) as such a pair."""
    top = tl.maximum(a_log, b_log, propagate_nan=tl.PropagateNan.ALL)
    shift = tl.where(top == float("-inf"), tl.zeros_like(top), top)
    return top, a * libdevice.exp(a_log - shift) + b * libdevice.exp(b_log - shift)


@triton.jit
def _weigh(
    out_ptr, terms_ptr, x_ptr, y_ptr, rows, inner, n, REVERSE: tl.constexpr, ACC: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """At i the sum over k <= i of terms[k] exp(x[k] - y[i]); REVERSE: over k >= i of terms[k] exp(x[i] - y[k])."""
    carry = tl.zeros([ROWS], ACC)
    carry_log = tl.full([ROWS], float("-inf"), ACC)
    for start in range(0, n, BLOCK):
        offset, mask, _ = _offsets(rows, inner, n, start, REVERSE, ROWS, BLOCK, WIDE)
        terms = tl.load(terms_ptr + offset, mask=mask, other=0).to(ACC)
        x = tl.load(x_ptr + offset, mask=mask, other=0).to(ACC)
        y = tl.load(y_ptr + offset, mask=mask, other=0).to(ACC)
        log, factor = (y * -1.0, x) if REVERSE else (x, y * -1.0)
        log = tl.where(mask & (terms != 0), log, tl.full([1, 1], float("-inf"), ACC))
        log, total = tl.associative_scan((log, terms), 1, _sum_of_powers)
        before = carry[:, None] + tl.zeros([1, BLOCK], ACC)
        before_log = carry_log[:, None] + tl.zeros([1, BLOCK], ACC)
        log, total = _sum_of_powers(before_log, before, log, total)
        carry = _at_end(total, tl.arange(0, BLOCK), BLOCK)
        carry_log = tl.max(tl.where((tl.arange(0, BLOCK) == BLOCK - 1)[None, :], log, float("-inf")), 1)
        tl.store(out_ptr + offset, (total * libdevice.exp(log + factor)).to(out_ptr.dtype.element_ty), mask=mask)


def cumsum(out: Any, x: Any, *, dim: int) -> None:
    """out = running sums of x along `dim`."""
    _run(out, x, dim, "sum", 0)


def reverse_cumsum(out: Any, x: Any, *, dim: int) -> None:
    """out = running sums of x along `dim`, from the end."""
    _run(out, x, dim, "sum", 0, True)


def cumprod(out: Any, x: Any, *, dim: int) -> None:
    """out = running products of x along `dim`."""
    _run(out, x, dim, "prod", 1)


def logcumsumexp(out: Any, x: Any, *, dim: int) -> None:
    """out = running log-sum-exps of x along `dim`."""
    _run(out, x, dim, "log", float("-inf"))


def cummax(outs: tuple, x: Any, *, dim: int) -> None:
    """outs = the largest so far along `dim`, and the last place where it was."""
    _run_extreme(*outs, x, dim, True)


def cummin(outs: tuple, x: Any, *, dim: int) -> None:
    """outs = the smallest so far along `dim`, and the last place where it was."""
    _run_extreme(*outs, x, dim, False)


def weigh_after(out: Any, terms: Any, x: Any, y: Any, *, dim: int) -> None:
    """out = at k the sum over i >= k of terms[i] exp(x[k] - y[i])."""
    _run_weigh(out, terms, x, y, dim, True)


def weigh_before(out: Any, terms: Any, x: Any, y: Any, *, dim: int) -> None:
    """out = at i the sum over k <= i of terms[k] exp(x[k] - y[i])."""
    _run_weigh(out, terms, x, y, dim, False)


def _run_weigh(out: Any, terms: Any, x: Any, y: Any, dim: int, reverse: bool) -> None:
    if prod(out.shape) == 0:
        return
    if not out.shape:  # a row of one
        out, terms, x, y = (a.view((1,), (1,)) for a in (out, terms, x, y))
    numbers, _, facts = _facts(x, dim)
    facts["ROWS"] = max(facts["ROWS"] // 2, 1)  # three operands take more registers than one
    grid = (cdiv(numbers[0], facts["ROWS"]),)
    acc = _accumulator(x.dtype.name)
    launch(
        _weigh, grid, out, contiguous(terms), contiguous(x), contiguous(y), *numbers, REVERSE=reverse, ACC=acc, **facts
    )  # fmt: skip


def _run(out: Any, x: Any, dim: int, op: str, identity: float, reverse: bool = False) -> None:
    if not x.shape:
        copy(out, x)
    if not x.shape or prod(x.shape) == 0:
        return
    numbers, grid, facts = _facts(x, dim)
    launch(
        _scan, grid, out, contiguous(x), *numbers, OP=op, IDENTITY=identity, REVERSE=reverse,
        ACC=_accumulator(x.dtype.name), **facts,
    )  # fmt: skip


def _run_extreme(values: Any, indices: Any, x: Any, dim: int, largest: bool) -> None:
    if not x.shape:
        copy(values, x)
        fill(indices, value=0)
    if not x.shape or prod(x.shape) == 0:
        return
    numbers, grid, facts = _facts(x, dim)
    name = x.dtype.name
    launch(
        _scan_extreme, grid, values, indices, contiguous(x), *numbers, MAX=largest,
        WORST=_extreme(name, -1 if largest else 1), ACC=_comparer(name), **facts,
    )  # fmt: skip


def _facts(x: Any, dim: int) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    dim %= len(x.shape)
    n, inner = x.shape[dim], prod(x.shape[dim + 1 :])
    rows = prod(x.shape) // n
    per, block, warps = row_tile(rows, n, 1024, 1024)
    if inner > 1 and not interpreting():  # neighbours in memory are in different rows
        block = min(block, 64)
        per, warps = max(min(2048 // block, 64), 1), 4
    facts = {"num_warps": warps, "ROWS": per, "BLOCK": block, "WIDE": needs_int64(x.shape, [x.strides])}
    return (rows, inner, n), (cdiv(rows, per),), facts
