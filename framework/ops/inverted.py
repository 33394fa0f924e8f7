"""Filling a tensor with exponentials, Cauchy and geometric numbers: a distribution's inverse at one uniform each."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from naiad.core.device import device
from naiad.core.dtype import FLOAT, dtype
from naiad.core.op import public
from naiad.core.primitive import factory
from naiad.core.random import Generator, generator_for, lanes_per_value, unit_uniform
from naiad.core.tensor import Tensor


def need_float(name: str, self: Tensor) -> None:
    """Raise NotImplementedError for a tensor that cannot hold what a draw makes."""
    if self._dtype.kind < FLOAT:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{self._dtype.name}': it fills floating-point tensors"
        )


def computed_in(of: dtype) -> np.dtype:
    """float64 for float64 and float32 for all else: what draws for a dtype are made in."""
    return np.dtype(np.float64 if of.kind == FLOAT and of.itemsize == 8 else np.float32)


def _uniforms(shape: tuple[int, ...], of: dtype, seed: int, offset: int) -> np.ndarray:
    return unit_uniform(seed, offset, prod(shape), computed_in(of)).reshape(shape)


@factory(kernel="draws.exponential", name="exponential_op")
def exponential_op(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, lambd: float
) -> np.ndarray:
    """-log(1 - u) / lambd."""
    u = _uniforms(shape, dtype, seed, offset)
    return (-np.log1p(-u) / u.dtype.type(lambd)).astype(dtype.np)


@factory(kernel="draws.cauchy", name="cauchy_op")
def cauchy_op(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, median: float, sigma: float
) -> np.ndarray:
    """median + sigma tan(pi (u - 1/2))."""
    u = _uniforms(shape, dtype, seed, offset)
    number = u.dtype.type
    return (number(median) + number(sigma) * np.tan(number(np.pi) * (u - number(0.5)))).astype(dtype.np)


@factory(kernel="draws.geometric", name="geometric_op")
def geometric_op(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, p: float
) -> np.ndarray:
    """ceil(log(1 - u) / log(1 - p)), at least 1."""
    u = _uniforms(shape, dtype, seed, offset)
    return np.maximum(np.ceil(np.log1p(-u) / u.dtype.type(np.log1p(-p))), 1).astype(dtype.np)


def _filling(name: str, op: Callable, doc: str, check: Callable, **defaults: float | None) -> None:
    """An in-place draw of an op, whose parameters may be given by position or by name."""

    def call(self: Tensor, *parameters: float, generator: Generator | None = None, **named: float) -> Tensor:
        values = dict(zip(defaults, parameters, strict=False))
        unknown = set(named) - set(defaults)
        if len(parameters) > len(defaults) or unknown or set(named) & set(values):
            raise TypeError(f"{name}() takes {list(defaults)}, got {parameters} and {sorted(named)}")
        chosen = {**defaults, **values, **named}
        if any(v is None for v in chosen.values()):
            raise TypeError(f"{name}() missing {[k for k, v in chosen.items() if v is None]}")
        check(self, **chosen)
        needed = self.numel() * lanes_per_value(computed_in(self._dtype))
        seed, offset = generator_for(self._device, generator).advance(needed)
        place: dict[str, Any] = {"shape": self._array.shape, "dtype": self._dtype, "device": self._device}
        return self.copy_(op(**place, seed=seed, offset=offset, **chosen))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    public("Tensor", name=name)(call)


def _check_exponential(self: Tensor, lambd: float) -> None:
    need_float("exponential_", self)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")


def _check_cauchy(self: Tensor, median: float, sigma: float) -> None:
    need_float("cauchy_", self)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")


def _check_geometric(self: Tensor, p: float) -> None:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")


_filling(
    "exponential_",
    exponential_op,
    "Fill with exponentials of this rate: -log(1 - u) / lambd.",
    _check_exponential,
    lambd=1,
)
_filling(
    "cauchy_",
    cauchy_op,
    "Fill with Cauchy numbers: median + sigma tan(pi (u - 1/2)).",
    _check_cauchy,
    median=0,
    sigma=1,
)
_filling(
    "geometric_",
    geometric_op,
    "Fill with how many trials of probability `p` the first success takes: ceil(log(1 - u) / log(1 - p)), at least 1.",
    _check_geometric,
    p=None,
)
