"""A rule as a straight line of NumPy calls: no temporaries, results written where they belong.

`compile_rule` runs the rule once on symbols, which note what is done to them, and gives every intermediate result a
scratch array that no other needs any more, or, for the last value of a parameter or of its state, that array itself.
The rule's numbers are concrete, so its branches are decided and its coefficients are constants: a program serves all
parameters that share them in one step. Steps that differ in the coefficients only share the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_COMPARISONS = frozenset({"less", "greater", "equal"})
# What a rule does -> the function that does it, and how many scratch arrays of numbers and of masks it needs.
_functions: dict[tuple, tuple[Callable[..., None], tuple[int, int]]] = {}


class Program:
    """`run(targets, grad)` updates one block in place: arrays of one shape and of the dtype compiled for."""

    def __init__(
        self, function: Callable[..., None], sizes: tuple[int, int], constants: list[float], dtype: np.dtype
    ) -> None:
        self._function, self._sizes, self._dtype = function, sizes, dtype
        self._constants = [np.asarray(constant, dtype) for constant in constants]
        self._pool: tuple[np.ndarray, np.ndarray] | None = None
        self._scratch: dict[tuple[int, ...], list[np.ndarray]] = {}

    def run(self, targets: Sequence[np.ndarray], grad: np.ndarray) -> None:
        """Update `targets` (the parameter and its state) in place."""
        scratch = self._scratch.get(grad.shape)
        if scratch is None:
            scratch = self._scratch[grad.shape] = self._registers(grad.shape, grad.size)
        self._function(*targets, grad, *self._constants, *scratch)

    def _registers(self, shape: tuple[int, ...], size: int) -> list[np.ndarray]:
        if self._pool is None or size > self._pool[0].shape[1]:
            numbers, masks = self._sizes
            self._pool = np.empty((numbers, size), self._dtype), np.empty((masks, size), bool)
        return [row[:size].reshape(shape) for rows in self._pool for row in rows]


def compile_rule(rule: Callable[..., tuple], states: int, numbers: dict[str, Any], dtype: np.dtype) -> Program:
    """The program of `rule` for a parameter with so many state arrays, with these numbers."""
    trace, results = _traced(rule, states, numbers)
    key = (*trace.ops, *results)
    found = _functions.get(key)
    if found is None:
        source, sizes = _Allocator(trace, results).write()
        found = _functions[key] = _build(source), sizes
    return Program(*found, trace.constants, dtype)


def trace_rule(rule: Callable[..., tuple], states: int, numbers: dict[str, Any]) -> tuple[tuple, tuple, list[float]]:
    """What `rule` does with these numbers: operations, the values that parameter and state become, and constants.

    Operation i is (name, operands) and makes value `states + 2 + i`; values 0 to `states + 1` are the parameter, its
    state and the gradient, and a negative operand -k is constant number k - 1.
    """
    trace, results = _traced(rule, states, numbers)
    return tuple(trace.ops), tuple(results), trace.constants


def _traced(rule: Callable[..., tuple], states: int, numbers: dict[str, Any]) -> tuple[_Trace, list[int]]:
    trace = _Trace(states + 2)
    param, grad, *state = (_Symbol(trace, i) for i in (0, states + 1, *range(1, states + 1)))
    return trace, [symbol.index for symbol in rule(_Maths, param, grad, *state, **numbers)]


def _build(source: str) -> Callable[..., None]:
    scope: dict[str, Any] = {"np": np, "where": _where}
    exec(source, scope)  # the text is put together below, from names of our own only
    return scope["step"]


def _where(mask: np.ndarray, yes: np.ndarray, no: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, no)
    np.copyto(out, yes, where=mask)


class _Trace:
    """What a rule does: operation i makes value number `inputs + i` of its operands, numbers ≥ 0 of values and < 0 of
    constants."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.ops: list[tuple[str, tuple[int, ...]]] = []
        self.constants: list[float] = []

    def emit(self, name: str, *operands: Any) -> _Symbol:
        self.ops.append((name, tuple([self._number(x) for x in operands])))
        return _Symbol(self, self.inputs + len(self.ops) - 1)

    def _number(self, operand: Any) -> int:
        if isinstance(operand, _Symbol):
            return operand.index
        self.constants.append(operand)
        return -len(self.constants)


