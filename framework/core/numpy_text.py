"""The source of a program: traced lines as NumPy calls, and the place of every value between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign
from typing import Any

import numpy as np

from naiad.core import numpy_maths
from naiad.core.trace import COMPARISONS, Symbol, literal

# Operations of one call. `sign` is NumPy's, which passes NaN on; `pow` is of floats here.
UFUNCS = numpy_maths.UFUNCS | {"sign": np.sign, "pow": np.power}
# Operations of several calls, as templates of the operands and the place of the result, which may be the first
# operand's own.
SEQUENCES = {
    "sigmoid": ("negative({0}, {out})", "exp({out}, {out})", "add({out}, one, {out})", "divide(one, {out}, {out})"),
    "rsqrt": ("sqrt({0}, {out})", "divide(one, {out}, {out})"),
    "clip": ("maximum({0}, {1}, out={out})", "minimum({out}, {2}, out={out})"),
}
_BY_ARRAYS = frozenset((*UFUNCS, *SEQUENCES, "where"))  # take their numbers as 0-d arrays, not as literals
_TESTS = COMPARISONS | {"isnan", "isinf", "isfinite", "signbit"}
_LOGIC = frozenset(("and", "or", "xor", "invert"))
_SAME = frozenset(("conj", "real"))  # of real numbers: the value itself

_MOVE = "{out}[...] = {0}"  # quicker than copyto; converts too
SCOPE: dict[str, Any] = {f.__name__: f for f in UFUNCS.values()}
SCOPE |= {f.__name__: f for f in (np.add, np.divide, np.exp, np.sqrt, np.negative, np.maximum, np.minimum)}


@dataclass(frozen=True)
class Text:
    """A program's source, where its constants stand (line, operand), and how many registers it needs."""

    source: str
    constants: tuple[tuple[int, int], ...]
    numbers: int
    masks: int


def is_zero(value: Any) -> bool:
    """Whether a literal is 0, and not the other zero."""
    return value == 0 and copysign(1.0, value) > 0


def without_identities(lines: Sequence[tuple], results: Sequence[Symbol]) -> tuple[list[tuple], list[Symbol]]:
    """The lines and results, where functions that do nothing to real numbers are left out."""
    same: dict[str, Symbol] = {}
    kept = []

    def real(a: Any) -> Any:
        return same.get(a.name, a) if isinstance(a, Symbol) else a

    for symbol, op, args in lines:
        if op in _SAME and isinstance(args[0], Symbol):
            same[symbol.name] = real(args[0])
        else:
            kept.append((symbol, op, tuple([real(a) for a in args]) if same else args))
    return kept, [real(r) for r in results]


def structure(lines: Sequence[tuple]) -> tuple:
    """What lines do, without the numbers that a program takes as constants."""
    return tuple(
        [
            (symbol.name, op, *[a.name if isinstance(a, Symbol) else _fixed(op, a) for a in args])
            for symbol, op, args in lines
        ]
    )


def _fixed(op: str, value: Any) -> Any:
    """What of a number shows in the source: for `where` whether it is 0, and all of it where it is a literal."""
    return (is_zero(value) if op == "where" else None) if op in _BY_ARRAYS else repr(value)


def _may_overwrite(op: str, args: tuple, templates: Sequence[str]) -> bool:
    """Whether the result may lie where an operand that nothing reads any more does."""
    if op in SEQUENCES:  # whose first call reads the first operand, and later ones the others
        return not any(isinstance(a, Symbol) for a in args[1:])
    return bool(templates) and not templates[0].startswith("blend")


