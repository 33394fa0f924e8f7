"""Page-locked host memory, from and to which copies run beside the host's own work."""

from __future__ import annotations

from typing import Any

import numpy as np


class Pinned(np.ndarray):
    """The bytes of page-locked memory: what the chain of bases of an array that lies there passes."""


def pinned(shape: tuple[int, ...], dtype: np.dtype, memory: Any, nbytes: int) -> np.ndarray:
    """An array over page-locked memory that exports its bytes."""
    return np.ndarray(shape, dtype, Pinned((max(nbytes, 1),), np.uint8, memory))


def is_pinned(array: Any) -> bool:
    """Whether an array lies in memory from `pinned`."""
    while isinstance(array, np.ndarray):
        if isinstance(array, Pinned):
            return True
        array = array.base
    return False
