"""Memory of cuda devices: pools that count what they give, and buffers that know their pool.

A pool per device takes memory from CuPy on a GPU (`cupy_memory`) and from the host on the simulated device, whose
buffers are hostile so that faults show as they would on a GPU: each stands between red zones of a known pattern and
starts filled with bytes that read as NaN, so that an access past an end and a read of uninitialized memory both show,
in results or in `check`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

GRANULE = 512  # what a pool rounds sizes to
BACKLOG = 4096  # events that a pool leaves uncounted
RED_ZONE = 256
ALIGNMENT = 256
SIMULATED_CAPACITY = 8 << 30
_PATTERN = 0xA5
_POISON = 0xFF  # all ones is a NaN in every float format


class OutOfMemoryError(RuntimeError):
    """A device has no memory left. The message says how much was asked for, and what is live and cached."""


OutOfMemoryError.__module__ = "naiad"


class Pool:
    """The memory of one device: `take(nbytes)` gives a buffer. Counters are in bytes, rounded as the memory is."""

    def __init__(self, device_index: int) -> None:
        self.device_index = device_index
        self.live = self.peak = self.peak_reserved = 0
        self.allocations = self.retries = self.failures = 0
        self.fraction = 1.0
        # Sizes as they come and, negative, as they go. Counted later, in order, because finalizers, which may run in
        # the middle of anything, can do no more than append.
        self.events: deque[int] = deque()
        self.lock = threading.Lock()

    # ------------------------------------------------------------ what kinds of memory differ in
    def allocate(self, nbytes: int) -> Any:
        """Raw memory; raises MemoryError where there is none."""
        raise NotImplementedError

    def wrap(self, memory: Any, nbytes: int) -> Any:
        """A buffer around raw memory."""
        raise NotImplementedError

    def release_cached(self) -> None:
        """Give memory back that no buffer uses."""

    @property
    def reserved(self) -> int:
        """Bytes taken from the device, in use or cached."""
        raise NotImplementedError

    @property
    def capacity(self) -> int:
        """Bytes that the device has."""
        raise NotImplementedError

    # ------------------------------------------------------------ the same for all
    def take(self, nbytes: int) -> Any:
        """A buffer of so many bytes. Where the device is full, cached memory is given back and asked for once more.

        Raises OutOfMemoryError where that does not help, RuntimeError in a process forked off one that uses cuda.
        """
        if forked:
            raise RuntimeError(FORKED)
        size = -(-nbytes // GRANULE) * GRANULE
        try:
            memory = self._limited(nbytes, size)
        except MemoryError:
            self.retries += 1
            self.release_cached()
            try:
                memory = self._limited(nbytes, size)
            except MemoryError:
                self.failures += 1
                raise OutOfMemoryError(self._explain(nbytes)) from None
        buffer = self.wrap(memory, nbytes)
        self.events.append(size)
        if len(self.events) > BACKLOG:
            self.current()
        return buffer

    def _limited(self, nbytes: int, size: int) -> Any:
        if self.fraction < 1 and self.current() + size > self.fraction * self.capacity:
            raise MemoryError
        return self.allocate(nbytes)

    def _explain(self, nbytes: int) -> str:
        live, reserved, capacity = self.current(), self.reserved, self.capacity
        limit = "" if self.fraction == 1 else f" (this process may use {self.fraction:.4g} of it)"
        return (
            f"CUDA out of memory. Tried to allocate {readable(nbytes)} ({nbytes} bytes) on cuda:{self.device_index}, "
            f"which has {readable(capacity)}{limit}: {readable(live)} ({live} bytes) are in live tensors and "
            f"{readable(max(reserved - live, 0))} are cached, what could be given back of those already was. Delete "
            "tensors that are not needed (those in graphs too: use no_grad() or detach()), or take smaller batches"
        )

    def current(self) -> int:
        """Bytes in live buffers."""
        with self.lock:
            while self.events:
                size = self.events.popleft()
                self.live += size
                if size > 0:
                    self.allocations += 1
                    self.peak = max(self.peak, self.live)
            return self.live

    def reset_peak(self) -> None:
        """Count peaks from what is live now."""
        self.peak, self.peak_reserved = self.current(), self.reserved


def readable(nbytes: float) -> str:
    """Bytes for people: 1.50 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(nbytes) < 1024:
            return f"{nbytes:.0f} bytes" if unit == "bytes" else f"{nbytes:.2f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"


