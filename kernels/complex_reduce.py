"""Products of complex numbers over dimensions, and running products along one.

Reads x once and writes out once. Few long rows are split over programs, whose products a second launch multiplies.
"""

from __future__ import annotations

from math import prod as product
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.complex_elementwise import as_real
from naiad.kernels.complex_maths import mul
from naiad.kernels.copy import contiguous, copy
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import cdiv, launch
from naiad.kernels.reduce import _positive, _splits, _tile, _two_and_two
from naiad.kernels.rows import own_rows, row_tile, widened
from naiad.kernels.scan import _at_end, _offsets


@triton.jit
def _prod(
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
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (i, s) multiplies elements [s * share, (s + 1) * share) of ROWS rows into out[s, row]; strides count
    parts."""
    row = own_rows(ROWS, WIDE)
    split = widened(tl.program_id(1), WIDE)
    inside = row < rows
    row_ptr = x_ptr + (row // kept_1) * kept_stride_0 + (row % kept_1) * kept_stride_1
    part = x_ptr.dtype.element_ty
    re = tl.full([ROWS, BLOCK], 1, part)
    im = tl.full([ROWS, BLOCK], 0, part)
    first = split * share
    last = tl.minimum(first + share, n)
    for start in range(first, last, BLOCK):
        column = start + widened(tl.arange(0, BLOCK), WIDE)
        offset = (column // reduced_1) * reduced_stride_0 + (column % reduced_1) * reduced_stride_1
        mask = inside[:, None] & (column < last)[None, :]
        place = row_ptr[:, None] + offset[None, :]
        re, im = mul(re, im, tl.load(place, mask=mask, other=1), tl.load(place + 1, mask=mask, other=0))
    re, im = tl.reduce((re, im), 1, mul)
    to = out_ptr + 2 * (split * rows + row)
    tl.store(to, re, mask=inside)
    tl.store(to + 1, im, mask=inside)


@triton.jit
def _cumprod(out_ptr, x_ptr, rows, inner, n, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    part = x_ptr.dtype.element_ty
    carry_re = tl.full([ROWS], 1, part)
    carry_im = tl.full([ROWS], 0, part)
    for start in range(0, n, BLOCK):
        offset, mask, _ = _offsets(rows, inner, n, start, False, ROWS, BLOCK, WIDE)
        place = 2 * offset
        re = tl.load(x_ptr + place, mask=mask, other=1)
        im = tl.load(x_ptr + place + 1, mask=mask, other=0)
        re, im = tl.associative_scan((re, im), 1, mul)
        re, im = mul(carry_re[:, None], carry_im[:, None], re, im)
        carry_re = _at_end(re, tl.arange(0, BLOCK), BLOCK)
        carry_im = _at_end(im, tl.arange(0, BLOCK), BLOCK)
        tl.store(out_ptr + place, re, mask=mask)
        tl.store(out_ptr + place + 1, im, mask=mask)


def prod(out: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool = False) -> None:
    """out = the product of x over `dim`, both complex."""
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
    target = out if splits == 1 else out.new((splits, count))
    steps = [2 * s for s in (*kept_strides, *reduced_strides)]
    launch(
        _prod, (cdiv(count, per_program), splits),
        as_real(target), as_real(x), count, kept_1, *steps[:2], n, reduced_1, *steps[2:], share,
        num_warps=warps, ROWS=per_program, BLOCK=block,
        WIDE=needs_int64((*rows[0], *columns[0]), [tuple(steps)]),
    )  # fmt: skip
    if splits > 1:
        prod(out, target, dim=(0,))


def cumprod(out: Any, x: Any, *, dim: int) -> None:
    """out = running products of x along `dim`, both complex."""
    if not x.shape:
        return copy(out, x)
    if product(x.shape) == 0:
        return None
    n, inner = x.shape[dim], product(x.shape[dim + 1 :])
    rows = product(x.shape) // n
    per, block, warps = row_tile(rows, n, 512, 512)
    launch(
        _cumprod, (cdiv(rows, per),), as_real(out), as_real(contiguous(x)), rows, inner, n, num_warps=warps,
        ROWS=per, BLOCK=block, WIDE=needs_int64((2, *x.shape), [(1, *[2 * s for s in x.strides])]),
    )  # fmt: skip
    return None
