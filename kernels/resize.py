"""Resizing along the last one to three dimensions by nearest, linear or cubic interpolation, and the transpose of that.

What a position of the result takes from the input (which elements, times what) is the same for every row, so a small
kernel writes it down per dimension: positions are computed in float64 (nearest: float32), and the large kernels read
them from cache. Forward is one kernel, one element of the result a lane; backward is one kernel per dimension, in which
each element of the input's gradient finds the results that took from it by halving, so that nothing is added atomically
and the sum comes out the same every time. About 2 * taps ** dimensions operations per element.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, fill
from naiad.kernels.launch import Scalar, block_for, cdiv, launch

BLOCK = 256
NEAREST, EXACT, LINEAR, CUBIC = range(4)
TAPS = {NEAREST: 1, EXACT: 1, LINEAR: 2, CUBIC: 4}
Shape = tuple[int, ...]


@triton.jit
def _tap(index_ptr, weight_ptr, o, out, n, tap, index, weight, TAPS: tl.constexpr):
    index = tl.minimum(tl.maximum(index, 0), n - 1)
    tl.store(index_ptr + o * TAPS + tap, index, mask=o < out)
    tl.store(weight_ptr + o * TAPS + tap, weight.to(weight_ptr.dtype.element_ty), mask=o < out)


@triton.jit
def _near(x):
    """Keys' kernel of cubic convolution with a = -3/4 (Keys, 1981) for |x| < 1."""
    return (1.25 * x - 2.25) * x * x + 1.0


@triton.jit
def _far(x):
    """The same for 1 <= |x| < 2."""
    return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0


@triton.jit
def _write_taps(index_ptr, weight_ptr, n, out, ratio, shift, MODE: tl.constexpr, BLOCK: tl.constexpr):
    """For each position of the result: which elements of the input it takes, and their weights."""
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = (o.to(ratio.dtype) + shift) * ratio
    if MODE < 2:
        low = tl.floor(at).to(tl.int32)
        _tap(index_ptr, weight_ptr, o, out, n, 0, low, at, 1)
    else:
        at = at - shift
        if MODE == 2:
            at = tl.maximum(at, 0.0)
            low = tl.minimum(tl.floor(at).to(tl.int32), n - 1)
            weight = tl.minimum(at - low.to(at.dtype), 1.0)
            _tap(index_ptr, weight_ptr, o, out, n, 0, low, 1.0 - weight, 2)
            _tap(index_ptr, weight_ptr, o, out, n, 1, low + 1, weight, 2)
        else:
            low = tl.floor(at).to(tl.int32)
            t = at - low.to(at.dtype)
            _tap(index_ptr, weight_ptr, o, out, n, 0, low - 1, _far(t + 1.0), 4)
            _tap(index_ptr, weight_ptr, o, out, n, 1, low, _near(t), 4)
            _tap(index_ptr, weight_ptr, o, out, n, 2, low + 1, _near(1.0 - t), 4)
            _tap(index_ptr, weight_ptr, o, out, n, 3, low + 2, _far(2.0 - t), 4)