# ---------------------------------------------------------------- forks
FORKED = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)
forked = False
_watching = False


def watch_forks() -> None:
    """From now on a forked child may not use cuda: the driver's state does not survive a fork."""
    global _watching
    if not _watching:
        _watching = True
        os.register_at_fork(after_in_child=_mark)


def _mark() -> None:
    global forked
    forked = True


# ---------------------------------------------------------------- the simulated device
class SimulatedPool(Pool):
    """Host memory in a device's place. What is given back counts as cached, as it would be on a GPU."""

    def __init__(self, device_index: int) -> None:
        super().__init__(device_index)
        self.taken = 0
        self.buffers: weakref.WeakSet[SimulatedBuffer] = weakref.WeakSet()

    def allocate(self, nbytes: int) -> Any:
        if self.current() + nbytes > SIMULATED_CAPACITY:
            raise MemoryError
        return np.empty(nbytes + 2 * RED_ZONE + ALIGNMENT, np.uint8)

    def wrap(self, memory: Any, nbytes: int) -> SimulatedBuffer:
        self.taken = max(self.taken, self.current() - -nbytes // GRANULE * GRANULE)
        self.peak_reserved = max(self.peak_reserved, self.taken)
        buffer = SimulatedBuffer(nbytes, self.device_index, memory, self)
        self.buffers.add(buffer)
        return buffer

    def release_cached(self) -> None:
        self.taken = self.current()

    @property
    def reserved(self) -> int:
        return self.taken

    @property
    def capacity(self) -> int:
        return SIMULATED_CAPACITY

    def check(self) -> None:
        """Raise RuntimeError if a kernel wrote outside of a live buffer."""
        for buffer in list(self.buffers):
            buffer.check()


class SimulatedBuffer:
    """`nbytes` of pretended device memory. Raises RuntimeError in `check` if a kernel wrote outside of it."""

    __slots__ = ("bytes", "ptr", "nbytes", "device_index", "_whole", "_pool", "__weakref__")

    def __init__(self, nbytes: int, device_index: int, memory: Any = None, pool: SimulatedPool | None = None) -> None:
        whole = np.empty(nbytes + 2 * RED_ZONE + ALIGNMENT, np.uint8) if memory is None else memory
        start = RED_ZONE + -(whole.ctypes.data + RED_ZONE) % ALIGNMENT
        whole[:start] = _PATTERN
        whole[start + nbytes :] = _PATTERN
        self._whole, self.nbytes, self.device_index, self._pool = whole, nbytes, device_index, pool
        self.bytes = whole[start : start + nbytes]
        self.bytes[:] = _POISON
        self.ptr = whole.ctypes.data + start

    def allocate(self, nbytes: int) -> SimulatedBuffer:
        """A fresh buffer on the same device."""
        return SimulatedBuffer(nbytes, self.device_index) if self._pool is None else self._pool.take(nbytes)

    def record_stream(self, stream: Any) -> None:
        """Nothing: the simulated device works in step with the host."""

    def check(self, name: str = "a kernel") -> None:
        """Raise if the red zones have changed."""
        start = self.ptr - self._whole.ctypes.data
        outside = (self._whole[:start], self._whole[start + self.nbytes :])
        if any((zone != _PATTERN).any() for zone in outside):
            raise RuntimeError(f"{name} wrote outside of a buffer of {self.nbytes} bytes on cuda:{self.device_index}")

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool.events.append(-self.nbytes // GRANULE * GRANULE)
