"""Softmax and log-softmax over one dimension, forward and backward.

softmax:      y = exp(x - max x) / sum exp(x - max x)          dx = y * (g - sum(g * y))
log_softmax:  y = x - max x - log(sum exp(x - max x))          dx = g - exp(y) * sum(g)

Forward moves x once and y once (a row that fits a tile stays in registers; a longer one is read twice, by the online
algorithm of Milakov and Gimelshein, 2018), backward g, y and dx. About 5 operations and an exp per element. Everything
is computed in float32, or float64 for float64.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import interpreting
from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import merge, needs_int64
from naiad.kernels.launch import cdiv, launch, next_power_of_2
from naiad.kernels.rows import own_rows, widened

LONGEST = 16384  # the longest row that one program keeps in registers
STEP = 4096  # how much of a longer row it takes at a time


@triton.jit
def _row_max(x, lowest):
    return tl.max(tl.where(x == x, x, lowest), 1)


@triton.jit
def _finish(x, largest, total, LOG: tl.constexpr):
    if LOG:
        return x - largest[:, None] - libdevice.log(total)[:, None]
    else:
        return libdevice.exp(x - largest[:, None]) / total[:, None]


@triton.jit
def _softmax_fwd(
    out_ptr, x_ptr, rows, inner, n, outer_stride, inner_stride, stride,
    LOG: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, LOOP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """ROWS rows of n elements; row r is (r // inner, r % inner), its elements `inner` apart in out."""
    row = own_rows(ROWS, WIDE)
    inside = (row < rows)[:, None]
    x_row = x_ptr + ((row // inner) * outer_stride + (row % inner) * inner_stride)[:, None]
    out_row = out_ptr + ((row // inner) * (widened(inner, WIDE) * n) + row % inner)[:, None]
    column = widened(tl.arange(0, BLOCK), WIDE)[None, :]
    lowest = tl.full([1, 1], float("-inf"), ACC)
    if LOOP:
        largest = tl.full([ROWS], float("-inf"), ACC)
        total = tl.full([ROWS], 0, ACC)
        for start in range(0, n, BLOCK):
            mask = inside & (start + column < n)
            x = tl.load(x_row + (start + column) * stride, mask=mask, other=float("-inf")).to(ACC)
            new = tl.maximum(largest, _row_max(x, lowest))
            safe = tl.where(new == float("-inf"), tl.full([1], 0, ACC), new)  # nothing but -infinity so far
            total = total * libdevice.exp(largest - safe) + tl.sum(libdevice.exp(x - safe[:, None]), 1)
            largest = new
        for start in range(0, n, BLOCK):
            mask = inside & (start + column < n)
            x = tl.load(x_row + (start + column) * stride, mask=mask, other=float("-inf")).to(ACC)
            y = _finish(x, largest, total, LOG)
            tl.store(out_row + (start + column) * inner, y.to(out_ptr.dtype.element_ty), mask=mask)
    else:
        mask = inside & (column < n)
        x = tl.load(x_row + column * stride, mask=mask, other=float("-inf")).to(ACC)
        largest = _row_max(x, lowest)
        total = tl.sum(tl.where(mask, libdevice.exp(x - largest[:, None]), tl.full([1, 1], 0, ACC)), 1)
        tl.store(out_row + column * inner, _finish(x, largest, total, LOG).to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _row_sum(g, y, LOG: tl.constexpr):
    if LOG:
        return tl.sum(g, 1)
    else:
        return tl.sum(g * y, 1)


@triton.jit
def _gradient(g, y, total, LOG: tl.constexpr):
    if LOG:
        return g - libdevice.exp(y) * total[:, None]
    else:
        return y * (g - total[:, None])


@triton.jit
def _softmax_bwd(
    out_ptr, g_ptr, y_ptr, rows, inner, n, g_outer, g_inner, g_stride, y_outer, y_inner, y_stride,
    LOG: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, LOOP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    row = own_rows(ROWS, WIDE)
    inside = (row < rows)[:, None]
    g_row = g_ptr + ((row // inner) * g_outer + (row % inner) * g_inner)[:, None]
    y_row = y_ptr + ((row // inner) * y_outer + (row % inner) * y_inner)[:, None]
    out_row = out_ptr + ((row // inner) * (widened(inner, WIDE) * n) + row % inner)[:, None]
    column = widened(tl.arange(0, BLOCK), WIDE)[None, :]
    if LOOP:
        total = tl.full([ROWS], 0, ACC)
        for start in range(0, n, BLOCK):
            mask = inside & (start + column < n)
            g = tl.load(g_row + (start + column) * g_stride, mask=mask, other=0).to(ACC)
            y = tl.load(y_row + (start + column) * y_stride, mask=mask, other=0).to(ACC)
            total += _row_sum(g, y, LOG)
        for start in range(0, n, BLOCK):
            mask = inside & (start + column < n)
            g = tl.load(g_row + (start + column) * g_stride, mask=mask, other=0).to(ACC)
            y = tl.load(y_row + (start + column) * y_stride, mask=mask, other=0).to(ACC)
            dx = _gradient(g, y, total, LOG)
            tl.store(out_row + (start + column) * inner, dx.to(out_ptr.dtype.element_ty), mask=mask)
    else:
        mask = inside & (column < n)
        g = tl.load(g_row + column * g_stride, mask=mask, other=0).to(ACC)
        y = tl.load(y_row + column * y_stride, mask=mask, other=0).to(ACC)
        dx = _gradient(g, y, _row_sum(g, y, LOG), LOG)
        tl.store(out_row + column * inner, dx.to(out_ptr.dtype.element_ty), mask=mask)


def softmax(out: Any, x: Any, *, dim: int) -> None:
    """out = softmax of x over `dim`; x has any strides."""
    _run(_softmax_fwd, out, (x,), dim, False)


def log_softmax(out: Any, x: Any, *, dim: int) -> None:
    """out = the logarithm of softmax of x over `dim`; x has any strides."""
    _run(_softmax_fwd, out, (x,), dim, True)


def softmax_backward(out: Any, g: Any, y: Any, *, dim: int) -> None:
    """out = the gradient of softmax's input, from the gradient of its output and the output y."""
    _run(_softmax_bwd, out, (g, y), dim, False)


def log_softmax_backward(out: Any, g: Any, y: Any, *, dim: int) -> None:
    """out = the gradient of log_softmax's input, from the gradient of its output and the output y."""
    _run(_softmax_bwd, out, (g, y), dim, True)


def _run(kernel: Any, out: Any, arrays: tuple, dim: int, log: bool) -> None:
    if prod(out.shape) == 0:
        return
    shape = out.shape or (1,)
    dim %= len(shape)
    n, inner = shape[dim], prod(shape[dim + 1 :])
    rows = prod(shape) // n
    arrays, strides = zip(*(_rows_of(a, dim) for a in arrays), strict=True)
    per_program, block, warps = _tile(rows, n, inner)
    wide = needs_int64(shape, [a.strides or (1,) for a in arrays])
    acc = tl.float64 if out.dtype.name == "float64" else tl.float32
    launch(
        kernel, (cdiv(rows, per_program),), out, *arrays, rows, inner, n, *(s for triple in strides for s in triple),
        num_warps=warps, LOG=log, ACC=acc, ROWS=per_program, BLOCK=block, LOOP=block < n, WIDE=wide,
    )  # fmt: skip


def _rows_of(x: Any, dim: int) -> tuple[Any, tuple[int, int, int]]:
    """x, or a contiguous copy of it, and its strides over the dimensions before, after and at `dim`."""
    if not x.shape:
        return x, (0, 0, 1)
    before, after = (merge(x.shape[s], x.strides[s])[1] for s in (slice(dim), slice(dim + 1, None)))
    if max(len(before), len(after)) > 1:
        return _rows_of(contiguous(x), dim)
    return x, (*(before or (0,)), *(after or (0,)), x.strides[dim])


def _tile(rows: int, n: int, inner: int) -> tuple[int, int, int]:
    """Rows per program, elements of a row at a time, warps."""
    columns = next_power_of_2(n)
    if interpreting():
        block = min(columns, LONGEST)
        return min(next_power_of_2(rows), max(65536 // block, 1)), block if n <= LONGEST else STEP, 4
    if inner == 1:
        block = columns if columns <= LONGEST else STEP
        return max(min(1024 // block, next_power_of_2(rows)), 1), block, min(max(block // 512, 4), 16)
    block = min(columns, 64)  # neighbours in memory are in different rows
    return min(2048 // block, next_power_of_2(rows), 64), block, 4