@triton.jit
def _resize(
    out_ptr, x_ptr, index_0, weight_0, index_1, weight_1, index_2, weight_2, n_0, n_1, n_2, out_0, out_1, out_2, numel,
    TAPS_0: tl.constexpr, TAPS_1: tl.constexpr, TAPS_2: tl.constexpr, WEIGHED: tl.constexpr, ACC: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out (rows, out_0, out_1, out_2) of x (rows, n_0, n_1, n_2)."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    there = i < numel
    o_2, rest = i % out_2, i // out_2
    o_1, rest = rest % out_1, rest // out_1
    o_0, row = rest % out_0, rest // out_0
    base = x_ptr + row * n_0 * n_1 * n_2
    if WEIGHED:
        total = tl.zeros([BLOCK], ACC)
        for c in tl.static_range(TAPS_2):
            at_2 = tl.load(index_2 + o_2 * TAPS_2 + c, mask=there, other=0)
            sum_2 = tl.zeros([BLOCK], ACC)
            for b in tl.static_range(TAPS_1):
                at_1 = tl.load(index_1 + o_1 * TAPS_1 + b, mask=there, other=0)
                sum_1 = tl.zeros([BLOCK], ACC)
                for a in tl.static_range(TAPS_0):
                    at_0 = tl.load(index_0 + o_0 * TAPS_0 + a, mask=there, other=0)
                    place = (at_0.to(row.dtype) * n_1 + at_1) * n_2 + at_2
                    x = tl.load(base + place, mask=there, other=0).to(ACC)
                    sum_1 += x * tl.load(weight_0 + o_0 * TAPS_0 + a, mask=there, other=0)
                sum_2 += sum_1 * tl.load(weight_1 + o_1 * TAPS_1 + b, mask=there, other=0)
            total += sum_2 * tl.load(weight_2 + o_2 * TAPS_2 + c, mask=there, other=0)
        tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=there)
    else:
        at_0 = tl.load(index_0 + o_0, mask=there, other=0).to(row.dtype)
        at_1 = tl.load(index_1 + o_1, mask=there, other=0)
        at_2 = tl.load(index_2 + o_2, mask=there, other=0)
        x = tl.load(base + (at_0 * n_1 + at_1) * n_2 + at_2, mask=there, other=0)
        tl.store(out_ptr + i, x, mask=there)


@triton.jit
def _first_after(index_ptr, out, bound, steps, TAP: tl.constexpr, TAPS: tl.constexpr):
    """The first position of the result whose tap TAP takes an element beyond `bound`."""
    low = tl.zeros_like(bound)
    high = low + out
    for _ in range(steps):
        middle = (low + high) // 2
        open_ = low < high
        beyond = tl.load(index_ptr + middle * TAPS + TAP, mask=open_, other=0) > bound
        high = tl.where(open_ & beyond, middle, high)
        low = tl.where(open_ & ~beyond, middle + 1, low)
    return low


