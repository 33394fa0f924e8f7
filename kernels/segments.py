"""Products and extremes of the elements that an index brings to one place.

The places are sorted, so that what meets lies side by side, and each run of equals is combined by a scan: in the order
of the elements, without atomics, the same every time. A run that goes on over several blocks takes in what the blocks
before had of it. Sorts 8 bytes per element of index, then reads index and src twice and out where it changes.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.copy import copy
from naiad.kernels.elements import _along, over, split
from naiad.kernels.launch import block_for, cdiv, launch
from naiad.kernels.order import positions
from naiad.kernels.reduce import _accumulator, _combine, _extreme, _larger, _smaller

BLOCK = 512
INT64 = np.dtype(np.int64)


@triton.jit
def _meeting(
    places_ptr, values_ptr, src_ptr, index_ptr, numel, size, step, first, size_1, size_2, size_3, p_0, p_1, p_2, p_3,
    v_0, v_1, v_2, v_3, s_0, s_1, s_2, s_3, n_0, n_1, n_2, n_3, o_0, o_1, o_2, o_3,
    BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """For each element of index the number of its place in out, and what src brings there."""
    i_0, i_1, i_2, i_3, inside = split(numel, size_1, size_2, size_3, BLOCK, WIDE)
    i = tl.load(index_ptr + i_0 * n_0 + i_1 * n_1 + i_2 * n_2 + i_3 * n_3, mask=inside, other=0).to(tl.int64)
    tl.device_assert(((i >= 0) & (i < size)) | ~inside, "index out of range in scatter_reduce")
    i = tl.minimum(tl.maximum(i, 0), size - 1)
    value = tl.load(src_ptr + i_0 * s_0 + i_1 * s_1 + i_2 * s_2 + i_3 * s_3, mask=inside, other=0)
    place = first + i_0 * o_0 + i_1 * o_1 + i_2 * o_2 + i_3 * o_3 + i * step
    tl.store(places_ptr + i_0 * p_0 + i_1 * p_1 + i_2 * p_2 + i_3 * p_3, place, mask=inside)
    tl.store(values_ptr + i_0 * v_0 + i_1 * v_1 + i_2 * v_2 + i_3 * v_3, value, mask=inside)


@triton.jit
def _run_prod(begins, a, begins_too, b):
    return begins | begins_too, tl.where(begins_too != 0, b, a * b)


@triton.jit
def _run_max(begins, a, begins_too, b):
    return begins | begins_too, tl.where(begins_too != 0, b, _larger(a, b))


@triton.jit
def _run_min(begins, a, begins_too, b):
    return begins | begins_too, tl.where(begins_too != 0, b, _smaller(a, b))


@triton.jit
def _runs(
    places_ptr, values_ptr, order_ptr, n, OP: tl.constexpr, IDENTITY: tl.constexpr, ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Of this program's elements in order: numbers, places, whether a run has begun up to there, what the runs are."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    source = tl.load(order_ptr + i, mask=i < n, other=0).to(tl.int64)
    before = tl.load(order_ptr + i - 1, mask=(i < n) & (i > 0), other=0).to(tl.int64)
    place = tl.load(places_ptr + source, mask=i < n, other=0)
    begins = (place != tl.load(places_ptr + before, mask=i < n, other=0)) | (i == 0)
    begins = (begins & (i < n)).to(tl.int32)
    value = tl.load(values_ptr + source, mask=i < n, other=0).to(ACC)
    value = tl.where(i < n, value, tl.full([BLOCK], IDENTITY, ACC))
    if OP == "prod":
        begun, run = tl.associative_scan((begins, value), 0, _run_prod)
    elif OP == "max":
        begun, run = tl.associative_scan((begins, value), 0, _run_max)
    else:
        begun, run = tl.associative_scan((begins, value), 0, _run_min)
    return i, place, begun, run


@triton.jit
def _tails(
    tails_ptr, begun_ptr, places_ptr, values_ptr, order_ptr, n, OP: tl.constexpr, IDENTITY: tl.constexpr,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What the last run of each block is, and whether it began there."""
    i, _, begun, run = _runs(places_ptr, values_ptr, order_ptr, n, OP, IDENTITY, ACC, BLOCK)
    last = i % BLOCK == BLOCK - 1
    tl.store(tails_ptr + i // BLOCK, run, mask=last)
    tl.store(begun_ptr + i // BLOCK, begun, mask=last)


@triton.jit
def _finish(
    out_ptr, tails_ptr, begun_ptr, places_ptr, values_ptr, order_ptr, n, OP: tl.constexpr, IDENTITY: tl.constexpr,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out, where a run ends, combined with the run."""
    i, place, begun, run = _runs(places_ptr, values_ptr, order_ptr, n, OP, IDENTITY, ACC, BLOCK)
    carry = tl.full([BLOCK], IDENTITY, ACC)
    at = tl.program_id(0) - 1
    goes_on = (tl.min(begun, 0) == 0) & (at >= 0)
    while goes_on:
        carry = _combine(tl.load(tails_ptr + at) + tl.zeros([BLOCK], ACC), carry, OP)
        goes_on = tl.load(begun_ptr + at) == 0
        at -= 1
    run = tl.where(begun != 0, run, _combine(carry, run, OP))
    after = tl.load(order_ptr + i + 1, mask=i + 1 < n, other=0).to(tl.int64)
    ends = (place != tl.load(places_ptr + after, mask=i + 1 < n, other=0)) | (i + 1 == n)
    ends = ends & (i < n)
    own = tl.load(out_ptr + place, mask=ends, other=0).to(ACC)
    tl.store(out_ptr + place, _combine(own, run, OP).to(out_ptr.dtype.element_ty), mask=ends)


def scatter_prod(out: Any, x: Any, index: Any, src: Any, *, dim: int) -> None:
    """out = x times the elements of src at the numbers `index` along `dim`."""
    _reduce(out, x, index, src, dim, "prod")


def scatter_amax(out: Any, x: Any, index: Any, src: Any, *, dim: int) -> None:
    """out = the largest of x and of the elements of src at the numbers `index` along `dim`; NaN wins."""
    _reduce(out, x, index, src, dim, "max")


def scatter_amin(out: Any, x: Any, index: Any, src: Any, *, dim: int) -> None:
    """out = the smallest of x and of the elements of src at the numbers `index` along `dim`; NaN wins."""
    _reduce(out, x, index, src, dim, "min")


def _reduce(out: Any, x: Any, index: Any, src: Any, dim: int, op: str) -> None:
    copy(out, x)
    n = prod(index.shape)
    if n == 0:
        return
    places, values = x.new(index.shape, INT64), x.new(index.shape, x.dtype)
    size, step, strides = _along(out, dim)
    given = src.strides if src.shape else (0,) * len(index.shape)
    arrays, steps = (places, values, src, index), (places.strides, values.strides, given, index.strides)
    over(_meeting, index.shape, arrays, steps, (size, step), strides)
    order = positions(places.view((n,), (1,)), 1, n, 1, bits=max(prod(out.shape).bit_length(), 1))
    name = x.dtype.name
    acc = _accumulator(name)
    kind = acc.name.replace("fp", "float")
    worst = 1 if op == "prod" else _extreme(kind, -1 if op == "max" else 1)
    facts = {"OP": op, "IDENTITY": worst, "ACC": acc, "BLOCK": block_for(n, BLOCK, 1024)}
    blocks = cdiv(n, facts["BLOCK"])
    tails, begun = x.new((blocks,), np.dtype(kind)), x.new((blocks,), np.dtype(np.int32))
    launch(_tails, (blocks,), tails, begun, places, values, order, n, **facts)
    launch(_finish, (blocks,), out, tails, begun, places, values, order, n, **facts)
