"""Sample inputs of an op: how `samples=` describes calls.

    samples=lambda s: [s.call(s(2, 3), s(3), alpha=2.0), s.call(s(0, 3), s(3), alpha=2.0)]

`s(*shape)` is a float operand through which gradients are checked, `s.complex` a complex one; `s.ints`, `s.bools` and
`s.fixed` are operands that have none; everything else is passed on as it is. The values are the same in every run.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Operand:
    """A tensor argument: its values, and whether it is a float that is cast to the dtype under test."""

    values: np.ndarray
    differentiable: bool = True


@dataclass
class Call:
    """One call of an op."""

    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)

    def build(self, make: Callable[[Operand], Any]) -> tuple[list, dict[str, Any]]:
        """The arguments, with every operand made into a tensor by `make`."""
        return [_made(a, make) for a in self.args], {k: _made(v, make) for k, v in self.kwargs.items()}

    def operands(self) -> Iterator[Operand]:
        """The tensor arguments in order."""
        found: list[Operand] = []
        self.build(found.append)
        return iter(found)

    def __str__(self) -> str:
        return ", ".join([*map(_shown, self.args), *(f"{k}={_shown(v)}" for k, v in self.kwargs.items())])


def _made(value: Any, make: Callable[[Operand], Any]) -> Any:
    if isinstance(value, Operand):
        return make(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_made(v, make) for v in value)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value.values.dtype}{list(value.values.shape)}" if isinstance(value, Operand) else repr(value)


class Samples:
    """Makes operands; `low` and `high` bound the values of floats."""

    def __init__(self, name: str, low: float = -2.0, high: float = 2.0) -> None:
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.low, self.high = low, high

    def __call__(self, *shape: int, low: float | None = None, high: float | None = None) -> Operand:
        """Floats in [low, high), kept away from 0, where many functions have a kink."""
        low, high = self.low if low is None else low, self.high if high is None else high
        values = self.random.uniform(low, high, shape)
        margin = 0.05 * min(1.0, high - low)
        if low < 0 < high:
            values = np.where(np.abs(values) < margin, values + 3 * margin, values)
        return Operand(np.asarray(values))

    def ints(self, *shape: int, low: int = 0, high: int = 5, dtype: str = "int64") -> Operand:
        """Integers in [low, high)."""
        return Operand(np.asarray(self.random.integers(low, high, shape)).astype(dtype), False)

    def bools(self, *shape: int) -> Operand:
        """Truth values."""
        return Operand(np.asarray(self.random.random(shape) < 0.5), False)

    def complex(self, *shape: int) -> Operand:
        """Complex numbers, through which gradients are checked too."""
        real, imaginary = self.random.uniform(self.low, self.high, (2, *shape))
        return Operand(np.asarray(real + 1j * imaginary))

    def fixed(self, values: Any, dtype: Any = None, differentiable: bool = False) -> Operand:
        """These very values, in this dtype."""
        return Operand(np.asarray(values, dtype), differentiable)

    def call(self, *args: Any, **kwargs: Any) -> Call:
        """One call with these arguments."""
        return Call(args, kwargs)