@triton.jit
def _resize_back(
    out_ptr, g_ptr, index_ptr, weight_ptr, n, out, inner, numel, steps,
    TAPS: tl.constexpr, WEIGHED: tl.constexpr, ACC: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """(rows, n, inner), each the sum of what took from it in g (rows, out, inner)."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    there = i < numel
    place = (i // inner % n).to(tl.int32)
    first = _first_after(index_ptr, out, place - 1, steps, TAPS - 1, TAPS)
    last = _first_after(index_ptr, out, place, steps, 0, TAPS)
    most = tl.max(tl.where(there, last - first, 0), 0)
    g_row = g_ptr + i // inner // n * out * inner + i % inner
    total = tl.zeros([BLOCK], ACC)
    for k in range(most):
        o = first + k
        mask = there & (o < last)
        g = tl.load(g_row + o.to(i.dtype) * inner, mask=mask, other=0).to(ACC)
        if WEIGHED:
            weight = tl.zeros([BLOCK], ACC)
            for tap in tl.static_range(TAPS):
                mine = tl.load(index_ptr + o * TAPS + tap, mask=mask, other=0) == place
                weight += tl.load(weight_ptr + o * TAPS + tap, mask=mask & mine, other=0)
            g = g * weight
        total += g
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=there)


# ---------------------------------------------------------------- launching
def _taps(like: Any, n: int, out: int, scale: float | None, mode: int, align: bool) -> tuple[Any, Any]:
    """(indices, weights) of every position along one dimension."""
    double = like.dtype.name == "float64"
    taps = TAPS[mode]
    index = like.new((out * taps,), np.dtype(np.int32))
    weight = like.new((out * taps,), np.dtype(np.float64 if double else np.float32))
    ratio, shift = 1 / scale if scale else n / out, 0.5
    if mode == NEAREST or align:
        shift = 0.0
    if align:
        ratio = (n - 1) / (out - 1) if out > 1 else 0.0
    kind = "float32" if mode in (NEAREST, EXACT) else "float64"
    block = block_for(out, BLOCK)
    launch(
        _write_taps, (cdiv(out, block),), index, weight, n, out, Scalar(ratio, kind), Scalar(shift, kind),
        enable_fp_fusion=False, MODE=mode, BLOCK=block,
    )  # fmt: skip
    return index, weight


def _accumulator(x: Any) -> Any:
    return tl.float64 if x.dtype.name == "float64" else tl.float32


def _wide(*arrays: Any) -> bool:
    return max(prod(a.shape) for a in arrays) >= 2**31 - 2**17


def _forward(out: Any, x: Any, size: Shape, scales: tuple, mode: int, align: bool) -> None:
    numel = prod(out.shape)
    if numel == 0:
        return
    sources = x.shape[2:]
    tables = [_taps(x, n, m, s, mode, align) for n, m, s in zip(sources, size, scales, strict=True)]
    lead = 3 - len(size)
    taps = TAPS[mode]
    if lead:  # absent dimensions take their one element as it is
        one = _taps(x, 1, 1, None, NEAREST, False)
        fill(one[1], value=1)
        tables = [one] * lead + tables
    weighed = mode in (LINEAR, CUBIC)
    block = block_for(numel, BLOCK)
    launch(
        _resize, (cdiv(numel, block),), out, contiguous(x), *[t for table in tables for t in table],
        *(1,) * lead, *sources, *(1,) * lead, *size, numel,
        **{f"TAPS_{d}": 1 if d < lead else taps for d in range(3)},
        WEIGHED=weighed, ACC=_accumulator(x), WIDE=_wide(out, x), BLOCK=block,
    )  # fmt: skip


def _backward(out: Any, g: Any, source: Shape, size: Shape, scales: tuple, mode: int, align: bool) -> None:
    """One dimension after another, the first first; in between in float32, or float64."""
    if prod(out.shape) == 0:
        return
    between = g.dtype if "float" not in g.dtype.name or g.dtype.name == "float64" else np.dtype(np.float32)
    current, shape = contiguous(g), list(g.shape)
    for d, (n, m, scale) in enumerate(zip(source, size, scales, strict=True), 2):
        index, weight = _taps(g, n, m, scale, mode, align)
        shape[d] = n
        made = out if d == len(shape) - 1 else out.new(tuple(shape), between)
        numel, inner = prod(shape), prod(shape[d + 1 :])
        block = block_for(numel, BLOCK)
        launch(
            _resize_back, (cdiv(numel, block),), made, current, index, weight, n, m, inner, numel, m.bit_length(),
            TAPS=TAPS[mode], WEIGHED=mode in (LINEAR, CUBIC), ACC=_accumulator(g), WIDE=_wide(made, current),
            BLOCK=block,
        )  # fmt: skip
        current = made


def resize(out: Any, x: Any, *, size: Shape, scales: tuple, align: bool, cubic: bool) -> None:
    """out (N, C, *size) = x (N, C, ...) by linear or cubic interpolation along each of one to three dimensions."""
    _forward(out, x, size, scales, CUBIC if cubic else LINEAR, align)


def resize_grad(out: Any, g: Any, *, source: Shape, size: Shape, scales: tuple, align: bool, cubic: bool) -> None:
    """out (N, C, *source) = the transpose of `resize` at g (N, C, *size)."""
    _backward(out, g, source, size, scales, CUBIC if cubic else LINEAR, align)


def nearest(out: Any, x: Any, *, size: Shape, scales: tuple, exact: bool) -> None:
    """out (N, C, *size) = the nearest elements of x, of any dtype; exact: nearest to the centres of the elements."""
    _forward(out, x, size, scales, EXACT if exact else NEAREST, False)


def nearest_grad(out: Any, g: Any, *, source: Shape, size: Shape, scales: tuple, exact: bool) -> None:
    """out (N, C, *source) = the transpose of `nearest` at g (N, C, *size)."""
    _backward(out, g, source, size, scales, EXACT if exact else NEAREST, False)
