"""Reductions over any dimensions: sum, mean, prod, amax, amin, any, all.

out[kept] = combine of x[kept, reduced]. Reads x once and writes out once; one operation per element. Halves accumulate
in float32, integers in int64. Few long rows are split over programs, whose partial results a second launch combines:
no atomics, so the result is the same every time.
"""

from __future__ import annotations

from math import inf
from math import prod as product
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import interpreting, maths
from naiad.kernels.copy import contiguous
from naiad.kernels.geometry import Shape, merge, needs_int64
from naiad.kernels.launch import cdiv, launch, next_power_of_2
from naiad.kernels.rows import own_rows, widened


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _times(a, b):
    return a * b


@triton.jit
def _combine(acc, x, OP: tl.constexpr):
    if OP == "sum":
        return acc + x
    elif OP == "prod":
        return acc * x
    elif OP == "max":
        return _larger(acc, x)
    else:
        return _smaller(acc, x)


@triton.jit
def _across(acc, OP: tl.constexpr):
    """Reduce the last dimension of a tile."""
    if OP == "sum":
        return tl.sum(acc, 1)
    elif OP == "prod":
        return tl.reduce(acc, 1, _times)
    elif OP == "max":
        return tl.reduce(acc, 1, _larger)
    else:
        return tl.reduce(acc, 1, _smaller)


