"""Where the taps of sliding windows lie, for convolution, pooling and unfolding; and the tiles of implicit products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import interpreting, tuning
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.matmul import fit


@triton.jit
def _axis(pixel, tap, stride, padding, dilation, size, BACKWARD: tl.constexpr):
    """Where a tap of a pixel's window lies along one dimension, and whether that is inside."""
    if BACKWARD:
        at = pixel + padding - tap * dilation
        return at // stride, (at >= 0) & (at % stride == 0) & (at // stride < size)
    else:
        at = pixel * stride - padding + tap * dilation
        return at, (at >= 0) & (at < size)


@triton.jit
def window(
    pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    RANK: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Offsets of taps of the windows of pixels, and which are inside."""
    if RANK == 1:
        at, inside = _axis(pixel, tap, stride_2, padding_2, dilation_2, size_2, BACKWARD)
        return at * step_2, inside
    else:
        at, inside = _axis(pixel % out_2, tap % kernel_2, stride_2, padding_2, dilation_2, size_2, BACKWARD)
        offset = at * step_2
        pixel, tap = pixel // out_2, tap // kernel_2
        if RANK == 2:
            at, there = _axis(pixel, tap, stride_1, padding_1, dilation_1, size_1, BACKWARD)
            return offset + at * step_1, inside & there
        else:
            at, there = _axis(pixel % out_1, tap % kernel_1, stride_1, padding_1, dilation_1, size_1, BACKWARD)
            offset += at * step_1
            inside = inside & there
            at, there = _axis(pixel // out_1, tap // kernel_1, stride_0, padding_0, dilation_0, size_0, BACKWARD)
            return offset + at * step_0, inside & there


def window_facts(x: Any, out: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> list[int]:
    """What `window` takes, for three dimensions of which the first may be idle."""
    lead = 3 - len(kernel)
    ones, none = (1,) * lead, (0,) * lead
    sizes = [*ones, *x.shape[2:], *none, *x.strides[2:]]
    return [*(ones + out)[1:], *(ones + kernel)[1:], *sizes, *ones, *stride, *none, *padding, *ones, *dilation]


def wide(*arrays: Any) -> bool:
    """Whether offsets into one of the arrays take 64 bits."""
    return any(needs_int64(a.shape, [a.strides]) for a in arrays)


# By dtype ("" stands for halves): BLOCK_M, BLOCK_N, BLOCK_K, warps, stages. The first of each is the rule.
Tiles = dict[str, tuple[tuning.Choice, ...]]


def product_tile(
    family: str, tiles: Tiles, x: Any, sizes: tuple[int, int, int], run: Callable[[tuning.Choice], None]
) -> tuning.Choice:
    """The tile, warps and stages of an implicit product of these sizes."""
    of = tiles.get(x.dtype.name, tiles[""])
    if interpreting():
        of = ((1024, 128, 256, 4, 2),)
    rule, *others = [fit(choice, sizes) for choice in of]
    return tuning.choose(family, x, sizes, rule, others, run)