class Writer:
    """Gives each value a place and writes the calls down.

    A place is an input (x0, ...), a register of numbers (r0, ...) or masks (b0, ...), or a new array (v0, ...).

    into: the numbers of the inputs that the results replace; None: they go to arrays of their own (o0, ...), where
    `fresh` is "r" or "b" if such an array may serve as a register of that kind until then.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        lines: Sequence[tuple],
        results: Sequence[Symbol],
        masks: Sequence[str],
        into: Sequence[int] | None,
        widen: bool,
        fresh: str,
    ) -> None:
        self.lines, self.results, self.fresh = lines, results, fresh
        self.places = {name: f"x{i}" for i, name in enumerate(inputs)}
        self.kinds = {name: "b" if name in masks else "r" for name in inputs}
        self.narrow = {n for n in inputs if n not in masks} if widen else set()  # inputs to be converted yet
        self.targets = [f"o{j}" for j in range(len(results))] if into is None else [f"x{i}" for i in into]
        # result -> the input that it may be written over as soon as nothing reads that any more
        self.over = {} if into is None or widen else {r.name: inputs[i] for r, i in zip(results, into, strict=True)}
        self.last_use = {a.name: i for i, (_, _, args) in enumerate(lines) for a in args if isinstance(a, Symbol)}
        self.last_use |= {r.name: len(lines) for r in results}
        self.free: dict[str, list[str]] = {"r": [], "b": []}
        self.made = {"r": 0, "b": 0, "v": 0}
        self.steps: list[tuple[str, list[str], str]] = []  # template, operands, place of the result
        self.constants: list[tuple[int, int]] = []
        self.renamed: dict[str, str] = {}  # register -> the result's own array, which serves for it

    def write(self) -> list[str]:
        """The body's lines, after which the results are in their places."""
        for i, (symbol, op, args) in enumerate(self.lines):
            shown = [self._show(i, j, op, a) for j, a in enumerate(args)]
            templates = self._templates(op, args, shown)
            self.kinds[symbol.name] = kind = self._kind(op, args)
            may_overwrite = _may_overwrite(op, args, templates)
            if may_overwrite:
                self._release(i, args)
            place = self._place(i, symbol.name, kind, may_overwrite) if templates else self._new("v")
            if not may_overwrite:
                self._release(i, args)
            self.places[symbol.name] = place
            for template in templates or [f"{{out}} = m.{op}({', '.join(f'{{{j}}}' for j in range(len(args)))})"]:
                self.steps.append((template, shown, place))
        self._deliver()
        names = self.renamed
        return [
            template.format(*[names.get(s, s) for s in shown], out=names.get(place, place))
            for template, shown, place in self.steps
        ]

    def _templates(self, op: str, args: tuple, shown: list[str]) -> Sequence[str]:
        """The calls of an operation; none where it is a function that makes an array of its own."""
        if op in UFUNCS:
            where = "out={out}" if op in ("maximum", "minimum") else "{out}"  # NumPy wants it named there
            return (f"{UFUNCS[op].__name__}({', '.join(f'{{{j}}}' for j in range(len(args)))}, {where})",)
        if op != "where":
            return SEQUENCES.get(op, ())
        if self._kind_of(args[0]) != "b" or "r" not in (self._kind_of(args[1]), self._kind_of(args[2])):
            return ()
        if any(self._kind_of(a) == "b" for a in args[1:]):
            return ()
        if not isinstance(args[2], Symbol) and is_zero(args[2]):
            return ("multiply({1}.view(bits), {0}, {out}.view(bits))",)  # as integers: NaN and infinity are dropped too
        if not isinstance(args[1], Symbol) and is_zero(args[1]):
            return ("multiply({2}.view(bits), logical_not({0}), {out}.view(bits))",)
        return ("blend({0}, {1}, {2}, {out})",)

    def _kind(self, op: str, args: tuple) -> str:
        if op in _TESTS:
            return "b"
        of = args[1:] if op == "where" else args if op in _LOGIC else ()
        return "b" if of and all(self._kind_of(a) == "b" for a in of) else "r"

    def _kind_of(self, value: Any) -> str:
        return self.kinds[value.name] if isinstance(value, Symbol) else "b" if isinstance(value, bool) else "r"

    def _show(self, i: int, j: int, op: str, value: Any) -> str:
        if isinstance(value, Symbol):
            if value.name in self.narrow:
                self.narrow.remove(value.name)
                place = self._register("r")
                self.steps.append((_MOVE, [self.places[value.name]], place))
                self.places[value.name] = place
            return self.places[value.name]
        if op not in _BY_ARRAYS:
            return literal(value)
        self.constants.append((i, j))
        return f"c{len(self.constants) - 1}"

    # ------------------------------------------------------------ places
    def _place(self, i: int, name: str, kind: str, may_overwrite: bool) -> str:
        target = self.over.get(name)
        if target is not None:
            read_until = self.last_use.get(target, -1)
            if read_until < i or (read_until == i and may_overwrite):
                return self.places[target]
        return self._register(kind)

    def _register(self, kind: str) -> str:
        return self.free[kind].pop() if self.free[kind] else self._new(kind)

    def _new(self, kind: str) -> str:
        self.made[kind] += 1
        return f"{kind}{self.made[kind] - 1}"

    def _release(self, i: int, args: tuple) -> None:
        for name in {a.name for a in args if isinstance(a, Symbol)}:
            if self.last_use[name] == i and self.places[name][0] in "rb":
                self.free[self.places[name][0]].append(self.places[name])

    def _deliver(self) -> None:
        """Put the results where they belong."""
        places = [self.places[r.name] for r in self.results]
        for j, (place, target) in enumerate(zip(places, self.targets, strict=True)):
            if place == target:
                continue
            if target in places[j + 1 :]:
                raise NotImplementedError(f"the results exchange inputs: {target} is overwritten before it is moved")
            if place[0] == self.fresh and target[0] == "o" and place not in self.renamed:
                self.renamed[place] = target
            else:
                self.steps.append((_MOVE, [place], target))

    def registers(self, kind: str) -> list[str]:
        """The scratch arrays to be given."""
        return [p for p in (f"{kind}{i}" for i in range(self.made[kind])) if p not in self.renamed]


def write(name: str, inputs: Sequence[str], lines: Sequence[tuple], results: Sequence[Symbol], **facts: Any) -> Text:
    """The source of `name(inputs..., results' arrays..., constants..., registers...)`; facts: as `Writer`'s."""
    writer = Writer(inputs, lines, results, **facts)
    body = writer.write()
    numbers, flags = writer.registers("r"), writer.registers("b")
    parameters = [f"x{i}" for i in range(len(inputs))]
    parameters += [t for t in writer.targets if t[0] == "o"]
    parameters += ["one", "bits", *(f"c{i}" for i in range(len(writer.constants))), *numbers, *flags]
    source = "\n".join([f"def {name}({', '.join(parameters)}):", *(f"    {line}" for line in body or ["pass"]), ""])
    return Text(source, tuple(writer.constants), len(numbers), len(flags))
