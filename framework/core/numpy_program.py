"""A traced body as a straight line of NumPy calls, run block by block.

Called as it stands, a body of ten operations makes ten arrays and passes over main memory twenty times. As a program
every intermediate result has a scratch array of one block, which stays in the processor's cache, and is given to
another result as soon as nothing reads it any more: memory is read and written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from naiad.core import numpy_maths
from naiad.core.trace import COMPARISONS, Symbol, compile_text, literal

BLOCK = 1 << 14  # elements: a handful of float32 blocks fit a core's second-level cache
ndarray = np.ndarray

_MASKS = COMPARISONS | {"and", "or", "xor", "invert", "isnan", "isinf", "isfinite", "signbit"}
_SAME = frozenset(("conj", "real"))  # of real numbers: the value itself
# Operations of several calls, as templates of the operand and the place of the result.
_SEQUENCES = {
    "sigmoid": (
        *("negative({0}, out={out})", "exp({out}, out={out})"),
        *("add({out}, 1, out={out})", "divide(1, {out}, out={out})"),
    ),
    "rsqrt": ("sqrt({0}, out={out})", "divide(1, {out}, out={out})"),
}


class _Writer:
    """Gives each value of a trace a place and writes the calls down."""

    def __init__(self, operands: Sequence[str], lines: Sequence[tuple], result: Symbol) -> None:
        self.places: dict[str, str] = {o: o for o in operands}
        self.lines, self.result = lines, result
        self.constants: list[Any] = []
        self.free: dict[str, list[str]] = {"r": [], "b": []}
        self.made = {"r": 0, "b": 0, "v": 0}
        self.text: list[str] = []
        self.last_use: dict[str, int] = {}
        for i, (symbol, op, args) in enumerate(lines):
            for a in args:
                if isinstance(a, Symbol):
                    self.last_use[a.name] = i
            if op in _SAME:  # shares its operand's place, so it must outlive it
                self.places[symbol.name] = "same"
        self.last_use[result.name] = len(lines)

    def write(self) -> list[str]:
        """The body's lines; the last one leaves the result in `out`."""
        alive: dict[str, int] = {}  # place -> how many values live there
        for i, (symbol, op, args) in enumerate(self.lines):
            takes_arrays = op in numpy_maths.UFUNCS or op in _SEQUENCES
            shown = [self._show(a, takes_arrays) for a in args]
            if op in _SAME:
                self.places[symbol.name] = shown[0]
                alive[shown[0]] = alive.get(shown[0], 1) + 1
                self._release(i, args, alive)
                continue
            if op in numpy_maths.UFUNCS:  # which may write over its operands
                self._release(i, args, alive)
            place = self._place(symbol, "b" if op in _MASKS else "r") if takes_arrays else self._new(symbol)
            alive[place] = 1
            if op not in numpy_maths.UFUNCS:
                self._release(i, args, alive)
            self.places[symbol.name] = place
            self._call(op, shown, place)
        if self.places[self.result.name] != "out":
            self.text.append(f"copyto(out, {self.places[self.result.name]})")
        return self.text

    def _call(self, op: str, shown: list[str], place: str) -> None:
        ufunc = numpy_maths.UFUNCS.get(op)
        if ufunc is not None:
            self.text.append(f"{ufunc.__name__}({', '.join(shown)}, out={place})")
        elif op in _SEQUENCES:
            self.text += [step.format(*shown, out=place) for step in _SEQUENCES[op]]
        elif place == "out":
            self.text.append(f"copyto(out, m.{op}({', '.join(shown)}))")
        else:
            self.text.append(f"{place} = m.{op}({', '.join(shown)})")

    def _new(self, symbol: Symbol) -> str:
        """A name for what makes an array (for 0-d operands a scalar) of its own."""
        if symbol.name == self.result.name:
            return "out"
        self.made["v"] += 1
        return f"v{self.made['v'] - 1}"

    def _place(self, symbol: Symbol, kind: str) -> str:
        if symbol.name == self.result.name:
            return "out"
        if self.free[kind]:
            return self.free[kind].pop()
        self.made[kind] += 1
        return f"{kind}{self.made[kind] - 1}"

    def _release(self, i: int, args: tuple, alive: dict[str, int]) -> None:
        for name in {a.name for a in args if isinstance(a, Symbol)}:
            place = self.places[name]
            if self.last_use[name] == i and place[0] in "rb" and place[1:].isdigit():
                alive[place] -= 1
                if not alive[place]:
                    self.free[place[0]].append(place)

    def _show(self, value: Any, as_array: bool) -> str:
        if isinstance(value, Symbol):
            return self.places[value.name]
        if not as_array:
            return literal(value)
        self.constants.append(value)
        return f"c{len(self.constants) - 1}"


def compile_program(
    name: str, operands: Sequence[str], lines: Sequence[tuple], result: Symbol, dtype: np.dtype
) -> Callable:
    """`run(arrays, out)`: the traced body on C-contiguous arrays of one shape (or 0-d) and of the real dtype given."""
    inputs = [f"x{i}" for i in range(len(operands))]
    writer = _Writer(operands, lines, result)
    writer.places.update(zip(operands, inputs, strict=True))
    body = writer.write()
    numbers, masks = ([f"{k}{i}" for i in range(writer.made[k])] for k in "rb")
    names = [*inputs, "out", *(f"c{i}" for i in range(len(writer.constants)))]
    source = "\n".join([f"def {name}({', '.join([*names, *numbers, *masks])}):", *(f"    {line}" for line in body), ""])
    scope: dict[str, Any] = {f.__name__: f for f in numpy_maths.UFUNCS.values()}
    scope |= {f: getattr(np, f) for f in ("negative", "exp", "add", "divide", "sqrt", "copyto")} | {"m": numpy_maths}
    step = compile_text(source, name, scope)
    constants = [_constant(c, dtype) for c in writer.constants]
    registers = [dtype] * len(numbers) + [np.dtype(np.bool_)] * len(masks)

    def run(arrays: Sequence[ndarray], out: ndarray) -> None:
        size = out.size
        if size <= BLOCK:
            step(*arrays, out, *constants, *[np.empty(out.shape, d) for d in registers])
            return
        flat = [a.reshape(-1) if a.ndim else a for a in arrays]
        target = out.reshape(-1)
        scratch = [np.empty(BLOCK, d) for d in registers]
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            piece = scratch if stop - start == BLOCK else [r[: stop - start] for r in scratch]
            step(*[a[start:stop] if a.ndim else a for a in flat], target[start:stop], *constants, *piece)

    return run


def _constant(value: Any, dtype: np.dtype) -> Any:
    """A literal of the body; numbers as 0-d arrays of the dtype, which NumPy takes quicker than Python's."""
    return np.asarray(value, dtype) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
