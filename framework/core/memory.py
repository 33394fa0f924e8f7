"""Memory of the simulated cuda device: host bytes, made hostile so that faults show as they would on a GPU.

Every buffer stands between red zones of a known pattern and starts filled with bytes that read as NaN, so that an
access past an end and a read of uninitialized memory both show in results or in `check`.
"""

from __future__ import annotations

import numpy as np

RED_ZONE = 256
ALIGNMENT = 256
_PATTERN = 0xA5
_POISON = 0xFF  # all ones is a NaN in every float format


class SimulatedBuffer:
    """`nbytes` of pretended device memory. Raises RuntimeError in `check` if a kernel wrote outside of it."""

    __slots__ = ("bytes", "ptr", "nbytes", "device_index", "_whole")

    def __init__(self, nbytes: int, device_index: int) -> None:
        whole = np.empty(nbytes + 2 * RED_ZONE + ALIGNMENT, np.uint8)
        start = RED_ZONE + -(whole.ctypes.data + RED_ZONE) % ALIGNMENT
        whole[:start] = _PATTERN
        whole[start + nbytes :] = _PATTERN
        self._whole, self.nbytes, self.device_index = whole, nbytes, device_index
        self.bytes = whole[start : start + nbytes]
        self.bytes[:] = _POISON
        self.ptr = whole.ctypes.data + start

    def allocate(self, nbytes: int) -> SimulatedBuffer:
        """A fresh buffer on the same device."""
        return SimulatedBuffer(nbytes, self.device_index)

    def check(self, name: str = "a kernel") -> None:
        """Raise if the red zones have changed."""
        start = self.ptr - self._whole.ctypes.data
        outside = (self._whole[:start], self._whole[start + self.nbytes :])
        if any((zone != _PATTERN).any() for zone in outside):
            raise RuntimeError(f"{name} wrote outside of a buffer of {self.nbytes} bytes on cuda:{self.device_index}")
