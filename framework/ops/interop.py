"""Sharing memory with other libraries by DLPack, both ways.

NumPy speaks DLPack for its own arrays, so a CPU tensor hands its array over. NumPy has no bfloat16 (it comes from
ml_dtypes) and refuses it in DLPack: such a tensor travels as int16, which is said in the error.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CPU, CUDA
from naiad.core.device import device as Device
from naiad.core.dtype import FROM_NUMPY
from naiad.core.op import public
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import transfer
from naiad.ops.creation import from_numpy

_CPU_TYPE, _CUDA_TYPE = 1, 2  # of DLPack's DLDeviceType


@public("Tensor")
def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """DLPack's numbers for the kind of device and its index."""
    if self._device.kind == CPU:
        return _CPU_TYPE, 0
    if self._device.type == "cuda":
        return _CUDA_TYPE, self._device.index or 0
    raise BufferError(f"tensors on {self._device} have no memory that DLPack could hand over")


@public("Tensor")
def __dlpack__(
    self: Tensor, *, stream: Any = -1, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of the same memory; on a GPU the reader's `stream` waits for ours (-1: it does not).

    Raises BufferError for tensors that require grad, on meta, or on the simulated cuda device.
    """
    if self._needs_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self._device.kind == CUDA and not backend.simulated():
        return backend.to_dlpack(self._array, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    if self._device.kind != CPU:
        raise BufferError(f"a tensor on {self._device} cannot be handed over by DLPack: copy it with .cpu() first")
    if self._dtype.np.kind not in "biufc":
        raise BufferError(
            f"NumPy cannot hand over {self._dtype.name} by DLPack: pass tensor.view(naiad.int16), and view it as such "
            "on the other side"
        )
    return self._array.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)


class _Capsule:
    """A bare capsule as the object that NumPy wants."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **unused: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU_TYPE, 0


@public("naiad")
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with an array of another library, or with a DLPack capsule of CPU memory.

    copy: True for memory of its own, False to raise BufferError where sharing is impossible.
    """
    if isinstance(ext_tensor, Tensor):
        shared = ext_tensor.detach()
        shared = shared.clone() if copy else shared
    elif isinstance(ext_tensor, np.ndarray):
        shared = from_numpy(ext_tensor.copy() if copy else ext_tensor)
    elif _on_gpu(ext_tensor):
        array, index = backend.from_dlpack(ext_tensor)
        shared = wrap(array, FROM_NUMPY[array.dtype], Device("cuda", index))
        shared = shared.clone() if copy else shared
    else:
        shared = from_numpy(_array_of(ext_tensor, copy))
    if device is None:
        return shared
    target = backend.resolve(Device(device))
    if copy is False and target is not shared._device:
        raise BufferError(f"from_dlpack: memory on {shared._device} cannot be shared with {target} without a copy")
    return transfer(shared, target)


def _on_gpu(source: Any) -> bool:
    """Whether an object's memory is on a GPU, and we are on one as well."""
    if not hasattr(source, "__dlpack_device__") or source.__dlpack_device__()[0] != _CUDA_TYPE:
        return False
    return not backend.simulated() and backend.why_no_cuda() is None


def _array_of(source: Any, copy: bool | None) -> np.ndarray:
    if not hasattr(source, "__dlpack__"):
        if type(source).__name__ != "PyCapsule":
            raise AttributeError(f"from_dlpack: {type(source).__name__} has no __dlpack__ method and is no capsule")
        source = _Capsule(source)
    kind, index = source.__dlpack_device__()
    if kind != _CPU_TYPE:
        raise BufferError(
            f"from_dlpack: memory on a device of DLPack's kind {int(kind)}, index {index}, cannot be shared here: "
            "copy it to the CPU first"
        )
    array = np.from_dlpack(source) if copy is None else np.from_dlpack(source, copy=copy)
    return _writeable(array)


def _writeable(array: np.ndarray) -> np.ndarray:
    """The same memory to write into: NumPy marks what comes by the old protocol read-only, PyTorch does not."""
    if array.flags.writeable or not array.size:
        return array
    extent = array.itemsize + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    memory = (ctypes.c_char * extent).from_address(array.__array_interface__["data"][0])
    memory.owner = array  # keeps the memory alive
    return np.ndarray(array.shape, array.dtype, memory, 0, array.strides)
