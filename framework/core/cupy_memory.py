"""Memory of real GPUs: from CuPy's pool, in the order of CuPy's streams; copies between devices and the host.

Copies run on the current stream. Memory that a copy reads or writes, and memory that another stream than its own has
used, stays taken until the stream is past that.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import cache
from typing import Any

import cupy
import numpy as np
from cupy.cuda import runtime

from naiad.core import memory
from naiad.core.memory import BACKLOG, GRANULE, Pool
from naiad.core.pinned import is_pinned

stream, alloc_pinned = cupy.cuda.get_current_stream, cupy.cuda.alloc_pinned_memory


class GpuPool(Pool):
    """CuPy's default memory pool on one device."""

    def __init__(self, device_index: int) -> None:
        super().__init__(device_index)
        self.several = runtime.getDeviceCount() > 1
        self.alloc, self.current_device = cupy.cuda.alloc, runtime.getDevice

    def take(self, nbytes: int) -> GpuBuffer:
        """As `Pool.take`, for the usual case with less ado: this device is current, and has memory."""
        if memory.forked or self.fraction < 1 or (self.several and self.current_device() != self.device_index):
            return super().take(nbytes)
        try:
            found = self.alloc(nbytes)
        except MemoryError:
            return super().take(nbytes)
        events = self.events
        events.append(-(-nbytes // GRANULE) * GRANULE)
        if len(events) > BACKLOG:
            self.current()
        return GpuBuffer(found, nbytes, self.device_index, self)

    def allocate(self, nbytes: int) -> Any:
        if self.several and self.current_device() != self.device_index:
            with cupy.cuda.Device(self.device_index):
                return self.alloc(nbytes)
        return self.alloc(nbytes)

    def wrap(self, memory: Any, nbytes: int) -> GpuBuffer:
        return GpuBuffer(memory, nbytes, self.device_index, self)

    def release_cached(self) -> None:
        with cupy.cuda.Device(self.device_index):
            runtime.deviceSynchronize()
            _finish()
            cupy.get_default_memory_pool().free_all_blocks()

    @property
    def reserved(self) -> int:
        with cupy.cuda.Device(self.device_index):
            total = cupy.get_default_memory_pool().total_bytes()
        self.peak_reserved = max(self.peak_reserved, total)
        return total

    @property
    def capacity(self) -> int:
        with cupy.cuda.Device(self.device_index):
            return runtime.memGetInfo()[1]


class GpuBuffer:
    """`nbytes` of device memory. CuPy's pool has it back when this is gone."""

    __slots__ = ("memory", "ptr", "nbytes", "device_index", "_pool", "_users", "__weakref__")

    def __init__(self, memory: Any, nbytes: int, device_index: int, pool: GpuPool | None) -> None:
        self.memory, self.nbytes, self.device_index, self._pool = memory, nbytes, device_index, pool
        self.ptr = memory.ptr
        self._users: dict[int, Any] | None = None

    def allocate(self, nbytes: int) -> GpuBuffer:
        """A fresh buffer on the same device."""
        return pool(self.device_index).take(nbytes) if self._pool is None else self._pool.take(nbytes)

    def record_stream(self, user: Any) -> None:
        """Keep the memory from being used again before `user`, a CuPy stream, is past what it does now."""
        if self._users is None:
            self._users = {}
        self._users[user.ptr] = user

    def check(self, name: str = "a kernel") -> None:
        """Nothing: a GPU has no red zones."""

    def __del__(self) -> None:
        if self._pool is None:
            return
        if self._users and not memory.forked:
            # The pool reuses memory in the order of the stream that it was taken on, which knows nothing of the others.
            for user in self._users.values():
                _keep(self.memory, user, self.device_index)
        self._pool.events.append(-self.nbytes // GRANULE * GRANULE)


@cache
def pool(device_index: int) -> GpuPool:
    """The pool of a device."""
    return GpuPool(device_index)


# ---------------------------------------------------------------- copies
def to_device(array: np.ndarray, target: Any, device_index: int, wait: bool = True) -> None:
    """Copy a C-contiguous ndarray to an address, on the device's current stream.

    Without `wait` the array may be read later, when the stream gets there: nobody may write to it before.
    """
    _finish()
    with cupy.cuda.Device(device_index):
        on = stream(device_index)
        runtime.memcpyAsync(target, _address(array), array.nbytes, runtime.memcpyHostToDevice, on.ptr)
        if wait:
            on.synchronize()
        else:
            _keep(array, on, device_index)


def to_host(array: np.ndarray, source: int, device_index: int, wait: bool = True, keep: Any = None) -> None:
    """Copy device memory into a C-contiguous ndarray. Without `wait`, pinned memory is filled in when the stream is."""
    _finish()
    with cupy.cuda.Device(device_index):
        on = stream(device_index)
        runtime.memcpyAsync(_address(array), source, array.nbytes, runtime.memcpyDeviceToHost, on.ptr)
        if wait or not is_pinned(array):
            on.synchronize()
        else:
            _keep((array, keep), on, device_index)


def to_peer(target: Any, target_device: int, source: Any, source_device: int, nbytes: int) -> None:
    """Copy between two devices' buffers, after what either's current stream does now and before what it does next."""
    with cupy.cuda.Device(target_device):
        there = stream(target_device)
        ready = there.record()
    with cupy.cuda.Device(source_device):
        here = stream(source_device)
        here.wait_event(ready)
        runtime.memcpyPeerAsync(target, target_device, source, source_device, nbytes, here.ptr)
        copied = here.record()
    with cupy.cuda.Device(target_device):
        there.wait_event(copied)


_in_flight: deque[tuple[Any, Any]] = deque()  # (event, what must live until it has happened)
_letting_go = threading.Lock()


def _keep(what: Any, on: Any, device_index: int) -> None:
    """Keep something until a stream of a device is past what it does now. Finalizers call this: no locks."""
    with cupy.cuda.Device(device_index):
        event = cupy.cuda.Event(disable_timing=True)
        event.record(on)
    _in_flight.append((event, what))


def _finish() -> None:
    """Let go of what was kept for something that has happened; one thread at a time."""
    if _in_flight and _letting_go.acquire(blocking=False):
        try:
            while _in_flight and _in_flight[0][0].done:
                _in_flight.popleft()
        finally:
            _letting_go.release()


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
