"""The weights of attention as a matrix of their own, where no fused kernel serves: softmax(scores * scale + mask).

Reads scores and the mask twice, once for each row's largest and its total (Milakov and Gimelshein, 2018), and writes
the weights once; computes in float32, or float64 for float64.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels.copy import contiguous
from naiad.kernels.launch import Scalar, launch, next_power_of_2
from naiad.kernels.rows import rows_and_columns


@triton.jit
def _scores(
    scores_row, mask_row, j, n, query, mask_stride, scale, CAUSAL: tl.constexpr, MASK: tl.constexpr, ACC: tl.constexpr
):
    """Scores of one query, -infinity where it must not look."""
    lowest = tl.full([1], float("-inf"), ACC)
    x = tl.load(scores_row + j, mask=j < n, other=0).to(ACC) * scale
    if MASK == "bool":
        x = tl.where(tl.load(mask_row + j * mask_stride, mask=j < n, other=0) != 0, x, lowest)
    elif MASK == "added":
        x += tl.load(mask_row + j * mask_stride, mask=j < n, other=0).to(ACC)
    if CAUSAL:
        x = tl.where(j <= query, x, lowest)
    return tl.where(j < n, x, lowest)


@triton.jit
def _weights(
    out_ptr, scores_ptr, mask_ptr, n, length, scale, mask_1, mask_stride_0, mask_stride_1, mask_stride,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    query = tl.program_id(0) % length
    mask_row = mask_ptr + (row // mask_1) * mask_stride_0 + (row % mask_1) * mask_stride_1
    scores_row = scores_ptr + row * n
    factor = scale.to(ACC)
    largest = tl.full([1], float("-inf"), ACC)
    total = tl.zeros([1], ACC)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        x = _scores(scores_row, mask_row, j, n, query, mask_stride, factor, CAUSAL, MASK, ACC)
        new = tl.maximum(largest, tl.max(x, 0))
        safe = tl.where(new == float("-inf"), tl.zeros([1], ACC), new)  # nothing but -infinity so far
        total = total * libdevice.exp(largest - safe) + tl.sum(libdevice.exp(x - safe), 0)
        largest = new
    if MASK != "none":  # a query that may look nowhere has weights of 0
        hidden = (largest == float("-inf")) & (total == 0)
        largest = tl.where(hidden, tl.zeros([1], ACC), largest)
        total = tl.where(hidden, total + 1, total)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        x = _scores(scores_row, mask_row, j, n, query, mask_stride, factor, CAUSAL, MASK, ACC)
        y = libdevice.exp(x - largest) / total
        tl.store(out_ptr + row * n + j, y.to(out_ptr.dtype.element_ty), mask=j < n)


def attention_weights(out: Any, scores: Any, mask: Any = None, *, scale: float, causal: bool) -> None:
    """out (..., L, S) = softmax(scores * scale + mask) over S. mask: broadcasts; bool, or floats that are added."""
    if prod(out.shape) == 0:
        return
    length, n = out.shape[-2:]
    kind, seen, sizes, steps = "none", out, (1, 1), (0, 0, 0)
    if mask is not None:
        kind = "bool" if mask.dtype.name == "bool" else "added"
        seen = mask.broadcast(out.shape)
        last = (len(out.shape) - 1,)
        found = rows_and_columns(out.shape, last, (seen.strides,))
        if found is None:
            seen = contiguous(seen)
            found = rows_and_columns(out.shape, last, (seen.strides,))
            assert found is not None
        sizes, _, (strides,) = found
        steps = (strides[0], strides[1], strides[3])
    acc = "float64" if out.dtype.name == "float64" else "float32"
    facts = {"CAUSAL": causal, "MASK": kind, "ACC": getattr(tl, acc), "BLOCK": min(next_power_of_2(n), 1024)}
    numbers = (n, length, Scalar(float(scale), acc), sizes[1], *steps)
    launch(_weights, (prod(out.shape) // n,), out, contiguous(scores), seen, *numbers, **facts)
