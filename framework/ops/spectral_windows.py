"""Window functions of signal processing: hann, hamming, blackman, bartlett, kaiser."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np

from naiad.core.dtype import dtype, float64
from naiad.core.op import public
from naiad.core.state import default_dtype
from naiad.core.tensor import Tensor
from naiad.ops.creation import finish, full_op, home, placed
from naiad.ops.ranges import steps


def _window(
    name: str, length: int, periodic: bool, shape: Callable, of: dtype | None, device: Any, requires_grad: bool
) -> Tensor:
    of = of or default_dtype()
    if of.kind < 2:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {of}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    where = home(device)
    if length == 1:
        values = full_op(shape=(1,), value=1.0, dtype=float64, device=where)
    else:
        last = length if periodic else length - 1  # a periodic window is a longer one without its end
        values = shape(steps(shape=(length,), dtype=float64, device=where, start=0, step=1), max(last, 1))
    return finish(values.to(of), requires_grad)


def _cosines(*weights: float) -> Callable:
    def shape(i: Tensor, last: int) -> Tensor:
        terms = [(i * (2 * pi * k) / last).cos() * ((-1) ** k * w) for k, w in enumerate(weights[1:], 1)]
        return sum(terms[1:], terms[0] + weights[0])

    return shape


@public("naiad")
def hann_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """0.5 - 0.5 cos(2 pi i / N), N the length (periodic) or one less."""
    return _window("hann_window", window_length, periodic, _cosines(0.5, 0.5), dtype, device, requires_grad)


@public("naiad")
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """alpha - beta cos(2 pi i / N)."""
    return _window("hamming_window", window_length, periodic, _cosines(alpha, beta), dtype, device, requires_grad)


@public("naiad")
def blackman_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """0.42 - 0.5 cos(2 pi i / N) + 0.08 cos(4 pi i / N)."""
    return _window("blackman_window", window_length, periodic, _cosines(0.42, 0.5, 0.08), dtype, device, requires_grad)


@public("naiad")
def bartlett_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A triangle: 1 - |2 i / N - 1|."""
    return _window(
        "bartlett_window", window_length, periodic, lambda i, n: 1 - (2 * i / n - 1).abs(), dtype, device, requires_grad
    )


@public("naiad")
def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """I0(beta sqrt(1 - (2 i / N - 1)**2)) / I0(beta), with I0 the modified Bessel function."""

    def shape(i: Tensor, last: int) -> Tensor:
        # NumPy has the Bessel function and the kernels have not: made on the host, from the length alone.
        places = np.arange(i.numel(), dtype=np.float64)
        values = np.i0(beta * np.sqrt(np.maximum(1 - (2 * places / last - 1) ** 2, 0))) / np.i0(beta)
        return placed(values, i.device)

    return _window("kaiser_window", window_length, periodic, shape, dtype, device, requires_grad)
