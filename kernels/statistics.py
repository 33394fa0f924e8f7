"""Variance and log-sum-exp over any dimensions.

Both read x once: variance merges mean and squared deviations tile by tile (Chan, Golub and LeVeque, 1979), log-sum-exp
keeps the largest so far. About 4 operations per element, and an exp. Few long rows are split over programs, whose
results a second launch combines in one order.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import interpreting, maths
from naiad.kernels.copy import fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import Scalar, cdiv, launch, next_power_of_2
from naiad.kernels.reduce import _positive, _splits, _tile, _two_and_two
from naiad.kernels.rows import accumulator, own_rows, widened


@triton.jit
def _tile_of(
    x_ptr, row, there, start, last, row_1, row_stride_0, row_stride_1, column_1, column_stride_0, column_stride_1,
    other, BLOCK: tl.constexpr, ACC: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A tile of x and which of it is there."""
    column = start + widened(tl.arange(0, BLOCK), WIDE)
    row_ptr = x_ptr + (row // row_1) * row_stride_0 + (row % row_1) * row_stride_1
    offset = (column // column_1) * column_stride_0 + (column % column_1) * column_stride_1
    mask = there[:, None] & (column < last)[None, :]
    return tl.load(row_ptr[:, None] + offset[None, :], mask=mask, other=other).to(ACC), mask


@triton.jit
def _variance(
    out_ptr, mean_ptr, x_ptr, rows, row_1, row_stride_0, row_stride_1, n, column_1, column_stride_0, column_stride_1,
    share, freedom, PARTS: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """The variance of ROWS rows, or of PARTS of them: mean and squared deviations of share s in [s, row]."""
    row = own_rows(ROWS, WIDE)
    split = widened(tl.program_id(1), WIDE)
    there = row < rows
    first = split * share
    last = tl.minimum(first + share, n)
    one = tl.full([ROWS], 1, ACC)
    mean = tl.zeros([ROWS], ACC)
    squares = tl.zeros([ROWS], ACC)
    for start in range(first, last, BLOCK):
        x, mask = _tile_of(
            x_ptr, row, there, start, last, row_1, row_stride_0, row_stride_1, column_1, column_stride_0,
            column_stride_1, 0, BLOCK, ACC, WIDE,
        )  # fmt: skip
        count = tl.minimum(last - start, BLOCK)
        own = maths.divide(tl.sum(x, 1), one * count)
        centred = tl.where(mask, x - own[:, None], tl.zeros([1, 1], ACC))
        delta = own - mean
        part = maths.divide(one * count, one * (start - first + count))
        mean += delta * part
        squares += tl.sum(centred * centred, 1) + delta * delta * part * (start - first)
    if PARTS:
        tl.store(mean_ptr + split * rows + row, mean, mask=there)
        tl.store(out_ptr + split * rows + row, squares, mask=there)
    else:
        tl.store(out_ptr + row, maths.divide(squares, one * freedom).to(out_ptr.dtype.element_ty), mask=there)


@triton.jit
def _merge_variance(
    out_ptr, mean_ptr, squares_ptr, rows, parts, share, n, freedom, ACC: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.arange(0, BLOCK).to(tl.int64)
    mask = (row < rows)[:, None] & (part < parts)[None, :]
    at = part[None, :] * rows + row[:, None]
    count = tl.where(part < parts, tl.minimum(share, n - part * share), 0).to(ACC)[None, :]
    own = tl.load(mean_ptr + at, mask=mask, other=0)
    one = tl.full([ROWS], 1, ACC)
    mean = maths.divide(tl.sum(own * count, 1), one * n)
    away = own - mean[:, None]
    squares = tl.sum(tl.load(squares_ptr + at, mask=mask, other=0) + away * away * count, 1)
    tl.store(out_ptr + row, maths.divide(squares, one * freedom).to(out_ptr.dtype.element_ty), mask=row < rows)


@triton.jit
def _logsumexp(
    out_ptr, x_ptr, rows, row_1, row_stride_0, row_stride_1, n, column_1, column_stride_0, column_stride_1, share,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out[s, row] = the log-sum-exp of share s of ROWS rows."""
    row = own_rows(ROWS, WIDE)
    split = widened(tl.program_id(1), WIDE)
    there = row < rows
    lowest = tl.full([1, 1], float("-inf"), ACC)
    none = tl.zeros([1], ACC)
    top = tl.full([ROWS], float("-inf"), ACC)
    total = tl.zeros([ROWS], ACC)
    last = tl.minimum((split + 1) * share, n)
    for start in range(split * share, last, BLOCK):
        x, mask = _tile_of(
            x_ptr, row, there, start, last, row_1, row_stride_0, row_stride_1, column_1, column_stride_0,
            column_stride_1, float("-inf"), BLOCK, ACC, WIDE,
        )  # fmt: skip
        new = tl.maximum(top, tl.max(tl.where(x == x, x, lowest), 1))
        shift = tl.where(tl.abs(new) == float("inf"), none, new)  # an infinity is not subtracted from itself
        old = tl.where(tl.abs(top) == float("inf"), none, top)
        total = total * libdevice.exp(old - shift)
        total += tl.sum(tl.where(mask, libdevice.exp(x - shift[:, None]), tl.zeros([1, 1], ACC)), 1)
        top = new
    result = libdevice.log(total) + tl.where(tl.abs(top) == float("inf"), none, top)
    tl.store(out_ptr + split * rows + row, result.to(out_ptr.dtype.element_ty), mask=there)


def var(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False, correction: float = 1) -> None:
    """out = the squared deviations of x from its mean over `dim`, summed and divided by their number - correction."""
    found = _arranged(out, x, dim)
    if found is None:
        return
    x, rows, n, facts, (per, block, warps), splits = found
    if n == 0:
        fill(out, value=float("nan"))
        return
    acc = accumulator(x.dtype.name)
    kind = np.dtype(np.float64 if acc == tl.float64 else np.float32)
    share = cdiv(cdiv(n, splits), block) * block
    splits = cdiv(n, share)
    freedom = Scalar(n - correction if n > correction else 0, kind.name)
    squares, means = (out, out) if splits == 1 else (out.new((splits, rows), kind), out.new((splits, rows), kind))
    launch(
        _variance, (cdiv(rows, per), splits), squares, means, x, *facts, share, freedom, num_warps=warps,
        PARTS=splits > 1, ACC=acc, ROWS=per, BLOCK=block, WIDE=needs_int64(x.shape, [x.strides]),
    )  # fmt: skip
    if splits > 1:
        columns = next_power_of_2(splits)
        per = 1 if interpreting() else min(next_power_of_2(rows), max(1024 // columns, 1))
        launch(
            _merge_variance, (cdiv(rows, per),), out, means, squares, rows, splits, share, n, freedom,
            ACC=acc, ROWS=per, BLOCK=columns,
        )  # fmt: skip


def logsumexp(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = log(sum(exp(x))) over `dim`, without overflow."""
    found = _arranged(out, x, dim)
    if found is None:
        return
    x, rows, n, facts, (per, block, warps), splits = found
    if n == 0:
        fill(out, value=float("-inf"))
        return
    acc = accumulator(x.dtype.name)
    share = cdiv(cdiv(n, splits), block) * block
    splits = cdiv(n, share)
    kind = np.dtype(np.float64 if acc == tl.float64 else np.float32)
    target = out if splits == 1 else out.new((splits, rows), kind)
    launch(
        _logsumexp, (cdiv(rows, per), splits), target, x, *facts, share, num_warps=warps,
        ACC=acc, ROWS=per, BLOCK=block, WIDE=needs_int64(x.shape, [x.strides]),
    )  # fmt: skip
    if splits > 1:
        logsumexp(out.view((rows,), (1,)), target, dim=(0,))


def _arranged(out: Any, x: Any, dim: tuple[int, ...]) -> Any:
    """x with two kept and two reduced dimensions: (x, rows, n, sizes and strides, tile, splits); None: no results."""
    if prod(out.shape) == 0:
        return None
    reduced = _positive(dim, x)
    kept = [d for d in range(len(x.shape)) if d not in reduced]
    x, (row_sizes, row_strides), (column_sizes, column_strides) = _two_and_two(x, kept, reduced)
    rows, n = prod(row_sizes), prod(column_sizes)
    tile = _tile(rows, n, column_strides[1])
    facts = (rows, row_sizes[1], *row_strides, n, column_sizes[1], *column_strides)
    return x, rows, n, facts, tile, _splits(cdiv(rows, tile[0]), cdiv(max(n, 1), tile[1]))
