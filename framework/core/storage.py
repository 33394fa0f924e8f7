"""Storages: the memory under tensors, found from their arrays when somebody asks.

A tensor holds an array (an ndarray, or a DeviceArray over a device buffer) and no storage object. Which memory an
array lies in, and where in it, is read from the array: an ndarray's chain of bases ends at the array that owns the
memory, a DeviceArray names its buffer. Views of one memory therefore find one storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.lib.stride_tricks import as_strided

from naiad.core.device import CPU_DEVICE
from naiad.core.device import device as Device
from naiad.core.dtype import dtype, uint8
from naiad.core.strided import DeviceArray, contiguous_strides

# as_strided puts an object of its own between a view and the array that it views.
_Between = type(as_strided(np.zeros(1), (1,), (0,)).base)

# One object per live memory, so that identity tells who shares: the storage keeps the root alive, so the id is its own.
_live: WeakValueDictionary[int, UntypedStorage] = WeakValueDictionary()


def root_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory in which `array` lies: the last ndarray in its chain of bases."""
    owner, base = array, array.base
    while base is not None:
        if isinstance(base, np.ndarray):
            owner, base = base, base.base
        elif isinstance(base, _Between):
            base = base.base
        elif isinstance(base, memoryview):
            base = base.obj if isinstance(base.obj, np.ndarray) else None
        else:  # bytes, an mmap, a DLPack capsule: memory that is not NumPy's own
            return owner
    return owner


def address(array: np.ndarray | DeviceArray) -> int:
    """Address of the first element."""
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return 0 if array.buffer is None else array.ptr


