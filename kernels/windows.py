"""Windows laid side by side and folded back, and the maxima of windows that divide an input evenly.

Each kernel goes once over its result; what overlaps is gathered and added in one order, without atomics.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, copy
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.pool import _covering, _planes
from naiad.kernels.reduce import _accumulator
from naiad.kernels.sliding import window, window_facts

BLOCK = 256


@triton.jit
def _flat(BLOCK: tl.constexpr, WIDE: tl.constexpr):
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    return start * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _im2col(
    out_ptr, x_ptr, numel, windows, taps, area, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2,
    step_0, step_1, step_2, stride_0, stride_1, stride_2, padding_0, padding_1, padding_2,
    dilation_0, dilation_1, dilation_2, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out[plane, tap, window] = what the window sees at the tap."""
    i = _flat(BLOCK, WIDE)
    offset, inside = window(
        i % windows, (i // windows) % taps, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1,
        step_2, stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
        2, False,
    )  # fmt: skip
    x = tl.load(x_ptr + i // windows // taps * area + offset, mask=inside & (i < numel), other=0)
    tl.store(out_ptr + i, x, mask=i < numel)


@triton.jit
def _col2im(
    out_ptr, x_ptr, numel, tries_1, tries_2, size_1, size_2, windows_1, windows_2, kernel_1, kernel_2,
    stride_1, stride_2, padding_1, padding_2, dilation_1, dilation_2,
    ACC: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """For each position the sum over the windows that cover it."""
    i = _flat(BLOCK, WIDE)
    plane, pixel = i // (size_1 * size_2), i % (size_1 * size_2)
    total = tl.zeros([BLOCK], ACC)
    for try_1 in range(tries_1):
        w_1, tap_1, in_1 = _covering(
            pixel // size_2, try_1, stride_1, padding_1, kernel_1, dilation_1, windows_1
        )  # fmt: skip
        for try_2 in range(tries_2):
            w_2, tap_2, in_2 = _covering(pixel % size_2, try_2, stride_2, padding_2, kernel_2, dilation_2, windows_2)
            column = plane * (kernel_1 * kernel_2) + tap_1 * kernel_2 + tap_2
            at = (column * windows_1 + w_1) * windows_2 + w_2
            total += tl.load(x_ptr + at, mask=(i < numel) & in_1 & in_2, other=0).to(ACC)
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _fold(
    out_ptr, x_ptr, numel, n, inner, windows, size, step, tries,
    ACC: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out[a, p, b] = the sum over windows w of x[a, w, b, p - w * step]."""
    i = _flat(BLOCK, WIDE)
    outer, place, rest = i // inner // n, (i // inner) % n, i % inner
    total = tl.zeros([BLOCK], ACC)
    for number in range(tries):
        window, tap, inside = _covering(place, number, step, 0, size, 1, windows)
        at = ((outer * windows + window) * inner + rest) * size + tap
        total += tl.load(x_ptr + at, mask=(i < numel) & inside, other=0).to(ACC)
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _adaptive_max(
    out_ptr, place_ptr, x_ptr, numel, most_0, most_1, most_2, out_0, out_1, out_2, size_0, size_1, size_2,
    BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The largest element of each cell and its number in the plane; of equals, and of NaN, the first."""
    i = _flat(BLOCK, WIDE)
    exists = i < numel
    plane, cell = i // (out_0 * out_1 * out_2), i % (out_0 * out_1 * out_2)
    cell = cell.to(tl.int64)  # a cell's number times the size of the input may not fit an int32
    c_0, c_1, c_2 = cell // (out_1 * out_2), (cell // out_2) % out_1, cell % out_2
    best = tl.zeros([BLOCK], out_ptr.dtype.element_ty)
    where = tl.full([BLOCK], -1, tl.int64)
    for k_0 in range(most_0):
        at_0 = c_0 * size_0 // out_0 + k_0
        for k_1 in range(most_1):
            at_1 = c_1 * size_1 // out_1 + k_1
            for k_2 in range(most_2):
                at_2 = c_2 * size_2 // out_2 + k_2
                inside = exists & (at_0 * out_0 < (c_0 + 1) * size_0) & (at_1 * out_1 < (c_1 + 1) * size_1)
                inside = inside & (at_2 * out_2 < (c_2 + 1) * size_2)
                offset = (at_0 * size_1 + at_1) * size_2 + at_2
                seen = tl.load(x_ptr + plane * (size_0 * size_1 * size_2) + offset, mask=inside, other=0)
                better = inside & ((seen > best) | ((seen != seen) & (best == best)) | (where < 0))
                best = tl.where(better, seen, best)
                where = tl.where(better, offset.to(tl.int64), where)
    tl.store(out_ptr + i, best, mask=exists)
    tl.store(place_ptr + i, where, mask=exists)


def im2col(out: Any, x: Any, *, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> None:
    """out (N, C * taps, windows) = the windows of x (N, C, H, W)."""
    x = _planes(contiguous(x), 2)
    seen = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, kernel, stride, strict=True)
    )
    facts = window_facts(x, seen, kernel, stride, padding, dilation)
    _over(_im2col, out, (out, x), (out.shape[2], prod(kernel), prod(x.shape[2:]), *facts))


def col2im(out: Any, x: Any, *, size: Shape, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> None:
    """out (N, C, *size) = the windows (N, C * taps, windows) in their places, added up where they overlap."""
    windows = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    tries = [cdiv(d * (k - 1) + 1, s) for d, k, s in zip(dilation, kernel, stride, strict=True)]
    numbers = (*tries, *size, *windows, *kernel, *stride, *padding, *dilation)
    _over(_col2im, out, (out, contiguous(x)), numbers, ACC=_accumulator(out.dtype.name))


def fold_windows(out: Any, x: Any, *, shape: Shape, dim: int, size: int, step: int) -> None:
    """out (shape) = windows of `size` along `dim`, `step` apart, in their places and added up."""
    if not shape:
        copy(out, x.view((), ()))
        return
    numbers = (shape[dim], prod(shape[dim + 1 :]), x.shape[dim], size, step, cdiv(size, step))
    _over(_fold, out, (out, contiguous(x)), numbers, ACC=_accumulator(out.dtype.name))


def adaptive_max(outs: tuple, x: Any, *, target: Shape) -> None:
    """outs = the largest element of each of `target` cells, and where it is in the flattened last dimensions."""
    ones, size = (1,) * (3 - len(target)), x.shape[len(x.shape) - len(target) :]
    most = tuple(-(-n // t) + (n % t != 0) for n, t in zip(size, target, strict=True)) if prod(target) else target
    _over(_adaptive_max, outs[0], (*outs, contiguous(x)), (*ones, *most, *ones, *target, *ones, *size))


def _over(kernel: Any, out: Any, arrays: tuple, numbers: tuple, **constants: Any) -> None:
    """One program per block of out."""
    numel = prod(out.shape)
    if numel == 0:
        return
    block = block_for(numel, BLOCK)
    wide = any(needs_int64((prod(a.shape),), [(1,)]) for a in arrays)
    launch(kernel, (cdiv(numel, block),), *arrays, numel, *numbers, BLOCK=block, WIDE=wide, **constants)
