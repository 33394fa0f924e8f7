"""Pooling in one, two and three dimensions: maxima with their places, means, and the gradients of both.

Every kernel goes over its result once and, for each element, over the taps of a window; a gradient gathers from the
windows that an element is in, so nothing is added by atomics. x and the result are moved about once (x again from L2
for each tap), and each tap is an operation.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import maths, reduce
from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.rows import accumulator
from naiad.kernels.sliding import window, window_facts

BLOCK = 512


@triton.jit
def _elements(numel, pixels, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The elements of this program: their numbers, which exist, and the plane and pixel of each."""
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    i = start * BLOCK + tl.arange(0, BLOCK)
    return i, i < numel, i // pixels, i % pixels


@triton.jit
def _max_pool(
    out_ptr, place_ptr, x_ptr, numel, pixels, area, taps,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    PLACES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The largest element of each window (a NaN wins), and at which tap it was first met."""
    i, exists, plane, pixel = _elements(numel, pixels, BLOCK, WIDE)
    best = tl.zeros([BLOCK], out_ptr.dtype.element_ty)
    place = tl.full([BLOCK], -1, tl.int32)
    for tap in range(taps):
        offset, inside = window(
            pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2, stride_0,
            stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2, RANK, False,
        )  # fmt: skip
        inside = inside & exists
        seen = tl.load(x_ptr + plane * area + offset, mask=inside, other=0)
        better = inside & ((seen > best) | (seen != seen) | (place < 0))
        best = tl.where(better, seen, best)
        place = tl.where(better, tap, place)
    tl.store(out_ptr + i, best, mask=exists)
    if PLACES:
        place = tl.where(place < 0, 0, place)
        tl.store(place_ptr + i, place.to(place_ptr.dtype.element_ty), mask=exists)


@triton.jit
def _extent(at, stride, padding, kernel, size, PAD: tl.constexpr):
    """How many positions of one dimension of a window count."""
    start = at * stride - padding
    end = tl.minimum(start + kernel, size + padding)
    if not PAD:
        start = tl.maximum(start, 0)
        end = tl.minimum(end, size)
    return end - start


@triton.jit
def _divisor(
    pixel, out_1, out_2, kernel_0, kernel_1, kernel_2, size_0, size_1, size_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, PAD: tl.constexpr,
):  # fmt: skip
    count = _extent(pixel % out_2, stride_2, padding_2, kernel_2, size_2, PAD)
    count *= _extent((pixel // out_2) % out_1, stride_1, padding_1, kernel_1, size_1, PAD)
    return count * _extent(pixel // (out_1 * out_2), stride_0, padding_0, kernel_0, size_0, PAD)


@triton.jit
def _avg_pool(
    out_ptr, x_ptr, numel, pixels, area, taps, divisor, kernel_0,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    COUNT: tl.constexpr, PAD: tl.constexpr, ACC: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """The sum of each window over `divisor`, or if COUNT over the number of its positions (PAD: padding counts)."""
    i, exists, plane, pixel = _elements(numel, pixels, BLOCK, WIDE)
    total = tl.zeros([BLOCK], ACC)
    for tap in range(taps):
        offset, inside = window(
            pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2, stride_0,
            stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2, RANK, False,
        )  # fmt: skip
        total += tl.load(x_ptr + plane * area + offset, mask=inside & exists, other=0).to(ACC)
    count = tl.full([BLOCK], 1, tl.int32) * divisor
    if COUNT:
        count = _divisor(
            pixel, out_1, out_2, kernel_0, kernel_1, kernel_2, size_0, size_1, size_2,
            stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, PAD,
        )  # fmt: skip
    tl.store(out_ptr + i, maths.divide(total, count.to(ACC)).to(out_ptr.dtype.element_ty), mask=exists)


@triton.jit
def _covering(at, number, stride, padding, kernel, dilation, windows):
    """The `number`-th window, counted back from the last, that may cover a position of one dimension.

    Returns which window that is, at which tap it has the position, and whether it is there and does.
    """
    window = (at + padding) // stride - number
    away = at + padding - window * stride
    return window, away // dilation, (window >= 0) & (window < windows) & (away % dilation == 0) & (
        away // dilation < kernel
    )  # fmt: skip


@triton.jit
def _pool_grad(
    out_ptr, g_ptr, place_ptr, numel, pixels, area, divisor, tries_0, tries_1, tries_2,
    kernel_0, kernel_1, kernel_2, size_0, size_1, size_2, windows_0, windows_1, windows_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    MAX: tl.constexpr, COUNT: tl.constexpr, PAD: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """For each element of x, of size_*, the sum of what the windows that cover it hand back."""
    i, exists, plane, pixel = _elements(numel, pixels, BLOCK, WIDE)
    total = tl.zeros([BLOCK], ACC)
    at_0, at_1, at_2 = pixel // (size_1 * size_2), (pixel // size_2) % size_1, pixel % size_2
    for try_0 in range(tries_0):
        w_0, tap_0, in_0 = _covering(at_0, try_0, stride_0, padding_0, kernel_0, dilation_0, windows_0)
        for try_1 in range(tries_1):
            w_1, tap_1, in_1 = _covering(at_1, try_1, stride_1, padding_1, kernel_1, dilation_1, windows_1)
            for try_2 in range(tries_2):
                w_2, tap_2, in_2 = _covering(at_2, try_2, stride_2, padding_2, kernel_2, dilation_2, windows_2)
                inside = exists & in_0 & in_1 & in_2
                window = (w_0 * windows_1 + w_1) * windows_2 + w_2
                at = plane * area + window
                if MAX:
                    tap = (tap_0 * kernel_1 + tap_1) * kernel_2 + tap_2
                    inside = inside & (tl.load(place_ptr + at, mask=inside, other=0).to(tl.int32) == tap)
                    total += tl.load(g_ptr + at, mask=inside, other=0).to(ACC)
                else:
                    count = tl.full([BLOCK], 1, tl.int32) * divisor
                    if COUNT:
                        count = _divisor(
                            window, windows_1, windows_2, kernel_0, kernel_1, kernel_2, size_0, size_1, size_2,
                            stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, PAD,
                        )  # fmt: skip
                    g = tl.load(g_ptr + at, mask=inside, other=0).to(ACC)
                    total += maths.divide(g, tl.where(inside, count, 1).to(ACC))
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=exists)


@triton.jit
def _at_place(
    out_ptr, x_ptr, place_ptr, numel, pixels, area,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    INDEX: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What stands at a given tap of each window, or if INDEX its number in the plane."""
    i, exists, plane, pixel = _elements(numel, pixels, BLOCK, WIDE)
    tap = tl.load(place_ptr + i, mask=exists, other=0).to(tl.int32)
    offset, inside = window(
        pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2, stride_0,
        stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2, RANK, False,
    )  # fmt: skip
    if INDEX:
        tl.store(out_ptr + i, offset.to(tl.int64), mask=exists)
    else:
        value = tl.load(x_ptr + plane * area + offset, mask=inside & exists, other=0)
        tl.store(out_ptr + i, value, mask=exists)


def max_pool(
    outs: tuple, x: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool, places: bool
) -> None:
    """outs = the largest element of every window and (places) at which tap it is."""
    out, place = outs
    x = _planes(contiguous(x), len(kernel))
    _over(_max_pool, out, x, len(kernel), (out, place, x), (prod(kernel),),
          window_facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), PLACES=places)  # fmt: skip


