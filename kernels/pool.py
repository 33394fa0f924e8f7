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

from naiad.kernels import maths
from naiad.kernels.conv import _facts, _window
from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.rows import accumulator

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
        offset, inside = _window(
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
        offset, inside = _window(
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
def _pool_grad(
    out_ptr, g_ptr, place_ptr, numel, pixels, area, taps, divisor, kernel_0, full_0, full_1, full_2,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    MAX: tl.constexpr, COUNT: tl.constexpr, PAD: tl.constexpr, ACC: tl.constexpr, RANK: tl.constexpr,
    BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """For each element of x the sum of what the windows that it is in hand back; size_* is that of g."""
    i, exists, plane, pixel = _elements(numel, pixels, BLOCK, WIDE)
    total = tl.zeros([BLOCK], ACC)
    for tap in range(taps):
        offset, inside = _window(
            pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2, stride_0,
            stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2, RANK, True,
        )  # fmt: skip
        inside = inside & exists
        at = plane * area + offset
        if MAX:
            inside = inside & (tl.load(place_ptr + at, mask=inside, other=0).to(tl.int32) == tap)
            total += tl.load(g_ptr + at, mask=inside, other=0).to(ACC)
        else:
            count = tl.full([BLOCK], 1, tl.int32) * divisor
            if COUNT:
                count = _divisor(
                    offset, size_1, size_2, kernel_0, kernel_1, kernel_2, full_0, full_1, full_2,
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
    offset, inside = _window(
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
          _facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), PLACES=places)  # fmt: skip


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
          _facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), INDEX=False)  # fmt: skip


def place_indices(
    out: Any, place: Any, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> None:
    """out = taps of windows as positions in the flattened last dimensions, of `size`."""
    x = out.view((1, 1, *size), (0, 0, *_steps(size)))  # of which only the geometry counts
    _over(_at_place, out, x, len(kernel), (out, out, contiguous(place)), (),
          _facts(x, out.shape[-len(kernel) :], kernel, stride, padding, dilation), INDEX=True)  # fmt: skip


def avg_pool(
    out: Any, x: Any, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, include_pad: bool,
    override: int | None,
) -> None:  # fmt: skip
    """out = the mean of every window."""
    x = _planes(contiguous(x), len(kernel))
    _over(
        _avg_pool, out, x, len(kernel), (out, x), (prod(kernel), override or 1, kernel[0] if len(kernel) == 3 else 1),
        _facts(x, out.shape[-len(kernel) :], kernel, stride, padding, (1,) * len(kernel)),
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
    g = _planes(contiguous(g), len(kernel))
    lead = (1,) * (3 - len(kernel))
    _over(
        _pool_grad, out, g, len(kernel), (out, g, place),
        (prod(kernel), divisor, kernel[0] if len(kernel) == 3 else 1, *lead, *size),
        _facts(g, size, kernel, stride, padding, dilation), MAX=largest, ACC=accumulator(out.dtype.name), **flags,
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