def stride(array: np.ndarray | DeviceArray) -> tuple[int, ...]:
    """Strides in elements, as PyTorch gives them for the same views."""
    if not isinstance(array, np.ndarray):
        return tuple(array.strides)
    if array.size == 0:
        return contiguous_strides(array.shape)
    size = array.itemsize
    result = [step // size for step in array.strides]
    inner = 1
    for i in range(len(result) - 1, -1, -1):
        # NumPy gives a new dimension the stride 0, PyTorch what a dimension of any size would have there.
        if result[i] == 0 and array.shape[i] == 1:
            result[i] = inner
        inner = result[i] * array.shape[i]
    return tuple(result)


def storage_offset(array: np.ndarray | DeviceArray) -> int:
    """Elements between the start of the storage and the first element of the array."""
    if not isinstance(array, np.ndarray):
        return array.offset
    root = root_of(array)
    return 0 if root is array or array.size == 0 else (address(array) - address(root)) // array.itemsize


def storage_of(array: np.ndarray | DeviceArray, on: Device = CPU_DEVICE) -> UntypedStorage:
    """The storage in which an array of the device `on` lies: the same object for all its views, while one lives."""
    if isinstance(array, np.ndarray):
        root: Any = root_of(array)
    elif array.buffer is None:
        return UntypedStorage(None, on, array.nbytes)
    else:
        root = array.buffer
    found = _live.get(id(root))
    if found is None:
        found = _live.setdefault(id(root), UntypedStorage(root, on))
    return found


class UntypedStorage:
    """The bytes of one piece of memory. ``UntypedStorage(n)`` is a new one of n bytes on the CPU.

    `memory` is the ndarray that owns the bytes, a device's buffer, or None on meta: `nbytes` of nothing.
    """

    __slots__ = ("_memory", "_nbytes", "device", "__weakref__")

    def __init__(self, memory: Any = 0, device: Device | str = CPU_DEVICE, nbytes: int | None = None) -> None:
        if isinstance(memory, int):
            memory = np.empty(memory, np.uint8)
        self._memory = memory
        self.device = Device(device)
        self._nbytes = _extent(memory) if nbytes is None else nbytes

    @property
    def memory(self) -> Any:
        """What holds the bytes: an ndarray on cpu, a device buffer, None on meta."""
        return self._memory

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._nbytes

    size = nbytes
    __len__ = nbytes

    def element_size(self) -> int:
        """1: an untyped storage counts bytes."""
        return 1

    def data_ptr(self) -> int:
        """Address of the first byte; 0 where there is none."""
        if self._memory is None or not self._nbytes:
            return 0
        return address(self._memory) if isinstance(self._memory, np.ndarray) else self._memory.ptr

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def bytes_on_host(self) -> np.ndarray:
        """The bytes as a flat uint8 ndarray: on cpu the memory itself, from another device a copy."""
        if isinstance(self._memory, np.ndarray):
            return flat_bytes(self._memory)
        if self._memory is None:
            raise RuntimeError(f"a storage on device {self.device} has no data")
        from naiad.core.tensor import wrap

        array = DeviceArray(self._memory, (self._nbytes,), (1,), 0, uint8.np)
        return wrap(array, uint8, self.device).cpu().numpy()

    def array(self, kind: dtype, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
        """The array of this dtype and geometry (counted in elements) over these bytes.

        Raises RuntimeError where it would reach outside of them.
        """
        check_geometry(self._nbytes // kind.itemsize, kind.itemsize, shape, strides, offset)
        if not isinstance(self._memory, np.ndarray):
            return DeviceArray(self._memory, shape, strides, offset, kind.np)
        if 0 in shape:
            return np.ndarray(shape, kind.np)
        steps = tuple(step * kind.itemsize for step in strides)
        return np.ndarray(shape, kind.np, flat_bytes(self._memory), offset * kind.itemsize, steps)

    def to(self, device: Device | str) -> UntypedStorage:
        """These bytes on another device; itself where they are there already."""
        target = Device(device)
        if target.type == self.device.type and target.index in (None, self.device.index):
            return self
        if target.type == "meta":
            return UntypedStorage(None, target, self._nbytes)
        host = self.bytes_on_host()
        if target.type == "cpu":
            return UntypedStorage(host)
        from naiad.core.tensor import wrap

        moved = wrap(host, uint8, CPU_DEVICE).to(target)
        return UntypedStorage(moved._array.buffer, moved.device, self._nbytes)

    def cpu(self) -> UntypedStorage:
        """These bytes on the CPU."""
        return self.to(CPU_DEVICE)

    def cuda(self, device: int | str | None = None) -> UntypedStorage:
        """These bytes on a CUDA device."""
        return self.to("cuda" if device is None else Device(device))

    def clone(self) -> UntypedStorage:
        """A copy on the same device."""
        if self._memory is None:
            return UntypedStorage(None, self.device, self._nbytes)
        return UntypedStorage(self.bytes_on_host().copy()).to(self.device)

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self.bytes_on_host().tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __getitem__(self, index: int) -> int:
        return int(self.bytes_on_host()[index])

    def __reduce__(self) -> tuple:
        data = None if self._memory is None else self.bytes_on_host().copy()
        return _from_bytes, (data, str(self.device), self._nbytes)

    def __repr__(self) -> str:
        return f"naiad.UntypedStorage(device={self.device}, size={self._nbytes})"


class TypedStorage:
    """A storage whose bytes are elements of one dtype."""

    __slots__ = ("_untyped", "dtype")

    def __init__(self, wrap_storage: UntypedStorage, dtype: dtype) -> None:
        self._untyped = wrap_storage
        self.dtype = dtype

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped

    @property
    def device(self) -> Device:
        return self._untyped.device

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._untyped.nbytes()

    def size(self) -> int:
        """Number of elements."""
        return self._untyped.nbytes() // self.dtype.itemsize

    __len__ = size

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """Address of the first element."""
        return self._untyped.data_ptr()

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self._untyped.bytes_on_host().view(self.dtype.np).tolist()

    def __repr__(self) -> str:
        return f"naiad.TypedStorage(dtype={self.dtype}, device={self.device}, size={self.size()})"


UntypedStorage.__module__ = TypedStorage.__module__ = "naiad"


def check_geometry(numel: int, itemsize: int, shape: tuple, strides: tuple, offset: int) -> None:
    """Raise RuntimeError unless a tensor of this geometry lies inside a storage of `numel` elements.

    The sizes may multiply to more than the storage holds (strides of 0 repeat), but not past 63 bits of bytes.
    """
    told = f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize {itemsize}"
    if len(shape) != len(strides):
        raise RuntimeError(f"{told}: as many strides as sizes are needed")
    if len(shape) > 64:
        raise RuntimeError(f"setStorage: {len(shape)} dimensions; at most 64 are supported")
    if offset < 0 or any(n < 0 for n in shape) or any(step < 0 for step in strides):
        raise RuntimeError(f"{told}: none of them may be negative")
    if max((offset, *shape, *strides)) >= 2**62 or prod(n for n in shape if n) * itemsize >= 2**63:
        raise RuntimeError(f"{told} are too large")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= numel:
        raise RuntimeError(
            f"{told} requiring a storage size of {(last + 1) * itemsize} are out of bounds for storage of size "
            f"{numel * itemsize}"
        )


def flat_bytes(root: np.ndarray) -> np.ndarray:
    """The memory of an array that owns it, from its lowest to its highest address, as a flat uint8 view."""
    if root.dtype == np.uint8 and root.ndim == 1 and root.flags.c_contiguous:
        return root
    if root.size == 0:
        return np.empty(0, np.uint8)
    count = _extent(root) // root.itemsize
    flat = root.reshape(-1) if root.flags.c_contiguous else as_strided(root, (count,), (root.itemsize,))
    return flat.view(np.ndarray).view(np.uint8)


def _extent(memory: Any) -> int:
    """Bytes from the start to the end of a memory."""
    if not isinstance(memory, np.ndarray):
        return memory.nbytes
    if memory.size == 0:
        return 0
    return memory.itemsize + sum((n - 1) * step for n, step in zip(memory.shape, memory.strides, strict=True))


def _from_bytes(data: np.ndarray | None, location: str, nbytes: int) -> UntypedStorage:
    return UntypedStorage(None, location, nbytes) if data is None else UntypedStorage(data).to(location)
