"""Maxima and sums along a dimension, quicker than NumPy's reductions where that is the last one, of short rows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def _in_rows(x: np.ndarray, dim: int) -> bool:
    """Whether the dimension is the last one of floats that lie row by row."""
    return bool(x.size) and dim in (-1, x.ndim - 1) and x.dtype.kind == "f" and x.flags.c_contiguous


def maxima(x: np.ndarray, dim: int) -> np.ndarray:
    """The maxima over a dimension, which is kept with size 1. NaN wins.

    `reduceat` spends half of `reduce`'s time on a row.
    """
    if not _in_rows(x, dim):
        return np.maximum.reduce(x, dim, keepdims=True)
    starts = np.arange(0, x.size, x.shape[-1])
    return np.maximum.reduceat(x.reshape(-1), starts).reshape(*x.shape[:-1], 1)


def sums(x: np.ndarray, dim: int) -> np.ndarray:
    """The sums over a dimension, which is kept with size 1: over the last one as a matrix product."""
    if not _in_rows(x, dim) or x.dtype.itemsize < 4:
        return np.add.reduce(x, dim, keepdims=True)
    n = x.shape[-1]
    return np.matmul(x.reshape(-1, n), _ones(n, x.dtype)).reshape(*x.shape[:-1], 1)


@lru_cache(maxsize=16)
def _ones(n: int, of: np.dtype) -> np.ndarray:
    return np.ones((n, 1), of)
