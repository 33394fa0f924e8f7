"""Shapes and strides as kernels want them: few dimensions, in memory order, with narrow offsets where they suffice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

Shape = tuple[int, ...]


@lru_cache(maxsize=8192)
def collapse(shape: Shape, strides: tuple[Shape, ...]) -> tuple[Shape, tuple[Shape, ...]]:
    """The fewest dimensions that visit the same elements of every array.

    `strides` holds one tuple per array, the first being the one written: dimensions are put in its memory order, those
    of size 1 go, and neighbours merge where that leaves every array evenly strided.
    """
    order = sorted((d for d in range(len(shape)) if shape[d] != 1), key=lambda d: -strides[0][d])
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in order:
        if sizes and all(own[-1] == array[d] * shape[d] for own, array in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[d]
            for own, array in zip(steps, strides, strict=True):
                own[-1] = array[d]
        else:
            sizes.append(shape[d])
            for own, array in zip(steps, strides, strict=True):
                own.append(array[d])
    return tuple(sizes), tuple(map(tuple, steps))


def is_row_major(shape: Shape, strides: Shape) -> bool:
    """Whether the elements lie in order and without gaps."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Offset of the last element."""
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def needs_int64(shape: Shape, strides: Sequence[Shape]) -> bool:
    """Whether an element's number or offset may pass what an int32 holds (with room for one block beyond the end)."""
    return max([prod(shape), *(reach(shape, [*map(abs, s)]) for s in strides)]) >= 2**31 - 2**17


def merge(shape: Sequence[int], strides: Sequence[int]) -> tuple[Shape, Shape]:
    """The same elements in the same order with the fewest dimensions."""
    sizes: list[int] = []
    steps: list[int] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if sizes and steps[-1] == stride * size:
            sizes[-1] *= size
            steps[-1] = stride
        else:
            sizes.append(size)
            steps.append(stride)
    return tuple(sizes), tuple(steps)
