"""Sample inputs: how an entry's `samples=` describes calls, and how a call is made for naiad, torch or NumPy.

    samples=lambda s: [s.call(s(2, 3), dim=1), s.call([s(2), s(3)], 0)]

`s(*shape)` is a float operand (differentiable), `s.ints`, `s.bools`, `s.fixed` are not; everything else is passed as
it is. Randomness is fresh but seeded, so that a failure can be repeated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Operand:
    """A tensor argument: its values, and whether gradients are checked through it."""

    values: np.ndarray
    differentiable: bool = True


@dataclass
class Call:
    """One call of an entry."""

    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)

    def build(self, make: Callable[[Operand], Any]) -> tuple[list, dict[str, Any]]:
        """Arguments with every operand made into a tensor by `make`."""
        return [_map(a, make) for a in self.args], {k: _map(v, make) for k, v in self.kwargs.items()}

    def operands(self) -> Iterator[Operand]:
        """The tensor arguments in order."""
        found: list[Operand] = []
        self.build(found.append)
        return iter(found)


def _map(value: Any, make: Callable[[Operand], Any]) -> Any:
    if isinstance(value, Operand):
        return make(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map(v, make) for v in value)
    return value


class Samples:
    """Makes operands; `low` and `high` bound the values of floats."""

    def __init__(self, name: str, low: float = -2.0, high: float = 2.0) -> None:
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.low, self.high = low, high

    def __call__(self, *shape: int, low: float | None = None, high: float | None = None) -> Operand:
        """Floats, distinct and away from 0 (where many functions have a kink)."""
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
        """Complex numbers."""
        real, imaginary = self.random.uniform(self.low, self.high, (2, *shape))
        return Operand(np.asarray(real + 1j * imaginary))

    def fixed(self, values: Any, dtype: Any = None, differentiable: bool = False) -> Operand:
        """These very values."""
        return Operand(np.asarray(values, dtype), differentiable)

    def call(self, *args: Any, **kwargs: Any) -> Call:
        return Call(args, kwargs)


def elementwise_calls(name: str, operands: tuple[str, ...], flags: tuple[str, ...], domain: Any) -> list[Call]:
    """Calls of an elementwise entry: equal shapes, broadcasting, 0-d, empty."""
    bounds = domain if isinstance(domain, dict) else {o: domain for o in operands}

    def operand(s: Samples, o: str, shape: tuple[int, ...]) -> Operand:
        if o in flags:
            return s.bools(*shape)
        low, high = bounds.get(o) or (None, None)
        return s(*shape, low=low, high=high)

    s = Samples(name)
    layouts: list[list[tuple[int, ...]]] = [[(2, 3)] * len(operands), [()] * len(operands), [(0, 2)] * len(operands)]
    if len(operands) > 1:
        layouts.append([(2, 3), *[(3,)] * (len(operands) - 1)])
        layouts.append([*[(2, 1)] * (len(operands) - 1), (1, 4)])
    return [Call(tuple(operand(s, o, shape) for o, shape in zip(operands, shapes, strict=True))) for shapes in layouts]
