"""Many arrays for one kernel launch: their addresses in a table in device memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CUDA
from naiad.core.dtype import FLOAT, float32, float64, int64
from naiad.core.strided import DeviceArray
from naiad.core.tensor import Tensor, wrap


class Addresses(DeviceArray):
    """A table of addresses in device memory; `reaches` are the buffers that a kernel gets at through it."""

    __slots__ = ("reaches",)
    reaches: list


def addresses(rows: Sequence[Sequence[DeviceArray]], home: Any) -> tuple[Addresses, DeviceArray, int, bool]:
    """(table, blocks, block size, whether all is divisible by 16) of arrays that a kernel walks row by row.

    The arrays of a row are contiguous and of one shape; a row of the table has their addresses and number of elements.
    """
    table = np.array([[*(a.ptr for a in own), own[0].size] for own in rows], np.int64)
    blocks, block = _blocks(tuple(table[:, -1].tolist()), home)
    held = backend.upload(table, int64, home, wait=False)
    seen = Addresses(held.buffer, held.shape, held.strides, held.offset, held.dtype)
    seen.reaches = [a.buffer for own in rows for a in own]
    return seen, blocks, block, bool((table % 16 == 0).all())


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], home: Any) -> tuple[DeviceArray, int]:
    """Which block of which row each program takes, in device memory."""
    blocks, size = backend.launcher("optimizer.blocks_of", "optimizer")(sizes)
    return backend.upload(blocks, int64, home), size  # waited for: the next call may be on another stream


def one_walk(tensors: Sequence[Tensor]) -> bool:
    """Whether one launch can walk these tensors: contiguous floats of one dtype on one cuda device."""
    first = tensors[0]
    return first._device.kind == CUDA and all(
        t._device is first._device and t._dtype is first._dtype and t._dtype.kind == FLOAT and t._array.is_contiguous
        for t in tensors
    )


def square_sum(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of the squares of all elements, in float32 (float64 for float64): two launches however many tensors."""
    home, wide = tensors[0]._device, float64 if tensors[0]._dtype is float64 else float32
    out = backend.empty((), wide, home)
    filled = [[t._array] for t in tensors if t._array.size]
    backend.launcher("optimizer.square_sum", "norm")(out, *(addresses(filled, home) if filled else (None,) * 4),
                                                     tensors[0]._dtype.name)  # fmt: skip
    return wrap(out, wide, home)


def scale_all(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply all in place by a 0-d tensor of the same device: one launch."""
    filled = [[t._array] for t in tensors if t._array.size]
    if filled:
        name = tensors[0]._dtype.name
        backend.launcher("optimizer.scale", "mul_")(factor._array, *addresses(filled, tensors[0]._device), name)
    for t in tensors:
        t._version[0] += 1