def max_pool_grad(
    out: Any, g: Any, place: Any, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    ceil: bool,
) -> None:  # fmt: skip
    """out (..., *size) = the gradient of every window's maximum, where that was."""
    _grad(out, g, contiguous(place), size, kernel, stride, padding, dilation, 1, True, COUNT=False, PAD=False)


def pick_place(
    out: Any, x: Any, place: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> None:
    """out = from every window the element at the tap that place tells."""
    x = _planes(contiguous(x), len(kernel))
    _over(_at_place, out, x, len(kernel), (out, x, contiguous(place)), (),
          window_facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), INDEX=False)  # fmt: skip


def place_indices(
    out: Any, place: Any, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> None:
    """out = taps of windows as positions in the flattened last dimensions, of `size`."""
    x = out.view((1, 1, *size), (0, 0, *_steps(size)))  # of which only the geometry counts
    _over(_at_place, out, x, len(kernel), (out, out, contiguous(place)), (),
          window_facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), INDEX=True)  # fmt: skip


def avg_pool(
    out: Any, x: Any, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, include_pad: bool,
    override: int | None,
) -> None:  # fmt: skip
    """out = the mean of every window."""
    lead = len(x.shape) - len(kernel)
    if x.shape[lead:] == kernel and not any(padding) and override is None and prod(out.shape[lead:]) == 1:
        reduce.mean(out, x, dim=tuple(range(lead, len(x.shape))))
        return
    x = _planes(contiguous(x), len(kernel))
    _over(
        _avg_pool, out, x, len(kernel), (out, x), (prod(kernel), override or 1, kernel[0] if len(kernel) == 3 else 1),
        window_facts(x, out.shape[-len(kernel) :], kernel, stride, padding, (1,) * len(kernel)),
        COUNT=override is None, PAD=include_pad, ACC=accumulator(x.dtype.name),
    )  # fmt: skip


