"""Arrays seen as rows and columns: two dimensions that are kept and two that a program walks over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import interpreting
from naiad.kernels.geometry import Shape
from naiad.kernels.launch import next_power_of_2

Pairs = tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int, int, int], ...]]


@lru_cache(maxsize=4096)
def rows_and_columns(shape: Shape, columns: Shape, strides: tuple[Shape, ...]) -> Pairs | None:
    """(sizes of two row dimensions, of two column dimensions, (row, row, column, column) strides of each array).

    `columns` names the dimensions that make a column, `strides` has one tuple per array; neighbours are merged, in
    order. None where that takes more than two dimensions of a kind.
    """
    rows = tuple(d for d in range(len(shape)) if d not in columns)
    parts = [_merged(shape, dims, strides) for dims in (rows, tuple(sorted(columns)))]
    if any(len(sizes) > 2 for sizes, _ in parts):
        return None
    padded: list[Any] = []
    for sizes, steps in parts:
        lead = 2 - len(sizes)
        padded.append(((1,) * lead + sizes, [(0,) * lead + own for own in steps]))
    (row_sizes, row_steps), (column_sizes, column_steps) = padded
    return row_sizes, column_sizes, tuple(a + b for a, b in zip(row_steps, column_steps, strict=True))


def _merged(shape: Shape, dims: Shape, strides: tuple[Shape, ...]) -> tuple[Shape, list[Shape]]:
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in dims:
        if shape[d] == 1:
            continue
        if sizes and all(own[-1] == array[d] * shape[d] for own, array in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[d]
            for own, array in zip(steps, strides, strict=True):
                own[-1] = array[d]
        else:
            sizes.append(shape[d])
            for own, array in zip(steps, strides, strict=True):
                own.append(array[d])
    return tuple(sizes), [tuple(own) for own in steps]


@triton.jit
def own_rows(ROWS: tl.constexpr, WIDE: tl.constexpr):
    """The numbers of this program's rows; WIDE: in int64, as there may be more than an int32 counts."""
    return widened(tl.program_id(0), WIDE) * ROWS + tl.arange(0, ROWS)


@triton.jit
def widened(x, WIDE: tl.constexpr):
    """A number, or a block of them, in int64 if WIDE: whose products would not fit otherwise."""
    return tl.cast(x, tl.int64) if WIDE else x


def accumulator(name: str) -> tl.dtype:
    """What values of a floating dtype are computed in."""
    return tl.float64 if name == "float64" else tl.float32


def row_tile(rows: int, n: int, longest: int = 8192, step: int = 4096) -> tuple[int, int, int]:
    """Rows per program, elements of a row at a time (all, if there are no more than `longest`), warps."""
    columns = next_power_of_2(max(n, 1))
    if interpreting():
        block = min(columns, longest)
        return min(next_power_of_2(rows), max(65536 // block, 1)), block, 4
    block = columns if columns <= longest else step
    return max(min(1024 // block, next_power_of_2(rows)), 1), block, min(max(block // 512, 4), 16)


def contiguous_like(shape: Sequence[int]) -> Shape:
    """Row-major strides, 0 for dimensions of size 1: how an array of `shape` lies under one it broadcasts to."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step if size != 1 else 0)
        step *= size
    return tuple(reversed(strides))
