"""Sequences of numbers, the identity, and the places of triangles: written once, nothing read.

The same arithmetic as the NumPy twins', step by step and without fused multiply-add, so that both devices make the same
numbers.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels.launch import Scalar, block_for, cdiv, launch

BLOCK = 1024


@triton.jit
def _stored(out_ptr, i, value, numel):
    if out_ptr.dtype.element_ty == tl.int1:
        value = value != 0
    tl.store(out_ptr + i, value.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _steps(out_ptr, start, step, numel, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    _stored(out_ptr, i, start + i.to(start.dtype) * step, numel)


@triton.jit
def _spaced(out_ptr, start, end, step, base, numel, POWER: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    from_start = start + step * i.to(start.dtype)
    from_end = end - step * (numel - 1 - i).to(start.dtype)
    value = tl.where(2 * i < numel, from_start, from_end)
    if POWER:
        value = libdevice.pow(tl.zeros([BLOCK], start.dtype) + base, value)
    _stored(out_ptr, i, value, numel)


@triton.jit
def _eye(out_ptr, columns, numel, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    _stored(out_ptr, i, (i // columns == i % columns).to(tl.int32), numel)


@triton.jit
def _averaging(out_ptr, rows, columns, numel, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = i // columns, i % columns
    start = row * columns // rows
    stop = ((row + 1) * columns + rows - 1) // rows
    share = 1.0 / (stop - start).to(tl.float64)
    _stored(out_ptr, i, tl.where((column >= start) & (column < stop), share, 0.0), numel)


@triton.jit
def _staircase(n, columns):
    """The sum of j, cut to at most `columns`, for j from 1 to n."""
    n = tl.maximum(n, 0)
    low = tl.minimum(n, columns)
    return low * (low + 1) // 2 + (n - low) * columns


@triton.jit
def _elements_before(row, columns, offset, UPPER: tl.constexpr):
    """How many elements of the triangle lie in the rows above."""
    if UPPER:
        return row * columns - (_staircase(row + offset - 1, columns) - _staircase(offset - 1, columns))
    else:
        return _staircase(row + offset, columns) - _staircase(offset, columns)


@triton.jit
def _triangle(out_ptr, rows, columns, offset, numel, steps, UPPER: tl.constexpr, BLOCK: tl.constexpr):
    """(row, column) of each element of a triangle, in order: the row by halving."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low = tl.zeros([BLOCK], tl.int64)
    high = tl.zeros([BLOCK], tl.int64) + rows - 1
    columns = tl.zeros([1], tl.int64) + columns
    offset = tl.zeros([1], tl.int64) + offset
    for _ in range(steps):
        middle = (low + high + 1) // 2
        here = _elements_before(middle, columns, offset, UPPER) <= i
        low = tl.where(here, middle, low)
        high = tl.where(here, high, middle - 1)
    column = i - _elements_before(low, columns, offset, UPPER)
    if UPPER:
        column += tl.minimum(tl.maximum(low + offset, 0), columns)
    tl.store(out_ptr + i, low.to(out_ptr.dtype.element_ty), mask=i < numel)
    tl.store(out_ptr + numel + i, column.to(out_ptr.dtype.element_ty), mask=i < numel)


def _launch(kernel: Any, numel: int, *args: Any, **constants: Any) -> None:
    block = block_for(numel, BLOCK)
    launch(kernel, (cdiv(numel, block),), *args, enable_fp_fusion=False, BLOCK=block, **constants)


def steps(out: Any, *, start: int | float, step: int | float) -> None:
    """out[i] = start + i * step, computed in int64 for integers and bools, in float64 for floats."""
    numel, kind = prod(out.shape), "float64" if "float" in out.dtype.name else "int64"
    _launch(_steps, numel, out, Scalar(start, kind), Scalar(step, kind), numel)


def spaced(out: Any, *, start: float, end: float, step: float, base: float | None, of: str) -> None:
    """out = numbers from start to end, counted from the nearer one, computed in dtype `of`; base: its powers."""
    numel = prod(out.shape)
    numbers = [Scalar(x, of) for x in (start, end, step, base or 1.0)]
    _launch(_spaced, numel, out, *numbers, numel, POWER=base is not None)


def eye(out: Any) -> None:
    """out (n, m) = zeros with ones on the diagonal."""
    numel = prod(out.shape)
    _launch(_eye, numel, out, max(out.shape[1], 1), numel)


def averaging(out: Any) -> None:
    """out (rows, n) = the matrix that takes means of n numbers over `rows` windows, as even as can be."""
    numel = prod(out.shape)
    _launch(_averaging, numel, out, out.shape[0], out.shape[1], numel)


def triangle(out: Any, *, rows: int, columns: int, offset: int, upper: bool) -> None:
    """out (2, n) = the rows and columns of the elements on, below (upper: above) a matrix's `offset`-th diagonal."""
    numel = out.shape[1]
    _launch(_triangle, numel, out, rows, columns, offset, numel, rows.bit_length(), UPPER=upper)