def avg_pool_grad(
    out: Any, g: Any, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, include_pad: bool,
    override: int | None,
) -> None:  # fmt: skip
    """out (..., *size) = the gradient of every window's mean, shared among its elements."""
    ones = (1,) * len(kernel)
    _grad(out, g, g, size, kernel, stride, padding, ones, override or 1, False, COUNT=override is None, PAD=include_pad)


def _grad(
    out: Any, g: Any, place: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    divisor: int, largest: bool, **flags: bool,
) -> None:  # fmt: skip
    g = contiguous(g)
    numel = prod(out.shape)
    if numel == 0:
        return
    windows = g.shape[len(g.shape) - len(kernel) :]
    tries = tuple(cdiv(d * (k - 1) + 1, s) for k, s, d in zip(kernel, stride, dilation, strict=True))
    ones, none = (1,) * (3 - len(kernel)), (0,) * (3 - len(kernel))
    block = block_for(numel, BLOCK // 2)
    launch(
        _pool_grad, (cdiv(numel, block),), out, g, place, numel, prod(size), prod(windows), divisor,
        *ones, *tries, *ones, *kernel, *ones, *size, *ones, *windows, *ones, *stride, *none, *padding, *ones, *dilation,
        MAX=largest, ACC=accumulator(out.dtype.name), BLOCK=block,
        WIDE=any(needs_int64(a.shape, [a.strides]) for a in (out, g)), **flags,
    )  # fmt: skip


def _over(
    kernel: Any, out: Any, x: Any, rank: int, arrays: tuple, numbers: tuple, facts: list[int], **constants: Any
) -> None:
    """One program per block of elements of out, each of which looks into a plane of x."""
    numel = prod(out.shape)
    if numel == 0:
        return
    block = block_for(numel, BLOCK)
    wide = any(needs_int64(a.shape, [a.strides]) for a in (out, x))
    launch(
        kernel, (cdiv(numel, block),), *arrays, numel, prod(out.shape[-rank:]), prod(x.shape[-rank:]), *numbers, *facts,
        RANK=rank, BLOCK=block, WIDE=wide, **constants,
    )  # fmt: skip


def _planes(x: Any, rank: int) -> Any:
    """A contiguous array as (planes, 1, ...)."""
    size = x.shape[len(x.shape) - rank :]
    return x.view((prod(x.shape[: len(x.shape) - rank]), 1, *size), (prod(size), 0, *_steps(size)))


def _steps(size: Shape) -> Shape:
    return tuple(prod(size[d + 1 :]) for d in range(len(size)))
