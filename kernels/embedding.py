"""Rows of a table by number, their gradient, and one-hot vectors.

embedding reads the rows that are asked for and writes them. Its gradient adds each row of g to the table's: by atomics
in float32 (float64 for float64), so the order of additions, hence the last bit, is free; halves are rounded once at the
end. one_hot writes its result and reads the numbers.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import maths
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.indexing import index_select
from naiad.kernels.launch import Scalar, block_for, cdiv, launch, next_power_of_2

BLOCK = 1024


@triton.jit
def _flat(BLOCK: tl.constexpr, WIDE: tl.constexpr):
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    return start * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _embedding_grad(
    out_ptr, g_ptr, index_ptr, counts_ptr, numel, width, rows, padding,
    COUNTS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out[index[i]] += g[i], divided by how often the index occurs if COUNTS; `padding` gets nothing."""
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat // width, mask=inside, other=0).to(tl.int64)
    valid = inside & (i >= 0) & (i < rows)
    tl.device_assert(valid | ~inside, "index out of range in the gradient of embedding")
    g = tl.load(g_ptr + flat, mask=inside, other=0).to(out_ptr.dtype.element_ty)
    if COUNTS:
        g = maths.divide(g, tl.load(counts_ptr + i, mask=valid, other=1).to(g.dtype))
    tl.atomic_add(out_ptr + i * width + flat % width, g, mask=valid & (i != padding), sem="relaxed")


@triton.jit
def _count(counts_ptr, index_ptr, numel, rows, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat, mask=inside, other=0)
    tl.atomic_add(counts_ptr + i, tl.full([BLOCK], 1, tl.int32), mask=inside & (i >= 0) & (i < rows), sem="relaxed")


@triton.jit
def _row_scale(
    out_ptr, index_ptr, counts_ptr, numel, padding, COUNTS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat, mask=inside, other=0).to(tl.int64)
    scale = tl.full([BLOCK], 1, tl.float32)
    if COUNTS:
        scale = maths.divide(scale, tl.load(counts_ptr + i, mask=inside, other=1).to(tl.float32))
    tl.store(out_ptr + flat, tl.where(i == padding, tl.zeros([BLOCK], tl.float32), scale), mask=inside)


