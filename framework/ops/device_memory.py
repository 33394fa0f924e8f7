"""What tensors say about the memory that they lie in: page-locked on the host, or in use by a stream of a device.

`device_interface` is what `Tensor.__cuda_array_interface__` gives.
"""

from __future__ import annotations

from typing import Any

from naiad.core import backend
from naiad.core.device import CPU, CUDA
from naiad.core.device import device as Device
from naiad.core.op import public
from naiad.core.pinned import is_pinned as lies_pinned
from naiad.core.tensor import Tensor, wrap


@public("Tensor")
def pin_memory(self: Tensor, device: Device | str | None = None) -> Tensor:
    """A copy of a CPU tensor in page-locked memory, from which copies to cuda can be non-blocking; itself if it is.

    Raises RuntimeError for a tensor on another device, or without cuda.
    """
    if self._device.kind != CPU:
        raise RuntimeError(f"cannot pin '{self.type()}': only dense CPU tensors can be pinned")
    array = backend.pin(self._array)
    return self if array is self._array else wrap(array, self._dtype, self._device)


@public("Tensor")
def is_pinned(self: Tensor, device: Device | str | None = None) -> bool:
    """Whether this tensor lies in page-locked host memory."""
    return self._device.kind == CPU and lies_pinned(self._array)


@public("Tensor")
def record_stream(self: Tensor, stream: Any) -> None:
    """Keep this tensor's memory from being used anew until `stream` is past what it does now.

    Needed where a tensor is used on another stream than the one on which it was made. Raises RuntimeError for a tensor
    that is not on cuda.
    """
    if self._device.kind != CUDA:
        raise RuntimeError(f"record_stream: expected a cuda tensor, this one is on {self._device}")
    self._array.buffer.record_stream(stream.native)


@public("Tensor")
def __cuda_array_interface__(self: Tensor) -> dict[str, Any]:
    """The tensor's memory, as CuPy, Numba and others read it (version 3 of the interface)."""
    if self._device.kind != CUDA:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()}. If CUDA data is required use "
            "tensor.cuda() to copy tensor to device memory."
        )
    if self._needs_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use "
            "var.detach() to get Variable that doesn't require grad."
        )
    return backend.array_interface(self._array)


__cuda_array_interface__.is_property = True
