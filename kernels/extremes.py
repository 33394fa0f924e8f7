"""The largest or smallest along a dimension and where it is: argmax, argmin, max, min.

Reads x once; a comparison per element. NaN counts as the extreme, and of equals the first one is told.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import cdiv, launch
from naiad.kernels.reduce import _comparer, _extreme, _larger, _smaller
from naiad.kernels.rows import own_rows, row_tile, rows_and_columns, widened


@triton.jit
def _extreme_of(
    values_ptr, indices_ptr, x_ptr, rows, row_1, n, column_1, row_stride_0, row_stride_1, column_stride_0,
    column_stride_1, MAX: tl.constexpr, WORST: tl.constexpr, VALUES: tl.constexpr, ACC: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    row = own_rows(ROWS, WIDE)
    there = row < rows
    row_ptr = x_ptr + (row // row_1) * row_stride_0 + (row % row_1) * row_stride_1
    best = tl.full([ROWS], WORST, ACC)
    where = tl.full([ROWS], -1, tl.int64)
    for start in range(0, n, BLOCK):
        column = start + widened(tl.arange(0, BLOCK), WIDE)
        mask = there[:, None] & (column < n)[None, :]
        offset = (column // column_1) * column_stride_0 + (column % column_1) * column_stride_1
        x = tl.load(row_ptr[:, None] + offset[None, :], mask=mask, other=0).to(ACC)
        x = tl.where(mask, x, tl.full([1, 1], WORST, ACC))
        if MAX:
            top = tl.reduce(x, 1, _larger)
        else:
            top = tl.reduce(x, 1, _smaller)
        equal = mask & ((x == top[:, None]) | ((x != x) & (top != top)[:, None]))
        first = tl.min(tl.where(equal, column[None, :].to(tl.int64), tl.cast(n, tl.int64)), 1)
        better = (top > best) if MAX else (top < best)
        better = better | ((top != top) & (best == best)) | (where < 0)
        where = tl.where(better, first, where)
        best = tl.where(better, top, best)
    tl.store(indices_ptr + row, where, mask=there)
    if VALUES:
        tl.store(values_ptr + row, best.to(values_ptr.dtype.element_ty), mask=there)


def argmax(out: Any, x: Any, *, dim: int | None, keepdim: bool = False) -> None:
    """out = the position of the largest along `dim`, or in the flattened x (None)."""
    _run(None, out, x, dim, True)


def argmin(out: Any, x: Any, *, dim: int | None, keepdim: bool = False) -> None:
    """out = the position of the smallest along `dim`, or in the flattened x (None)."""
    _run(None, out, x, dim, False)


def max(outs: tuple, x: Any, *, dim: int, keepdim: bool = False) -> None:
    """outs = the largest along `dim`, and its position."""
    _run(*outs, x, dim, True)


def min(outs: tuple, x: Any, *, dim: int, keepdim: bool = False) -> None:
    """outs = the smallest along `dim`, and its position."""
    _run(*outs, x, dim, False)


def _run(values: Any, indices: Any, x: Any, dim: int | None, largest: bool) -> None:
    columns = tuple(range(len(x.shape))) if dim is None else (dim % len(x.shape),) if x.shape else ()
    found = rows_and_columns(x.shape, columns, (x.strides,))
    if found is None:
        x = contiguous(x)
        found = rows_and_columns(x.shape, columns, (x.strides,))
        assert found is not None
    (row_0, row_1), (column_0, column_1), (strides,) = found
    rows, n = row_0 * row_1, column_0 * column_1
    if prod(indices.shape) == 0:
        return
    name = x.dtype.name
    per, block, warps = row_tile(rows, n, 4096)
    launch(
        _extreme_of, (cdiv(rows, per),), indices if values is None else values, indices, x, rows, row_1, n, column_1,
        *strides, num_warps=warps, MAX=largest, WORST=_extreme(name, -1 if largest else 1), VALUES=values is not None,
        ACC=_comparer(name), ROWS=per, BLOCK=block, WIDE=needs_int64(x.shape, [x.strides]),
    )  # fmt: skip
