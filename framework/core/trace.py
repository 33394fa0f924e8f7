"""Elementwise bodies as data: call a body with symbols, and what it computes is written down.

A body is a function of a maths namespace and its operands. `trace` records it as a list of lines `(symbol, op, args)`
without types: the NumPy source, the Triton kernel and the derivative are all read off the same list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

INFIX = {"add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
INFIX |= {"and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>"}
PREFIX = {"neg": "-", "invert": "~"}
COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))


class Symbol:
    """A value that will be known when the body runs."""

    __slots__ = ("trace", "name")
    __hash__ = None  # type: ignore[assignment]  # == builds a comparison, so symbols cannot be keys

    def __init__(self, trace: Trace, name: str) -> None:
        self.trace, self.name = trace, name

    def __repr__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        raise TypeError("an elementwise body runs once for all elements: it cannot branch on a value. Use m.where")

    def __truediv__(self, other: Any) -> Symbol:
        return self.trace.emit("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.trace.emit("div", other, self)


def _install_operators() -> None:
    special = {"invert": "__invert__", "neg": "__neg__"}

    def forward(op: str) -> Callable:
        return lambda self, *other: self.trace.emit(op, self, *other)

    def reflected(op: str) -> Callable:
        return lambda self, other: self.trace.emit(op, other, self)

    for op in (*INFIX, *PREFIX):
        setattr(Symbol, special.get(op, f"__{op}__"), forward(op))
        if op in INFIX and op not in COMPARISONS:
            setattr(Symbol, f"__r{op}__", reflected(op))


_install_operators()


class Trace:
    """The lines of one body; equal expressions share a line, unless `share` is off, which is quicker."""

    def __init__(self, inputs: Sequence[str], share: bool = True) -> None:
        self.inputs = [Symbol(self, name) for name in inputs]
        self.lines: list[tuple[Symbol, str, tuple]] = []
        self._seen: dict[tuple, Symbol] | None = {} if share else None

    def emit(self, op: str, *args: Any) -> Symbol:
        if self._seen is None:
            made = Symbol(self, f"t{len(self.lines)}")
            self.lines.append((made, op, args))
            return made
        key = (op, *(a.name if isinstance(a, Symbol) else (type(a), repr(a)) for a in args))
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = Symbol(self, f"t{len(self.lines)}")
            self.lines.append((found, op, args))
        return found

    def prune(self, result: Symbol, leaves: Sequence[str] = ()) -> list[tuple[Symbol, str, tuple]]:
        """The lines that `result` needs, where the values named in `leaves` are given."""
        needed, kept = {result.name} - set(leaves), []
        for line in reversed(self.lines):
            if line[0].name in needed:
                kept.append(line)
                needed.update(a.name for a in line[2] if isinstance(a, Symbol) and a.name not in leaves)
        return kept[::-1]


class Namespace:
    """The maths namespace whose functions write themselves down."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __getattr__(self, op: str) -> Callable:
        if op.startswith("_"):
            raise AttributeError(op)
        return lambda *args: self._trace.emit(op, *args)


def trace(body: Callable, operands: Sequence[str]) -> tuple[Trace, Any]:
    """Record `body(m, *operands)`. Returns the trace and the result: a Symbol, or a number for a constant body."""
    recorded = Trace(operands)
    return recorded, body(Namespace(recorded), *recorded.inputs)


def used(lines: Sequence[tuple[Symbol, str, tuple]], result: Any) -> set[str]:
    """The names that lines and result read."""
    names = {a.name for _, _, args in lines for a in args if isinstance(a, Symbol)}
    return names | ({result.name} if isinstance(result, Symbol) else set())


def literal(value: Any) -> str:
    """A number as Python source."""
    return f"float('{value}')" if isinstance(value, float) and value - value != 0 else repr(value)


def python_source(name: str, operands: Sequence[str], lines: Sequence[tuple], result: Any) -> str:
    """The trace as a Python function of a maths namespace and the operands: a body again."""

    def show(value: Any) -> str:
        return value.name if isinstance(value, Symbol) else literal(value)

    def expression(op: str, args: tuple) -> str:
        shown = [show(a) for a in args]
        if op in INFIX:
            return f"{shown[0]} {INFIX[op]} {shown[1]}"
        if op in PREFIX:
            return PREFIX[op] + shown[0]
        return f"m.{op}({', '.join(shown)})"

    body = [f"    {symbol.name} = {expression(op, args)}" for symbol, op, args in lines]
    return "\n".join([f"def {name}(m, {', '.join(operands)}):", *body, f"    return {show(result)}", ""])


def compile_text(source: str, name: str, scope: dict[str, Any]) -> Callable:
    """A function from its source, which stays readable as `function.__source__` and in tracebacks."""
    import linecache

    filename = f"<naiad {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - our own text, printed from a trace
    function = scope[name]
    function.__source__ = source
    return function


def compile_body(source: str, name: str) -> Callable:
    """A body from its source."""
    return compile_text(source, name, {})
