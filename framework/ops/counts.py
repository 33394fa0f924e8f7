"""Poisson and binomial numbers: where a uniform falls in the running sum of probabilities.

The sum begins at 0, or 20 deviations below the mean where that is at least 64: by Stirling's series (Abramowitz and
Stegun, 6.1.41) the logarithm of a factorial is exact to the last bit there. It ends where what is left cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CPU
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive, same_as
from naiad.core.random import Generator, generator_for, unit_uniform
from naiad.core.tensor import Tensor
from naiad.ops.inverted import need_float

ndarray = np.ndarray


def _begin(mean: ndarray, deviation: ndarray) -> ndarray:
    """Where the sum begins."""
    k = np.floor(mean - 20 * deviation - 20)
    return np.where(k < 64, 0, k)


def _log_factorial(n: ndarray) -> ndarray:
    n = np.maximum(n, 1)
    return n * (np.log(n) - 1) + 0.5 * np.log(2 * np.pi * n) + (1 / 12 - 1 / (360 * n * n)) / n


def _search(u: ndarray, k: ndarray, chance: ndarray, mean: ndarray, ratio: Callable[[ndarray], ndarray]) -> ndarray:
    """The first number from k on at which the running sum passes u; ratio: a chance over the one before it."""
    total = chance.copy()
    active = u >= total
    while active.any():
        k += active
        chance = np.where(active, chance * ratio(k), chance)
        total += np.where(active, chance, 0)
        active &= (u >= total) & ((chance > 1e-20) | (k < mean))
    return k


def _launching(kernel: str) -> Callable:
    """A function in place of a kernel's name: such launches, of which no two are the same, are not kept."""

    def launch(out: Any, *operands: Any, seed: int, offset: int) -> None:
        backend.launcher(f"draws.{kernel}", kernel)(out, *operands, seed=seed, offset=offset)

    return launch


@primitive(name="poisson", rule=same_as(), kernel=_launching("poisson"), widen=False)
def poisson_op(rate: ndarray, *, seed: int, offset: int) -> ndarray:
    """Poisson numbers of these rates, one float64 uniform each."""
    mean = rate.astype(np.float64).reshape(-1)
    k = _begin(mean, np.sqrt(mean))
    log = np.where(k > 0, k * np.log(np.maximum(mean, 1)) - _log_factorial(k), 0)
    u = unit_uniform(seed, offset, mean.size, np.dtype(np.float64))
    found = _search(u, k, np.exp(log - mean), mean, lambda k: mean / np.maximum(k, 1))
    return found.reshape(rate.shape).astype(rate.dtype)


@public("naiad")
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers of these rates, in the dtype of `input`."""
    need_float("poisson", input)
    if input._device.kind == CPU and not (input.detach() >= 0).all():  # a GPU is not waited for
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    seed, offset = generator_for(input._device, generator).advance(2 * input.numel())
    return poisson_op(input.detach(), seed=seed, offset=offset)


@primitive(name="binomial", rule=same_as(), kernel=_launching("binomial"), widen=False)
def binomial_op(count: ndarray, prob: ndarray, *, seed: int, offset: int) -> ndarray:
    """How many of count trials succeed, one float64 uniform each. Probabilities above 1/2 count what does not."""
    n, given = (x.astype(np.float64).reshape(-1) for x in (count, prob))
    p = np.minimum(given, 1 - given)
    mean = n * p
    k = _begin(mean, np.sqrt(mean * (1 - p)))
    ways = _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k) + k * np.log(np.where(k > 0, p, 1))
    chance = np.exp(np.where(k > 0, ways, 0) + (n - k) * np.log1p(-p))
    u = unit_uniform(seed, offset, n.size, np.dtype(np.float64))
    found = _search(u, k, chance, mean, lambda k: (n - k + 1) / np.maximum(k, 1) * (p / (1 - p)))
    found = np.minimum(found, n)
    return np.where(given > 0.5, n - found, found).reshape(count.shape).astype(count.dtype)


@public("naiad")
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials of probability `prob` succeed, in the dtype of `count`."""
    if count._dtype is not prob._dtype:
        raise RuntimeError(f"binomial: expected count and prob of one dtype, got {count.dtype} and {prob.dtype}")
    need_float("binomial", count)
    count, prob = PUBLIC["naiad"]["broadcast_tensors"](count.detach(), prob.detach())
    seed, offset = generator_for(count._device, generator).advance(2 * count.numel())
    return binomial_op(count, prob, seed=seed, offset=offset)
