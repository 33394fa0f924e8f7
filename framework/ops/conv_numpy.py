"""Convolution in NumPy, of any rank: a copy that lays the taps of the kernel side by side, and one matrix product.

Channels come first here: an input (N, C, *S) becomes a padded copy (C, N, *P). With stride 1 the positions n, p of that
copy are one flat axis on which every tap of the kernel is a shift, so the taps' copies are long runs of memory, and the
results are computed on the whole padded grid, of which the last rows and columns are cut off. With larger strides each
tap is a strided slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

ndarray = np.ndarray
Shape = tuple[int, ...]
_COLUMNS = 1 << 19  # elements of the tap matrix made at a time, so that it stays in cache
_WHOLE = 1 << 21  # a tap matrix up to this size is made at once: fewer and larger products


def _step(rows: int, length: int) -> int:
    """How many columns of a tap matrix to make at a time."""
    return max(length, 1) if rows * length <= _WHOLE else max(512, _COLUMNS // rows)


class Geometry:
    """Sizes of a convolution: input (N, C, *size), kernel, and the result's size per dimension."""

    def __init__(self, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> None:
        self.size, self.kernel, self.stride, self.padding, self.dilation = size, kernel, stride, padding, dilation
        self.padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
        self.reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        self.out = tuple((n - r) // s + 1 for n, r, s in zip(self.padded, self.reach, stride, strict=True))
        self.unit = all(s == 1 for s in stride)
        self.grid = self.padded if self.unit else self.out
        self.inside = tuple(slice(p, p + n) for p, n in zip(padding, size, strict=True))
        self.cropped = tuple(slice(n) for n in self.out)
        self.pointwise = self.unit and prod(kernel) == 1 and not any(padding)

    def taps(self) -> Iterator[tuple[int, ...]]:
        """The offset of every tap of the kernel."""
        return product(*[range(0, k * d, d) for k, d in zip(self.kernel, self.dilation, strict=True)])

    def shifts(self) -> list[int]:
        """The same on the flat axis of the padded grid."""
        steps = [prod(self.padded[i + 1 :]) for i in range(len(self.padded))]
        return [sum(o * s for o, s in zip(tap, steps, strict=True)) for tap in self.taps()]

    def window(self, tap: tuple[int, ...]) -> tuple[slice, ...]:
        """What a tap sees of the padded input, one position per result."""
        return tuple(slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(tap, self.out, self.stride, strict=True))


def _channels_first(x: ndarray) -> ndarray:
    return x.swapaxes(0, 1)


def _padded(x: ndarray, g: Geometry) -> ndarray:
    """x (N, C, *S) as a contiguous (C, N, *padded)."""
    if not any(g.padding):
        return np.ascontiguousarray(_channels_first(x))
    out = np.zeros((x.shape[1], x.shape[0], *g.padded), x.dtype)
    out[(slice(None), slice(None), *g.inside)] = _channels_first(x)
    return out


def _on_grid(x: ndarray, g: Geometry) -> ndarray:
    """A result or its gradient (N, O, *out) as (O, N * grid), zero where the grid holds no result."""
    if g.grid == g.out:
        return np.ascontiguousarray(_channels_first(x)).reshape(x.shape[1], -1)
    out = np.zeros((x.shape[1], x.shape[0], *g.grid), x.dtype)
    out[(slice(None), slice(None), *g.cropped)] = _channels_first(x)
    return out.reshape(x.shape[1], -1)


class Taps:
    """The matrix (C * taps, N * grid) of what each tap of the kernel sees of x, made piece by piece."""

    def __init__(self, padded: ndarray, g: Geometry) -> None:
        self.padded, self.geometry = padded, g
        self.channels, self.count = padded.shape[0], padded.shape[1]
        self.rows = self.channels * prod(g.kernel)
        self.shifts = g.shifts() if g.unit else []
        # On the flat axis the last positions, from which a tap would reach past the end, hold no result.
        self.length = self.count * prod(g.grid) - (self.shifts[-1] if g.unit else 0)

    def pieces(self) -> Iterator[tuple[int, int, ndarray]]:
        """(start, stop, matrix of these columns)."""
        if self.geometry.unit:
            yield from self._shifted()
        else:
            yield from self._sliced()

    def _shifted(self) -> Iterator[tuple[int, int, ndarray]]:
        flat = self.padded.reshape(self.channels, -1)
        step = _step(self.rows, self.length)
        if len(self.shifts) == 1:
            yield 0, self.length, flat
            return
        room = np.empty((self.channels, len(self.shifts), min(step, self.length)), flat.dtype)
        for start in range(0, self.length, step):
            stop = min(start + step, self.length)
            taps = room[:, :, : stop - start]
            for i, shift in enumerate(self.shifts):
                taps[:, i] = flat[:, start + shift : stop + shift]
            matrix = taps.reshape(self.rows, stop - start) if stop - start == room.shape[2] else None
            yield start, stop, np.ascontiguousarray(taps).reshape(self.rows, -1) if matrix is None else matrix

    def _sliced(self) -> Iterator[tuple[int, int, ndarray]]:
        g, per = self.geometry, prod(self.geometry.out)
        step = -(-_step(self.rows, self.count * per) // per)
        for start in range(0, self.count, step):
            stop = min(start + step, self.count)
            taps = np.empty((self.channels, prod(g.kernel), stop - start, *g.out), self.padded.dtype)
            for i, tap in enumerate(g.taps()):
                taps[:, i] = self.padded[(slice(None), slice(start, stop), *g.window(tap))]
            yield start * per, stop * per, taps.reshape(self.rows, -1)


def forward(x: ndarray, weight: ndarray, bias: ndarray | None, g: Geometry, groups: int) -> ndarray:
    """x (N, C, *S) with weight (O, C / groups, *kernel): (N, O, *out)."""
    n, out_channels = x.shape[0], weight.shape[0]
    out = np.empty((n, out_channels, *g.out), x.dtype)
    if not out.size:
        return out
    if g.pointwise and groups == 1:
        flat = out.reshape(n, out_channels, -1)
        np.matmul(weight.reshape(out_channels, -1), np.ascontiguousarray(x).reshape(n, x.shape[1], -1), out=flat)
    elif weight.shape[1] == 1 and groups > 1:
        _depthwise(x, weight, g, out)
    else:
        c, o = x.shape[1] // groups, out_channels // groups
        for i in range(groups):
            part = out[:, i * o : (i + 1) * o]
            _forward(x[:, i * c : (i + 1) * c], weight[i * o : (i + 1) * o], g, part)
    if bias is not None:
        out += bias.reshape((-1,) + (1,) * len(g.out))
    return out


def _forward(x: ndarray, weight: ndarray, g: Geometry, out: ndarray) -> None:
    taps = Taps(_padded(x, g), g)
    matrix = weight.reshape(weight.shape[0], -1)
    result = np.empty((weight.shape[0], x.shape[0] * prod(g.grid)), x.dtype)
    for start, stop, columns in taps.pieces():
        np.matmul(matrix, columns[:, : stop - start], out=result[:, start:stop])
    shown = result.reshape(weight.shape[0], x.shape[0], *g.grid)[(slice(None), slice(None), *g.cropped)]
    _channels_first(out)[...] = shown


def _depthwise(x: ndarray, weight: ndarray, g: Geometry, out: ndarray) -> None:
    """One input channel per group: taps are added up one after the other."""
    padded, each = _plain_padded(x, g), weight.shape[0] // x.shape[1]
    grouped = out.reshape(x.shape[0], x.shape[1], each, *g.out)
    factors = weight.reshape(x.shape[1], each, -1)
    ones = (1,) * len(g.out)
    for i, tap in enumerate(g.taps()):
        seen = padded[(slice(None), slice(None), *g.window(tap))][:, :, None]
        factor = factors[:, :, i].reshape(x.shape[1], each, *ones)
        if i:
            grouped += seen * factor
        else:
            np.multiply(seen, factor, out=grouped)


def _plain_padded(x: ndarray, g: Geometry) -> ndarray:
    if not any(g.padding):
        return x
    out = np.zeros((*x.shape[:2], *g.padded), x.dtype)
    out[(slice(None), slice(None), *g.inside)] = x
    return out


def input_gradient(grad: ndarray, weight: ndarray, g: Geometry, groups: int) -> ndarray:
    """The transpose of `forward` in x: grad (N, O, *out) and weight give (N, C, *size)."""
    n, c = grad.shape[0], weight.shape[1]
    out = np.empty((n, c * groups, *g.size), grad.dtype)
    if not grad.size or not out.size:
        return np.zeros_like(out)
    if g.pointwise and groups == 1:
        flat = np.ascontiguousarray(grad).reshape(n, grad.shape[1], -1)
        np.matmul(weight.reshape(weight.shape[0], -1).T, flat, out=out.reshape(n, c, -1))
        return out
    if c == 1 and groups > 1:
        return _depthwise_input_gradient(grad, weight, g, groups)
    o = weight.shape[0] // groups
    for i in range(groups):
        part = slice(i * o, (i + 1) * o)
        _channels_first(out)[i * c : (i + 1) * c] = _input_gradient(grad[:, part], weight[part], g)
    return out


def _input_gradient(grad: ndarray, weight: ndarray, g: Geometry) -> ndarray:
    """The same for one group, as (C, N, *size)."""
    n, c = grad.shape[0], weight.shape[1]
    matrix = weight.reshape(weight.shape[0], -1).T
    padded = np.zeros((c, n, *g.padded), grad.dtype)
    seen = _on_grid(grad, g)
    if g.unit:
        flat, shifts = padded.reshape(c, -1), g.shifts()
        length = flat.shape[1] - shifts[-1]
        step = _step(matrix.shape[0], length)
        for start in range(0, length, step):
            stop = min(start + step, length)
            taps = np.matmul(matrix, seen[:, start:stop]).reshape(c, len(shifts), stop - start)
            for i, shift in enumerate(shifts):
                flat[:, start + shift : stop + shift] += taps[:, i]
    else:
        per = prod(g.out)
        step = -(-_step(matrix.shape[0], n * per) // per)
        for start in range(0, n, step):
            stop = min(start + step, n)
            taps = np.matmul(matrix, seen[:, start * per : stop * per]).reshape(c, -1, stop - start, *g.out)
            for i, tap in enumerate(g.taps()):
                padded[(slice(None), slice(start, stop), *g.window(tap))] += taps[:, i]
    return padded[(slice(None), slice(None), *g.inside)]


def _depthwise_input_gradient(grad: ndarray, weight: ndarray, g: Geometry, groups: int) -> ndarray:
    each, n = weight.shape[0] // groups, grad.shape[0]
    padded = np.zeros((n, groups, *g.padded), grad.dtype)
    grouped = grad.reshape(n, groups, each, *g.out)
    factors = weight.reshape(groups, each, -1)
    for i, tap in enumerate(g.taps()):
        factor = factors[:, :, i].reshape((groups, each) + (1,) * len(g.out))
        padded[(slice(None), slice(None), *g.window(tap))] += np.add.reduce(grouped * factor, 2)
    return np.ascontiguousarray(padded[(slice(None), slice(None), *g.inside)])


def weight_gradient(grad: ndarray, x: ndarray, g: Geometry, groups: int) -> ndarray:
    """The transpose of `forward` in weight: grad (N, O, *out) and x (N, C, *S) give (O, C / groups, *kernel)."""
    out_channels, c = grad.shape[1], x.shape[1] // groups
    out = np.zeros((out_channels, c, *g.kernel), x.dtype)
    if not grad.size or not x.size:
        return out
    if c == 1 and groups > 1:
        return _depthwise_weight_gradient(grad, x, g, groups)
    o = out_channels // groups
    for i in range(groups):
        matrix = out[i * o : (i + 1) * o].reshape(o, -1)
        seen = _on_grid(grad[:, i * o : (i + 1) * o], g)
        first = True
        for start, stop, columns in Taps(_padded(x[:, i * c : (i + 1) * c], g), g).pieces():
            part = seen[:, start:stop], columns[:, : stop - start].T
            if first:
                np.matmul(*part, out=matrix)
            else:
                matrix += np.matmul(*part)
            first = False
    return out


def _depthwise_weight_gradient(grad: ndarray, x: ndarray, g: Geometry, groups: int) -> ndarray:
    each, n = grad.shape[1] // groups, x.shape[0]
    padded = _plain_padded(x, g)
    grouped = grad.reshape(n, groups, each, *g.out)
    axes = (0, *range(3, 3 + len(g.out)))
    found = [
        np.add.reduce(grouped * padded[(slice(None), slice(None), *g.window(tap))][:, :, None], axes)
        for tap in g.taps()
    ]
    return np.ascontiguousarray(np.stack(found, -1).reshape(grad.shape[1], 1, *g.kernel))
