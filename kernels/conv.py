"""Convolution in one, two and three dimensions by implicit matrix products, operands of any strides.

forward:      out[n, o, p]   = bias[o] + sum over c, k of x[n, c, p * stride - padding + k * dilation] * w[o, c, k]
input grad:   dx[n, c, s]    = sum over o, k of g[n, o, (s + padding - k * dilation) / stride] * w[o, c, k]
weight grad:  dw[o, c, k]    = sum over n, p of g[n, o, p] * x[n, c, p * stride - padding + k * dilation]

Each is a product of matrices of which one is never written down: its elements are loaded from where the window puts
them, 0 outside. 2 N P O C K / groups operations each; x, w and out are moved about once, x again from L2 for each tap.
Halves multiply on tensor cores and accumulate in float32. The first two are one kernel, which walks the windows forward
or backward. The third splits its long sums; a second launch adds the parts up, in one order.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels import conv_rows, interpreting, reduce, tuning
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import Shape
from naiad.kernels.launch import cdiv, launch
from naiad.kernels.precision import conv_precision as precision
from naiad.kernels.rows import accumulator, widened
from naiad.kernels.sliding import Tiles, product_tile, wide, window, window_facts

TILES: Tiles = {
    "float64": ((32, 32, 16, 4, 2), (64, 32, 16, 4, 2), (64, 32, 16, 8, 2)),
    "float32": ((64, 64, 32, 8, 3), (64, 64, 32, 4, 3), (128, 64, 32, 8, 3), (64, 32, 32, 4, 3), (64, 64, 16, 4, 3)),
    "": ((128, 64, 32, 8, 3), (128, 128, 32, 8, 3), (128, 64, 64, 4, 3), (64, 64, 64, 4, 3), (64, 32, 32, 4, 3)),
}


@triton.jit
def _conv(
    out_ptr, x_ptr, w_ptr, bias_ptr, M, N, C, taps, pixels, x_batch, x_channel, w_col, w_channel, w_tap, w_group,
    bias_step, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    RANK: tl.constexpr, BACKWARD: tl.constexpr, BIAS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A tile of (pixels of all images) x (N channels of a group), summed over C channels and their taps."""
    tiles_n = tl.cdiv(N, BLOCK_N)
    i = (tl.program_id(0) // tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = (tl.program_id(0) % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    group = tl.program_id(1)
    if WIDE:
        i, j, group = i.to(tl.int64), j.to(tl.int64), group.to(tl.int64)
    image, pixel = i // pixels, i % pixels
    x_row = x_ptr + (image * x_batch + group * C * x_channel)[:, None]
    w_column = w_ptr + group * w_group + (j * w_col)[None, :]
    acc = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    for start in range(0, C * taps, BLOCK_K):
        k = start + widened(tl.arange(0, BLOCK_K), WIDE)
        channel, tap = k // taps, k % taps
        offset, inside = window(
            pixel[:, None], tap[None, :], out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1,
            step_2, stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
            RANK, BACKWARD,
        )  # fmt: skip
        mask = inside & (i < M)[:, None] & (k < C * taps)[None, :]
        a = tl.load(x_row + offset + (channel * x_channel)[None, :], mask=mask, other=0)
        mask_w = (k < C * taps)[:, None] & (j < N)[None, :]
        b = tl.load(w_column + (channel * w_channel + tap * w_tap)[:, None], mask=mask_w, other=0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
    if BIAS:
        acc += tl.load(bias_ptr + (group * N + j) * bias_step, mask=j < N, other=0).to(ACC)[None, :]
    channels = N * tl.num_programs(1)
    target = out_ptr + ((image * channels + group * N) * pixels + pixel)[:, None] + (j * pixels)[None, :]
    tl.store(target, acc.to(out_ptr.dtype.element_ty), mask=(i < M)[:, None] & (j < N)[None, :])


@triton.jit
def _conv_weight_grad(
    out_ptr, g_ptr, x_ptr, M, N, K, taps, pixels, share, g_batch, g_channel, g_pixel, x_batch, x_channel,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    RANK: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A tile of M channels of g x (N channels of x and their taps) of a group, over a share of the K pixels."""
    tiles_n = tl.cdiv(N, BLOCK_N)
    i = (tl.program_id(0) // tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = (tl.program_id(0) % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    group, split = tl.program_id(1), tl.program_id(2)
    if WIDE:
        i, j, group, split = i.to(tl.int64), j.to(tl.int64), group.to(tl.int64), split.to(tl.int64)
    channel, tap = j // taps, j % taps
    g_row = g_ptr + ((group * M + i) * g_channel)[:, None]
    x_column = x_ptr + (group * (N // taps) * x_channel + channel * x_channel)[None, :]
    acc = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    last = tl.minimum((split + 1) * share, K)
    for start in range(split * share, last, BLOCK_K):
        k = start + widened(tl.arange(0, BLOCK_K), WIDE)
        image, pixel = k // pixels, k % pixels
        mask = (i < M)[:, None] & (k < last)[None, :]
        a = tl.load(g_row + (image * g_batch + pixel * g_pixel)[None, :], mask=mask, other=0)
        offset, inside = window(
            pixel[:, None], tap[None, :], out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1,
            step_2, stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
            RANK, False,
        )  # fmt: skip
        mask_x = inside & (k < last)[:, None] & (j < N)[None, :]
        b = tl.load(x_column + (image * x_batch)[:, None] + offset, mask=mask_x, other=0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
    channels = M * tl.num_programs(1)
    target = out_ptr + ((split * channels + group * M + i) * N)[:, None] + j[None, :]
    tl.store(target, acc.to(out_ptr.dtype.element_ty), mask=(i < M)[:, None] & (j < N)[None, :])


def conv(
    out: Any, x: Any, w: Any, bias: Any = None, *, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> None:
    """out (N, O, *P) = x (N, C, *S) with w (O, C / groups, *K), plus bias (O,)."""
    if prod(out.shape) == 0:
        return
    if prod(w.shape) == 0:
        fill(out, value=0) if bias is None else copy(out, bias.view((*bias.shape, *(1,) * len(stride)),
                                                                     (*bias.strides, *(0,) * len(stride))))  # fmt: skip
        return
    _run(out, x, w, bias, groups, False, stride, padding, dilation)


def conv_input_grad(
    out: Any, g: Any, w: Any, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> None:
    """out (N, C, *S) = the gradient of x, from g (N, O, *P) and w (O, C / groups, *K)."""
    if prod(out.shape) == 0:
        return
    if prod(w.shape) == 0 or prod(g.shape) == 0:
        fill(out, value=0)
        return
    _run(out, g, w, None, groups, True, stride, padding, dilation)


def conv_weight_grad(
    out: Any, g: Any, x: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> None:
    """out (O, C / groups, *K) = the gradient of w, from g (N, O, *P) and x (N, C, *S)."""
    if prod(out.shape) == 0:
        return
    if prod(g.shape) == 0:
        fill(out, value=0)
        return
    rows, taps, pixels = out.shape[0] // groups, prod(kernel), prod(g.shape[2:])
    columns, terms = out.shape[1] * taps, g.shape[0] * pixels
    if conv_rows.worthwhile(x, rows * groups, columns, terms, rows, out.shape[1]):
        conv_rows.weight_grad(out, g, x, kernel, stride, padding, dilation, groups)
        return
    g = _even(g)
    sizes = (rows, columns, terms)
    acc = accumulator(x.dtype.name)
    kind = np.dtype(np.float64 if acc == tl.float64 else np.float32)

    def run(choice: tuning.Choice) -> None:
        block_m, block_n, block_k, warps, stages = choice
        tiles = cdiv(rows, block_m) * cdiv(columns, block_n)
        splits = 1 if interpreting() else max(min(cdiv(264, tiles * groups), cdiv(terms, 8 * block_k)), 1)
        share = cdiv(cdiv(terms, splits), block_k) * block_k
        target = out if splits == 1 else out.new((splits, prod(out.shape)), kind)
        launch(
            _conv_weight_grad, (tiles, groups, splits), target, g, x, rows, columns, terms, taps, pixels, share,
            *g.strides[:2], g.strides[-1], *x.strides[:2],
            *window_facts(x, g.shape[2:], kernel, stride, padding, dilation),
            num_warps=warps, num_stages=stages, RANK=len(kernel), ACC=acc, PRECISION=precision(x.dtype.name),
            BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, WIDE=wide(out, x, g),
        )  # fmt: skip
        if splits > 1:
            reduce.sum(out.view((prod(out.shape),), (1,)), target, dim=(0,))

    run(product_tile("conv_weight_grad", TILES, x, sizes, run))


def _run(
    out: Any, x: Any, w: Any, bias: Any, groups: int, backward: bool, stride: Shape, padding: Shape, dilation: Shape
) -> None:
    kernel, rank = w.shape[2:], len(stride)
    channels, columns = x.shape[1] // groups, out.shape[1] // groups
    pixels, taps = prod(out.shape[2:]), prod(kernel)
    m = out.shape[0] * pixels
    if conv_rows.worthwhile(x, m, columns * groups, channels * taps, channels):
        conv_rows.run(out, x, w, bias, groups, backward, stride, padding, dilation)
        return
    w = _even(w)
    w_col, w_channel = (w.strides[1], w.strides[0]) if backward else w.strides[:2]
    w_group = w.shape[0] // groups * w.strides[0]

    def run(choice: tuning.Choice) -> None:
        block_m, block_n, block_k, warps, stages = choice
        launch(
            _conv, (cdiv(m, block_m) * cdiv(columns, block_n), groups), out, x, w, bias or x, m, columns, channels,
            taps, pixels, *x.strides[:2], w_col, w_channel, w.strides[-1], w_group,
            bias.strides[0] if bias is not None else 0,
            *window_facts(x, out.shape[2:], kernel, stride, padding, dilation),
            num_warps=warps, num_stages=stages, RANK=rank, BACKWARD=backward, BIAS=bias is not None,
            ACC=accumulator(x.dtype.name), PRECISION=precision(x.dtype.name),
            BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, WIDE=wide(out, x, w),
        )  # fmt: skip

    run(product_tile("conv_input_grad" if backward else "conv", TILES, x, (m, columns, channels * taps), run))


def _even(x: Any) -> Any:
    """x with its spatial dimensions evenly strided, so that one number counts through them."""
    shape, strides = x.shape[2:], x.strides[2:]
    for d in range(len(shape) - 1):
        if shape[d] != 1 and strides[d] != shape[d + 1] * strides[d + 1]:
            return contiguous(x)
    return x
