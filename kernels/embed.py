"""The transpose of looking through a window: zeros, with an array where one dimension's slice shows.

Each element of out is written once, from x or as 0; x is read once. A window is every `step`-th of `count` places of
one dimension from `start` on: what select, narrow, split and slices of one dimension look at.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import block_for, cdiv, launch

BLOCK = 1024


@triton.jit
def _embed(out_ptr, x_ptr, numel, size, inner, start, step, count, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """out (outer, size, inner) = x (outer, count, inner) at start, start + step, ..., else 0."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    row = i // inner
    at = row % size - start
    inside = (i < numel) & (at >= 0) & (at % step == 0) & (at // step < count)
    source = (row // size * count + at // step) * inner + i % inner
    x = tl.load(x_ptr + source, mask=inside, other=0)
    tl.store(out_ptr + i, x, mask=i < numel)


def embed(out: Any, x: Any, window: Any) -> None:
    """out (contiguous) = 0 but in `window`, a view of it, where it is x, which has the window's shape."""
    found = _one_dimension(out.shape, out.strides, window.shape, window.strides, window.offset)
    if found is None or out.dtype.kind == "c" or x.dtype != out.dtype:
        fill(out, value=0)
        copy(window, x)
        return
    numel = prod(out.shape)
    if numel == 0:
        return
    size, inner, start, step, count = found
    block = block_for(numel, BLOCK)
    launch(
        _embed, (cdiv(numel, block),), out, contiguous(x), numel, size, inner, start, step, count, BLOCK=block,
        WIDE=needs_int64((numel,), [(1,)]),
    )  # fmt: skip


def _one_dimension(shape: Shape, steps: Shape, seen: Shape, strides: Shape, offset: int) -> tuple[int, ...] | None:
    """(size, inner size, start, step, count) of the one dimension in which a window differs; None if there is none."""
    for d, size in enumerate(shape):
        inner = prod(shape[d + 1 :])
        start, rest = divmod(offset, inner or 1)
        if rest or not inner or steps[d] != inner:
            continue
        if start < size and (seen, strides) == (shape[:d] + shape[d + 1 :], steps[:d] + steps[d + 1 :]):
            return size, inner, start, 1, 1
        same = seen[:d] + seen[d + 1 :] == shape[:d] + shape[d + 1 :]
        if len(seen) == len(shape) and same and strides[:d] + strides[d + 1 :] == steps[:d] + steps[d + 1 :]:
            step, uneven = divmod(strides[d], inner)
            if step > 0 and not uneven and start + (seen[d] - 1) * step < size:
                return size, inner, start, step, seen[d]
    return None
