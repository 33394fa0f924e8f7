"""The NumPy side of normalization, worked on piece by piece: NumPy needs many passes, which then go over cache.

rows_*: x (rows, n), every row by itself. channels_*: x (N, C, S), every channel over N and S.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from naiad.ops.rows import ones

ndarray = np.ndarray
BLOCK = 1 << 16  # elements in a piece


def _pieces(count: int, each: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(each, 1))
    for start in range(0, count, step):
        yield slice(start, start + step)


# ---------------------------------------------------------------- rows
def rows_forward(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float, centred: bool = True) -> tuple:
    """y, mean (rows, 1) and variance (rows, 1); weight and bias (n,). Not centred: the mean is taken for 0."""
    rows, n = x.shape
    y, mean, var = np.empty(x.shape, x.dtype), np.zeros((rows, 1), x.dtype), np.empty((rows, 1), x.dtype)
    size, small = x.dtype.type(n), x.dtype.type(eps)
    for part in _pieces(rows, n):
        to, centre, spread = y[part], mean[part], var[part]
        if centred:
            x[part].dot(ones(n, x.dtype), out=centre[:, 0])
            centre /= size
            np.subtract(x[part], centre, out=to)
        from_mean = to if centred else x[part]
        np.einsum("ij,ij->i", from_mean, from_mean, out=spread[:, 0])
        spread /= size
        np.multiply(from_mean, 1 / np.sqrt(spread + small), out=to)
        if weight is not None:
            to *= weight
        if bias is not None:
            to += bias
    return y, mean, var


def rows_gradient(
    g: ndarray, x: ndarray, weight: ndarray | None, mean: ndarray, inverse: ndarray, centred: bool = True
) -> ndarray:
    """The gradient in x, given mean and 1 / sqrt(var + eps), both (rows, 1)."""
    rows, n = x.shape
    out = np.empty(x.shape, x.dtype)
    share = x.dtype.type(1 / n) if n else x.dtype.type(0)
    for part in _pieces(rows, n):
        if centred:
            unit = x[part] - mean[part]
            unit *= inverse[part]
        else:
            unit = x[part] * inverse[part]
        to = out[part]
        scaled = np.multiply(g[part], weight, out=to) if weight is not None else g[part]
        through_var = np.einsum("ij,ij->i", scaled, unit)
        through_var *= share
        unit *= through_var[:, None]
        if centred:
            through_mean = scaled.dot(ones(n, x.dtype))
            through_mean *= share
        np.subtract(scaled, unit, out=to)
        if centred:
            to -= through_mean[:, None]
        to *= inverse[part]
    return out


def rows_weight_gradient(g: ndarray, x: ndarray, mean: ndarray, inverse: ndarray) -> ndarray:
    """The gradient in weight (n,)."""
    rows, n = x.shape
    out = np.zeros(n, x.dtype)
    for part in _pieces(rows, n):
        unit = x[part] - mean[part]
        unit *= inverse[part]
        unit *= g[part]
        out += ones(len(unit), x.dtype).dot(unit)
    return out


# ---------------------------------------------------------------- channels
def _column(of: ndarray) -> ndarray:
    return of.reshape(1, -1, 1)


def channels_forward(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> tuple:
    """y, mean (1, C, 1) and variance (1, C, 1); weight and bias (C,)."""
    n, c, s = x.shape
    count = x.dtype.type(n * s)
    mean = np.add.reduce(x, (0, 2), keepdims=True)
    mean /= count
    y, var = np.empty(x.shape, x.dtype), np.zeros(c, x.dtype)
    for part in _pieces(n, c * s):
        np.subtract(x[part], mean, out=y[part])
        var += np.einsum("ncs,ncs->c", y[part], y[part])
    var /= count
    scale = 1 / np.sqrt(var + x.dtype.type(eps))
    if weight is not None:
        scale *= weight
    for part in _pieces(n, c * s):
        to = y[part]
        to *= _column(scale)
        if bias is not None:
            to += _column(bias)
    return y, mean, _column(var)


def _channel_sums(g: ndarray, x: ndarray, mean: ndarray) -> ndarray:
    """The sum of g * (x - mean) per channel."""
    n, c, s = x.shape
    out = np.zeros(c, x.dtype)
    for part in _pieces(n, c * s):
        out += np.einsum("ncs,ncs->c", g[part], x[part] - mean)
    return out


def channels_gradient(g: ndarray, x: ndarray, weight: ndarray | None, mean: ndarray, inverse: ndarray) -> ndarray:
    """The gradient in x, given mean and 1 / sqrt(var + eps), both (1, C, 1)."""
    n, c, s = x.shape
    share = x.dtype.type(1 / (n * s)) if n * s else x.dtype.type(0)
    scale = inverse if weight is None else inverse * _column(weight)
    slope = _column(_channel_sums(g, x, mean)) * inverse * inverse * share
    shift = np.add.reduce(g, (0, 2), keepdims=True) * share
    out = np.empty(x.shape, x.dtype)
    for part in _pieces(n, c * s):
        unit, to = x[part] - mean, out[part]
        unit *= slope
        np.subtract(g[part], unit, out=to)
        to -= shift
        to *= scale
    return out


def channels_weight_gradient(g: ndarray, x: ndarray, mean: ndarray, inverse: ndarray) -> ndarray:
    """The gradient in weight (C,)."""
    return _channel_sums(g, x, mean) * inverse.reshape(-1)