@triton.jit
def _one_hot(out_ptr, index_ptr, numel, classes, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    flat = _flat(BLOCK, WIDE)
    inside = flat < numel
    i = tl.load(index_ptr + flat // classes, mask=inside, other=0)
    tl.device_assert((~inside) | ((i >= 0) & (i < classes)), "Class values must lie in [0, num_classes) in one_hot")
    tl.store(out_ptr + flat, (flat % classes == i).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _renorm(
    out_ptr, weight_ptr, index_ptr, width, rows, max_norm, p, KIND: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr
):
    """The row that index[program] names, scaled down to a norm of at most max_norm; a row may be named twice."""
    row = tl.load(index_ptr + tl.program_id(0)).to(tl.int64)
    tl.device_assert((row >= 0) & (row < rows), "index out of range in embedding")
    row = tl.minimum(tl.maximum(row, 0), rows - 1)
    total = tl.full([BLOCK], float("inf") if KIND == "min" else 0, ACC)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.abs(tl.load(weight_ptr + row * width + i, mask=i < width, other=0).to(ACC))
        if KIND == "max":
            total = tl.maximum(total, x)
        elif KIND == "min":
            total = tl.where(i < width, tl.minimum(total, x), total)
        elif KIND == "count":
            total += (x != 0).to(ACC)
        elif KIND == "square":
            total += x * x
        else:
            total += tl.where(x > 0, libdevice.pow(x, tl.zeros([BLOCK], ACC) + p.to(ACC)), x)
    if KIND == "max":
        norm = tl.max(total, 0)
    elif KIND == "min":
        norm = tl.min(total, 0)
    else:
        norm = tl.sum(total, 0)
    if KIND == "square":
        norm = maths.sqrt(norm)
    elif KIND == "power":
        norm = libdevice.pow(norm, 1 / p.to(ACC))
    scale = tl.where(norm > max_norm.to(ACC), max_norm.to(ACC) / (norm + 1e-7), norm * 0 + 1)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(weight_ptr + row * width + i, mask=i < width, other=0)
        scaled = tl.where(scale == 1, x.to(ACC), x.to(ACC) * scale).to(x.dtype)
        tl.store(out_ptr + row * width + i, scaled, mask=i < width)


def renorm(out: Any, weight: Any, index: Any, *, max_norm: float, norm_type: float) -> None:
    """out = weight (V, D), where the rows that index names are scaled down to a norm of at most max_norm."""
    copy(out, weight)
    numel, (rows, width) = prod(index.shape), weight.shape
    if numel == 0 or width == 0:
        return
    acc = "float64" if weight.dtype.name == "float64" else "float32"
    kind = {2.0: "square", 0.0: "count", inf: "max", -inf: "min"}.get(float(norm_type), "power")
    numbers = (width, rows, Scalar(float(max_norm), acc), Scalar(float(norm_type), acc))
    launch(
        _renorm, (numel,), out, contiguous(weight), contiguous(index), *numbers, KIND=kind, ACC=getattr(tl, acc),
        BLOCK=min(next_power_of_2(width), 1024),
    )  # fmt: skip


def embedding(out: Any, weight: Any, index: Any, *, padding_idx: int | None, by_frequency: bool) -> None:
    """out (..., D) = the rows of weight (V, D) that index (...) names."""
    index = contiguous(index)
    numel = prod(index.shape)
    flat = out.view((numel, weight.shape[1]), (weight.shape[1], 1))
    index_select(flat, weight, index.view((numel,), (1,)), dim=0)


def embedding_grad(out: Any, g: Any, index: Any, *, rows: int, padding_idx: int | None, by_frequency: bool) -> None:
    """out (rows, D) = each row of g (..., D) added to the row that index (...) names."""
    double = out.dtype.name == "float64"
    total = out if double or out.dtype.name == "float32" else out.new(out.shape, np.dtype(np.float32))
    fill(total, value=0)
    g, index = contiguous(g), contiguous(index)
    numel = prod(g.shape)
    if numel:
        counts = _counts(index, rows) if by_frequency else index
        block = block_for(numel, BLOCK)
        launch(
            _embedding_grad, (cdiv(numel, block),), total, g, index, counts, numel, g.shape[-1], rows,
            -1 if padding_idx is None else padding_idx, COUNTS=by_frequency, BLOCK=block,
            WIDE=max(needs_int64((prod(a.shape),), [(1,)]) for a in (g, out)),
        )  # fmt: skip
    if total is not out:
        copy(out, total)


def row_scale(out: Any, index: Any, *, rows: int, padding_idx: int | None, by_frequency: bool) -> None:
    """out (..., 1) = what a row's gradient is multiplied by: 0 for padding, 1 / count if by_frequency."""
    numel = prod(index.shape)
    if numel == 0:
        return
    index = contiguous(index)
    counts = _counts(index, rows) if by_frequency else index
    block = block_for(numel, BLOCK)
    launch(
        _row_scale, (cdiv(numel, block),), out, index, counts, numel, -1 if padding_idx is None else padding_idx,
        COUNTS=by_frequency, BLOCK=block, WIDE=needs_int64((numel,), [(1,)]),
    )  # fmt: skip


def _counts(index: Any, rows: int) -> Any:
    """How often each row is named."""
    counts = index.new((rows,), np.dtype(np.int32))
    fill(counts, value=0)
    numel = prod(index.shape)
    block = block_for(numel, BLOCK)
    wide = needs_int64((numel,), [(1,)])
    launch(_count, (cdiv(numel, block),), counts, index, numel, rows, BLOCK=block, WIDE=wide)
    return counts


def one_hot(out: Any, index: Any, *, classes: int) -> None:
    """out (..., classes) = 1 where the class that index (...) names stands, else 0."""
    numel = prod(out.shape)
    if numel == 0:
        return
    block = block_for(numel, BLOCK)
    wide = needs_int64((numel,), [(1,)])
    launch(
        _one_hot, (cdiv(numel, block),), out, contiguous(index), numel, out.shape[-1], BLOCK=block, WIDE=wide
    )  # fmt: skip