class _Symbol:
    """Stands for an array in a rule."""

    __slots__ = ("index", "trace")

    def __init__(self, trace: _Trace, index: int) -> None:
        self.trace, self.index = trace, index

    def __add__(self, other: Any) -> _Symbol:
        return self.trace.emit("add", self, other)

    def __radd__(self, other: Any) -> _Symbol:
        return self.trace.emit("add", other, self)

    def __sub__(self, other: Any) -> _Symbol:
        return self.trace.emit("subtract", self, other)

    def __mul__(self, other: Any) -> _Symbol:
        return self.trace.emit("multiply", self, other)

    def __rmul__(self, other: Any) -> _Symbol:
        return self.trace.emit("multiply", other, self)

    def __truediv__(self, other: Any) -> _Symbol:
        return self.trace.emit("divide", self, other)

    def __rtruediv__(self, other: Any) -> _Symbol:
        return self.trace.emit("divide", other, self)

    def __neg__(self) -> _Symbol:
        return self.trace.emit("negative", self)

    def __lt__(self, other: Any) -> _Symbol:
        return self.trace.emit("less", self, other)

    def __gt__(self, other: Any) -> _Symbol:
        return self.trace.emit("greater", self, other)

    def __eq__(self, other: object) -> _Symbol:  # type: ignore[override]
        return self.trace.emit("equal", self, other)

    __hash__ = None  # type: ignore[assignment]


class _Maths:
    """The functions of a rule's namespace, on symbols."""

    @staticmethod
    def sqrt(x: _Symbol) -> _Symbol:
        return x.trace.emit("sqrt", x)

    @staticmethod
    def abs(x: _Symbol) -> _Symbol:
        return x.trace.emit("absolute", x)

    @staticmethod
    def sign(x: _Symbol) -> _Symbol:
        return x.trace.emit("sign", x)

    @staticmethod
    def maximum(x: _Symbol, y: Any) -> _Symbol:
        return x.trace.emit("maximum", x, y)

    @staticmethod
    def clip(x: _Symbol, low: float, high: float) -> _Symbol:
        return x.trace.emit("minimum", x.trace.emit("maximum", x, low), high)

    @staticmethod
    def where(mask: _Symbol, yes: Any, no: Any) -> _Symbol:
        return mask.trace.emit("where", mask, yes, no)


class _Allocator:
    """Gives each value of a trace a place, and writes the calls down."""

    def __init__(self, trace: _Trace, results: list[int]) -> None:
        self._trace, self._results = trace, results
        self._places = {i: f"t{i}" for i in range(len(results))} | {len(results): "g"}
        self._last_use = {value: i for i, (_, operands) in enumerate(trace.ops) for value in operands}
        self._last_use |= dict.fromkeys(results, len(trace.ops))
        self._free: dict[str, list[str]] = {"r": [], "b": []}
        self._made = {"r": 0, "b": 0}

    def write(self) -> tuple[str, tuple[int, int]]:
        """The source of `step(t0, ..., g, c0, ..., r0, ..., b0, ...)`, and the numbers of r's and b's."""
        lines = []
        for i, (name, operands) in enumerate(self._trace.ops):
            value = self._trace.inputs + i
            inputs = [self._places[x] if x >= 0 else f"c{-x - 1}" for x in operands]
            # A ufunc may write over its operands; `where`, which writes twice, may not.
            if name != "where":
                self._release(i, operands)
            self._places[value] = place = self._place(i, value, "b" if name in _COMPARISONS else "r", inputs, name)
            if name == "where":
                self._release(i, operands)
            lines.append(f" {'where' if name == 'where' else f'np.{name}'}({', '.join(inputs)}, out={place})")
        for target, value in enumerate(self._results):
            if self._places[value] != f"t{target}":
                lines.append(f" np.copyto(t{target}, {self._places[value]})")
        names = [f"t{i}" for i in range(len(self._results))] + ["g"]
        names += [f"c{i}" for i in range(len(self._trace.constants))]
        names += [f"{kind}{i}" for kind in "rb" for i in range(self._made[kind])]
        return "\n".join([f"def step({', '.join(names)}):", *lines]), (self._made["r"], self._made["b"])

    def _release(self, i: int, operands: tuple[int, ...]) -> None:
        for value in set(operands):
            if value >= self._trace.inputs and self._last_use[value] == i and self._places[value][0] in "rb":
                self._free[self._places[value][0]].append(self._places[value])

    def _place(self, i: int, value: int, kind: str, inputs: list[str], name: str) -> str:
        if value in self._results:
            target = self._results.index(value)
            overwritten_too_early = self._last_use.get(target, -1) > i
            if not overwritten_too_early and not (name == "where" and f"t{target}" in inputs):
                return f"t{target}"
        if self._free[kind]:
            return self._free[kind].pop()
        self._made[kind] += 1
        return f"{kind}{self._made[kind] - 1}"
