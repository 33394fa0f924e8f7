"""Device arrays as CuPy's, and CuPy's as ours: the same memory, no copy. For real GPUs only."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from naiad.core.cupy_memory import GpuBuffer, pool
from naiad.core.strided import DeviceArray


def to_cupy(array: DeviceArray) -> Any:
    """A CuPy array over the same memory, which lives as long as either does."""
    buffer = array.buffer
    whole = cupy.cuda.UnownedMemory(buffer.ptr, buffer.nbytes, buffer, buffer.device_index)
    start = cupy.cuda.MemoryPointer(whole, array.offset * array.itemsize)
    strides = tuple(step * array.itemsize for step in array.strides)
    with cupy.cuda.Device(buffer.device_index):
        return cupy.ndarray(array.shape, array.dtype, start, strides)


def from_cupy(source: Any) -> tuple[DeviceArray, int]:
    """(array, device index) over a CuPy array's memory. Raises BufferError for strides that tensors cannot have."""
    itemsize = source.dtype.itemsize
    if any(step < 0 or step % itemsize for step in source.strides):
        raise BufferError(f"an array with strides of {source.strides} bytes cannot be shared: copy it first")
    memory, index = source.data, source.device.id
    extent = itemsize + sum((n - 1) * step for n, step in zip(source.shape, source.strides, strict=True))
    buffer = GpuBuffer(memory, extent if source.size else 0, index, None)
    pool(index)  # what `buffer.allocate` will ask
    strides = tuple(step // itemsize for step in source.strides)
    return DeviceArray(buffer, source.shape, strides, 0, np.dtype(source.dtype)), index


def to_dlpack(array: DeviceArray, **options: Any) -> Any:
    """A DLPack capsule of the memory; `options` are those of `__dlpack__`: stream, max_version, dl_device, copy.

    CuPy makes the reader's stream wait for our current one.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return to_cupy(array).__dlpack__(**given)


def from_dlpack(source: Any) -> tuple[DeviceArray, int]:
    """(array, device index) over the memory of an object with `__dlpack__`, ordered with our current stream."""
    return from_cupy(cupy.from_dlpack(source))