@triton.jit
def _reduce(
    out_ptr,
    x_ptr,
    rows,
    kept_1,
    kept_stride_0,
    kept_stride_1,
    n,
    reduced_1,
    reduced_stride_0,
    reduced_stride_1,
    share,
    scale,
    OP: tl.constexpr,
    ACC: tl.constexpr,
    IDENTITY: tl.constexpr,
    TEST: tl.constexpr,
    MEAN: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (i, s) combines elements [s * share, (s + 1) * share) of ROWS rows into out[s, row]."""
    row = own_rows(ROWS, WIDE)
    split = widened(tl.program_id(1), WIDE)
    inside = row < rows
    row_ptr = x_ptr + (row // kept_1) * kept_stride_0 + (row % kept_1) * kept_stride_1
    acc = tl.full([ROWS, BLOCK], IDENTITY, ACC)
    first = split * share
    last = tl.minimum(first + share, n)
    for start in range(first, last, BLOCK):
        column = start + widened(tl.arange(0, BLOCK), WIDE)
        offset = (column // reduced_1) * reduced_stride_0 + (column % reduced_1) * reduced_stride_1
        mask = inside[:, None] & (column < last)[None, :]
        x = tl.load(row_ptr[:, None] + offset[None, :], mask=mask, other=0)
        if TEST:
            x = x != 0
        acc = _combine(acc, tl.where(mask, x.to(ACC), tl.full([1, 1], IDENTITY, ACC)), OP)
    result = _across(acc, OP)
    if MEAN:
        result = maths.divide(result, tl.full([ROWS], scale, ACC))
    if out_ptr.dtype.element_ty == tl.int1:
        result = result != 0
    tl.store(out_ptr + split * rows + row, result.to(out_ptr.dtype.element_ty), mask=inside)


if interpreting():
    import numpy as np

    from naiad.kernels.interpreter import fast_reductions

    fast_reductions.update({_larger: np.maximum.reduce, _smaller: np.minimum.reduce, _times: np.multiply.reduce})


def sum(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = x summed over `dim` (keepdim shows in out's shape only), accumulated in out's dtype or wider."""
    _run(out, x, dim, "sum", _accumulator(out.dtype.name), 0)


def mean(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = the mean of x over `dim`; NaN over no elements."""
    _run(out, x, dim, "sum", _accumulator(out.dtype.name), 0, scale=product(x.shape[d] for d in _positive(dim, x)))


def prod(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = the product of x over `dim`."""
    _run(out, x, dim, "prod", _accumulator(out.dtype.name), 1)


def amax(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = the largest of x over `dim`; a NaN wins."""
    name = x.dtype.name
    _run(out, x, dim, "max", _comparer(name), _extreme(name, -1))


def amin(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = the smallest of x over `dim`; a NaN wins."""
    name = x.dtype.name
    _run(out, x, dim, "min", _comparer(name), _extreme(name, 1))


def any(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = whether some element of x over `dim` is not 0 (NaN is not)."""
    _run(out, x, dim, "max", tl.int32, 0, test=True)


def all(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = whether every element of x over `dim` is not 0 (NaN is not)."""
    _run(out, x, dim, "min", tl.int32, 1, test=True)


def count_nonzero(out: Any, x: Any, *, dim: tuple[int, ...]) -> None:
    """out = how many elements of x over `dim` are not 0 (NaN is not)."""
    _run(out, x, dim, "sum", tl.int64, 0, test=True)


def _positive(dim: tuple[int, ...], x: Any) -> list[int]:
    return sorted(d % len(x.shape) for d in dim) if x.shape else []


def _accumulator(name: str) -> Any:
    return tl.float64 if name == "float64" else tl.float32 if "float" in name else tl.int64


def _comparer(name: str) -> Any:
    if name in ("float16", "bfloat16"):
        return tl.float32
    return tl.int32 if name == "bool" else getattr(tl, name)


def _extreme(name: str, sign: int) -> float | int:
    """The value that loses every comparison: the lowest of a dtype for sign -1, else the highest."""
    if "float" in name:
        return sign * inf
    if name == "bool":
        return 0 if sign < 0 else 1
    bits = int(name.removeprefix("u").removeprefix("int"))
    if name.startswith("u"):
        return 0 if sign < 0 else 2**bits - 1
    return -(2 ** (bits - 1)) if sign < 0 else 2 ** (bits - 1) - 1


def _run(
    out: Any,
    x: Any,
    dim: tuple[int, ...],
    op: str,
    acc: Any,
    identity: float,
    scale: int | None = None,
    test: bool = False,
) -> None:
    reduced = _positive(dim, x)
    kept = [d for d in range(len(x.shape)) if d not in reduced]
    if product(x.shape[d] for d in kept) == 0:
        return
    x, rows, columns = _two_and_two(x, kept, reduced)
    (kept_0, kept_1), kept_strides = rows
    (reduced_0, reduced_1), reduced_strides = columns
    count, n = kept_0 * kept_1, reduced_0 * reduced_1
    per_program, block, warps = _tile(count, n, reduced_strides[1])
    splits = _splits(cdiv(count, per_program), cdiv(n, block))
    share = cdiv(cdiv(n, splits), block) * block
    wide = needs_int64((*rows[0], *columns[0]), [(*kept_strides, *reduced_strides)])
    target = out if splits == 1 else out.new((splits, count), _partial_dtype(acc))
    launch(
        _reduce, (cdiv(count, per_program), splits),
        target, x, count, kept_1, *kept_strides, n, reduced_1, *reduced_strides, share, scale or 0,
        num_warps=warps, OP=op, ACC=acc, IDENTITY=identity, TEST=test, MEAN=scale is not None and splits == 1,
        ROWS=per_program, BLOCK=block, WIDE=wide,
    )  # fmt: skip
    if splits > 1:
        _run(out, target, (0,), op, acc, identity, scale)


def _two_and_two(x: Any, kept: list[int], reduced: list[int]) -> tuple[Any, tuple[Shape, Shape], tuple[Shape, Shape]]:
    """Sizes and strides of two kept and two reduced dimensions that cover x; x is copied where more are needed."""
    reduced = sorted(reduced, key=lambda d: -x.strides[d])  # the order in which elements are combined is free
    groups = [merge([x.shape[d] for d in dims], [x.strides[d] for d in dims]) for dims in (kept, reduced)]
    if max(len(shape) for shape, _ in groups) > 2:
        order = kept + reduced
        x = contiguous(x.view(tuple(x.shape[d] for d in order), tuple(x.strides[d] for d in order)))
        return _two_and_two(x, list(range(len(kept))), list(range(len(kept), len(order))))
    rows, columns = (((1,) * (2 - len(s)) + s, (0,) * (2 - len(s)) + t) for s, t in groups)
    return x, rows, columns


def _tile(rows: int, n: int, stride: int) -> tuple[int, int, int]:
    """Rows per program, elements of a row per step, warps."""
    columns, count = next_power_of_2(max(n, 1)), next_power_of_2(rows)
    if interpreting():
        block = min(columns, 65536)
        return min(count, max(65536 // block, 1)), block, 4
    if stride == 1:
        block = min(columns, 4096)
        return min(count, max(1024 // block, 1)), block, 8 if block > 2048 else 4
    block = min(columns, 32)  # neighbours in memory are in different rows: wide tiles of rows
    tile = min(count, 2048 // block, 128)
    return tile, min(columns, max(block, 2048 // tile)), 4  # long ones where there are few rows, as of complex sums


SPLIT_TARGET = 264  # programs that keep every processor of a large GPU busy twice
SPLIT_STEPS = 4  # steps that one program takes at least


def _splits(programs: int, steps: int) -> int:
    if programs >= SPLIT_TARGET or steps <= SPLIT_STEPS:
        return 1
    return min(cdiv(SPLIT_TARGET, programs), cdiv(steps, SPLIT_STEPS))


def _partial_dtype(acc: Any) -> Any:
    import numpy as np

    return np.dtype(str(acc).replace("fp", "float"))
