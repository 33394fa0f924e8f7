"""Convolution on channels that lie together, for many channels: products of rows, loaded 16 bytes at a time.

The sums are those of `conv.py`. Here images are read as (N, *S, C) and weights as (O, *K, C), which are copied to that
order where they do not lie so: one tap of a window is then C numbers side by side, and a tile of them is loaded as a
tile of a matrix is, so that the compiler can load ahead into shared memory and multiply from there. It takes 2 N P O C
K / groups operations, and beyond them moves x and w once more each; `worthwhile` says when that pays.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels import interpreting, reduce, tuning
from naiad.kernels.copy import copy
from naiad.kernels.geometry import Shape
from naiad.kernels.launch import cdiv, launch
from naiad.kernels.precision import conv_precision as precision
from naiad.kernels.rows import widened
from naiad.kernels.sliding import Tiles, product_tile, wide, window, window_facts

ALIKE = 16  # channels come in such numbers, or rows do not start where 16 bytes can be loaded
PRODUCTS = 1 << 27  # multiplications from which on copies cost less than they save
TILES: Tiles = {
    "float32": ((128, 64, 32, 8, 3), (64, 64, 32, 4, 3), (64, 128, 32, 4, 3), (128, 128, 32, 8, 3), (64, 64, 64, 4, 3)),
    "": (
        *((128, 128, 64, 8, 3), (128, 128, 64, 4, 4), (128, 256, 64, 8, 3), (256, 128, 64, 8, 3)),
        *((128, 64, 64, 4, 4), (64, 128, 64, 4, 4), (64, 64, 64, 4, 4), (128, 128, 32, 4, 4)),
    ),
}


def worthwhile(x: Any, m: int, n: int, k: int, *channels: int) -> bool:
    """Whether to take this way for m x n sums of k products of channels of these numbers per group."""
    fits = all(c % ALIKE == 0 for c in channels) and x.dtype.name in ("float32", "bfloat16", "float16")
    return fits and m * n * k >= PRODUCTS


@triton.jit
def _conv_rows(
    out_ptr, x_ptr, w_ptr, bias_ptr, M, N, C, taps, pixels, x_batch, w_row, bias_step,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    RANK: tl.constexpr, BACKWARD: tl.constexpr, BIAS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A tile of (pixels of all images) x (N channels of a group), summed over the taps and C channels of each."""
    tiles_n = tl.cdiv(N, BLOCK_N)
    i = (tl.program_id(0) // tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = (tl.program_id(0) % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    group = tl.program_id(1)
    c = tl.arange(0, BLOCK_K)
    if WIDE:
        i, j, group = i.to(tl.int64), j.to(tl.int64), group.to(tl.int64)
    image, pixel = i // pixels, i % pixels
    row = image * x_batch + group * C
    w_tile = w_ptr + ((group * N + j % N) * w_row)[None, :] + c[:, None]  # columns past the end are not stored
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    blocks = tl.cdiv(C, BLOCK_K)
    for step in range(taps * blocks):
        tap, first = step // blocks, (step % blocks) * BLOCK_K
        offset, inside = window(
            pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
            stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
            RANK, BACKWARD,
        )  # fmt: skip
        there = first + c < C
        a_tile = x_ptr + (row + offset)[:, None] + (first + c)[None, :]
        a = tl.load(a_tile, mask=(inside & (i < M))[:, None] & there[None, :], other=0)
        b = tl.load(w_tile + tap * C + first, mask=there[:, None], other=0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    if BIAS:
        acc += tl.load(bias_ptr + (group * N + j % N) * bias_step).to(tl.float32)[None, :]
    channels = N * tl.num_programs(1)
    target = out_ptr + ((image * channels + group * N) * pixels + pixel)[:, None] + (j * pixels)[None, :]
    tl.store(target, acc.to(out_ptr.dtype.element_ty), mask=(i < M)[:, None] & (j < N)[None, :])


@triton.jit
def _conv_rows_weight_grad(
    out_ptr, g_ptr, x_ptr, M, N, K, taps, pixels, share, g_row, x_batch,
    out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
    stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
    RANK: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A tile of M channels of g x N channels of x of a group, at one tap, over a share of the K pixels."""
    tiles_n = tl.cdiv(N, BLOCK_N)
    tap = tl.program_id(0) % taps
    tile = tl.program_id(0) // taps
    i = (tile // tiles_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = (tile % tiles_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    group, split = tl.program_id(1), tl.program_id(2)
    if WIDE:
        i, j, group, split = i.to(tl.int64), j.to(tl.int64), group.to(tl.int64), split.to(tl.int64)
    first = split * share
    last = tl.minimum(first + share, K)
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(first, last, BLOCK_K):
        k = start + widened(tl.arange(0, BLOCK_K), WIDE)
        image, pixel = k // pixels, k % pixels
        a_tile = g_ptr + (k * g_row + group * M)[None, :] + i[:, None]
        a = tl.load(a_tile, mask=(i < M)[:, None] & (k < last)[None, :], other=0)
        offset, inside = window(
            pixel, tap, out_1, out_2, kernel_1, kernel_2, size_0, size_1, size_2, step_0, step_1, step_2,
            stride_0, stride_1, stride_2, padding_0, padding_1, padding_2, dilation_0, dilation_1, dilation_2,
            RANK, False,
        )  # fmt: skip
        b_tile = x_ptr + (image * x_batch + offset + group * N)[:, None] + j[None, :]
        b = tl.load(b_tile, mask=(inside & (k < last))[:, None] & (j < N)[None, :], other=0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    channels = M * tl.num_programs(1)
    target = out_ptr + ((split * channels + group * M + i) * (N * taps))[:, None] + (j * taps + tap)[None, :]
    tl.store(target, acc.to(out_ptr.dtype.element_ty), mask=(i < M)[:, None] & (j < N)[None, :])


def run(
    out: Any, x: Any, w: Any, bias: Any, groups: int, backward: bool, stride: Shape, padding: Shape, dilation: Shape
) -> None:
    """out (N, O, *P) = x (N, C, *S) with w, plus bias; backward: the gradient of an input, of which x is the output's.

    w is (O, C / groups, *K) forward and (C, O / groups, *K) backward, as it lies with the layer.
    """
    x, channels, columns = channels_last(x), x.shape[1] // groups, out.shape[1] // groups
    kernel = w.shape[2:]
    pixels, taps = prod(out.shape[2:]), prod(kernel)
    w = _tap_rows(w, groups, backward)
    m = out.shape[0] * pixels

    def start(choice: tuning.Choice) -> None:
        block_m, block_n, block_k, warps, stages = choice
        launch(
            _conv_rows, (cdiv(m, block_m) * cdiv(columns, block_n), groups), out, x, w, bias or x, m, columns,
            channels, taps, pixels, x.strides[0], taps * channels, bias.strides[0] if bias is not None else 0,
            *window_facts(x, out.shape[2:], kernel, stride, padding, dilation),
            num_warps=warps, num_stages=stages, RANK=len(kernel), BACKWARD=backward, BIAS=bias is not None,
            PRECISION=precision(x.dtype.name), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
            WIDE=wide(out, x, w),
        )  # fmt: skip

    family = "conv_rows_input_grad" if backward else "conv_rows"
    start(product_tile(family, TILES, x, (m, columns, channels), start))


def weight_grad(
    out: Any, g: Any, x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> None:
    """out (O, C / groups, *K) = the gradient of w, from g (N, O, *P) and x (N, C, *S)."""
    g, x, window_shape = channels_last(g), channels_last(x), g.shape[2:]
    rows, columns, taps, pixels = out.shape[0] // groups, out.shape[1], prod(kernel), prod(window_shape)
    terms = g.shape[0] * pixels

    def start(choice: tuning.Choice) -> None:
        block_m, block_n, block_k, warps, stages = choice
        tiles = cdiv(rows, block_m) * cdiv(columns, block_n) * taps
        splits = 1 if interpreting() else max(min(cdiv(264, tiles * groups), cdiv(terms, 8 * block_k)), 1)
        share = cdiv(cdiv(terms, splits), block_k) * block_k
        target = out if splits == 1 else out.new((splits, prod(out.shape)), np.dtype(np.float32))
        launch(
            _conv_rows_weight_grad, (tiles, groups, splits), target, g, x, rows, columns, terms, taps, pixels, share,
            g.shape[1], x.strides[0], *window_facts(x, window_shape, kernel, stride, padding, dilation),
            num_warps=warps, num_stages=stages, RANK=len(kernel), PRECISION=precision(x.dtype.name),
            BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, WIDE=wide(out, x, g),
        )  # fmt: skip
        if splits > 1:
            reduce.sum(out.view((prod(out.shape),), (1,)), target, dim=(0,))

    start(product_tile("conv_rows_weight_grad", TILES, x, (rows, columns, terms), start))


def channels_last(x: Any) -> Any:
    """x (N, C, *S) itself if it lies as (N, *S, C) does, else a copy that does."""
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    steps = [prod(shape[d + 1 :]) for d in range(len(shape))]
    strides = (steps[0], steps[-1], *steps[1:-1])
    if all(n == 1 or s == t for n, s, t in zip(x.shape, x.strides, strides, strict=True)):
        return x.view(x.shape, strides)
    out = x.new(shape, x.dtype).view(x.shape, strides)
    copy(out, x)
    return out


def _tap_rows(w: Any, groups: int, backward: bool) -> Any:
    """The weights as rows of (taps, channels summed over), one for each channel that is made."""
    a, b, taps = w.shape[0] // groups, w.shape[1], w.shape[2:]
    of_group, made, summed = a * w.strides[0], (b, w.strides[1]), (a, w.strides[0])
    if not backward:
        made, summed = summed, made
    shape = (groups, made[0], *taps, summed[0])
    out = w.new(shape, w.dtype)
    copy(out, w.view(shape, (of_group, made[1], *w.strides[2:], summed[1])))
    return out
