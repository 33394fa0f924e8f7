"""Arrays that are only geometry over a buffer: what a tensor on cuda or meta wraps in ndarray's place.

Strides and offsets count elements. On meta the buffer is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class DeviceArray:
    """A strided window on a device buffer. The buffer knows its device and how to make more of its kind."""

    __slots__ = ("buffer", "shape", "strides", "offset", "dtype")

    def __init__(self, buffer: Any, shape: Shape, strides: Shape, offset: int, dtype: np.dtype) -> None:
        self.buffer, self.shape, self.strides, self.offset, self.dtype = buffer, shape, strides, offset, dtype

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: prod(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    @property
    def ptr(self) -> int:
        """Address of the first element."""
        return self.buffer.ptr + self.offset * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        return is_contiguous(self.shape, self.strides)

    def view(self, shape: Shape, strides: Shape, offset: int | None = None) -> DeviceArray:
        """The same buffer seen with another geometry; offset counts from the buffer's start."""
        return DeviceArray(self.buffer, shape, strides, self.offset if offset is None else offset, self.dtype)

    def broadcast(self, shape: Shape) -> DeviceArray:
        """The same elements, repeated along new and size-1 dimensions by strides of 0."""
        return self.view(shape, broadcast_strides(self.shape, self.strides, shape))

    def new(self, shape: Shape, dtype: np.dtype | None = None) -> DeviceArray:
        """An uninitialized contiguous array on the same device."""
        return empty(self.buffer, shape, self.dtype if dtype is None else dtype)


def empty(like: Any, shape: Shape, dtype: np.dtype) -> DeviceArray:
    """An uninitialized contiguous array whose memory comes from where the buffer `like` came from (None: meta)."""
    buffer = None if like is None else like.allocate(prod(shape) * dtype.itemsize)
    return DeviceArray(buffer, shape, contiguous_strides(shape), 0, dtype)


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Row-major strides in elements; as in PyTorch a dimension of size 0 counts as 1."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie row-major without gaps. Strides of size-1 dimensions do not matter."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 0:
            return True
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def broadcast_shapes(shapes: Iterable[Shape]) -> Shape:
    """The common shape of operands under broadcasting. Raises RuntimeError where two sizes differ and neither is 1."""
    result: list[int] = []
    for shape in shapes:
        if len(shape) > len(result):
            result[:0] = [1] * (len(shape) - len(result))
        start = len(result) - len(shape)
        for i, size in enumerate(shape, start):
            if size != 1 and size != result[i]:
                if result[i] != 1:
                    raise RuntimeError(
                        f"The size of tensor a ({result[i]}) must match the size of tensor b ({size}) at non-singleton "
                        f"dimension {i}: shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast"
                    )
                result[i] = size
    return tuple(result)


def broadcast_strides(shape: Shape, strides: Shape, to: Shape) -> Shape:
    """Strides with which an array of `shape` reads as one of the shape `to`."""
    lead = len(to) - len(shape)
    kept = (
        0 if size == 1 and want != 1 else stride for size, stride, want in zip(shape, strides, to[lead:], strict=True)
    )
    return (0,) * lead + tuple(kept)


def reshape_strides(shape: Shape, strides: Shape, to: Shape) -> Shape | None:
    """Strides with which a view shows the same elements in the same order as `to`; None where only a copy can.

    Runs of dimensions that lie evenly in memory are one run; each new dimension must fall inside a run.
    """
    if prod(shape) == 0:
        return contiguous_strides(to)
    runs: list[list[int]] = []  # [elements, stride of the innermost], outermost first
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = [runs[-1][0] * size, stride]
        else:
            runs.append([size, stride])
    result: list[int] = []
    elements, step = runs.pop() if runs else (1, 1)
    for size in reversed(to):
        if size == 1:
            result.append(step)
            continue
        if elements == 1:
            if not runs:
                return None
            elements, step = runs.pop()
        if elements % size:
            return None
        result.append(step)
        elements //= size
        step *= size
    return tuple(reversed(result)) if elements == 1 and not runs else None


def numpy_view(root: np.ndarray, array: DeviceArray) -> np.ndarray:
    """An array's elements as an ndarray over the bytes of its buffer."""
    strides = tuple(s * array.dtype.itemsize for s in array.strides)
    return np.ndarray(array.shape, array.dtype, root.data, array.offset * array.dtype.itemsize, strides)
