"""The trace of an elementwise body with complex values, printed as Triton source.

Triton has no complex dtype. A value `t` of one is two values `t_re` and `t_im`, and each function of `m` is one of
`complex_maths` on pairs. What is real in a trace (absolute values, parts, conditions) is printed as `printer` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from naiad.kernels import printer

PART = {"complex64": "float32", "complex128": "float64"}
SAME = ("add", "sub")
FUNCTIONS = set(
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sigmoid sgn "
    "sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh mul div pow".split()
)
EITHER = {"isnan": " | ", "isinf": " | ", "isfinite": " & ", "eq": " & ", "ne": " | "}
LARGEST_POWER = 64  # whole powers up to here are products

Pair = tuple[str, str]


def is_complex(dtype: str) -> bool:
    return dtype.startswith("complex") or dtype == "weak complex"


def parts(name: str) -> Pair:
    """The names of the two parts of a complex value."""
    return f"{name}_re", f"{name}_im"


class Typed(printer.Typed):
    """The dtype of every name in a trace with complex values."""

    def promote(self, args: Sequence[Any]) -> str:
        kinds = [self.dtype(a) for a in args]
        if not any(map(is_complex, kinds)):
            return super().promote(args)
        strong = {PART.get(k, k) for k in kinds}
        return "complex128" if "float64" in strong else "complex64"


def converted(types: Typed, a: Any, dtype: str) -> Pair:
    """The parts of a symbol or a number as values of the complex dtype `dtype`."""
    part = PART[dtype]
    if not hasattr(a, "name"):
        a = complex(a)
        return printer.literal(a.real, part), printer.literal(a.imag, part)
    own = types.of[a.name]
    if own in PART:
        re, im = (printer.converted(p, PART[own], part) for p in parts(a.name))
        return re, im
    return printer.converted(a.name, own, part), printer.literal(0.0, part)


def _real(types: Typed, name: str, dtype: str, expression: str) -> list[str]:
    types.of[name] = dtype
    return [f"{name} = {expression}"]


def _power(name: str, base: Pair, exponent: int) -> list[str]:
    """A whole power as products, by squaring."""
    re, im = parts(name)
    text, started, rest = [f"{name}_r, {name}_i = {base[0]}, {base[1]}"], False, abs(exponent)
    while rest:
        if rest & 1:
            product = f"complex_maths.mul({re}, {im}, {name}_r, {name}_i)" if started else f"{name}_r, {name}_i"
            text.append(f"{re}, {im} = {product}")
            started = True
        rest >>= 1
        if rest:
            text.append(f"{name}_r, {name}_i = complex_maths.mul({name}_r, {name}_i, {name}_r, {name}_i)")
    return text if exponent > 0 else [*text, f"{re}, {im} = complex_maths.reciprocal({re}, {im})"]


def _line(types: Typed, name: str, op: str, args: tuple) -> list[str]:
    values = args[1:] if op == "where" else args
    if op == "cast":
        return _cast(types, name, *args)
    if op == "pair":
        types.of[name] = "complex128" if types.of[args[0].name] == "float64" else "complex64"
        return [f"{name}_re, {name}_im = {args[0].name}, {args[1].name}"]
    dtype = types.promote(values)
    if dtype not in PART:
        return [printer._line(types, name, op, args)]
    pairs = [converted(types, a, dtype) for a in values]
    (a, b), part = pairs[0], PART[dtype]
    if op in ("real", "imag"):
        return _real(types, name, part, a if op == "real" else b)
    if op == "abs":
        return _real(types, name, part, f"libdevice.hypot({a}, {b})")
    if op in EITHER:
        shown = [printer._template(op, part).format(*each) for each in zip(*pairs, strict=True)]
        return _real(types, name, "bool", EITHER[op].join(f"({s})" for s in shown))
    types.of[name] = dtype
    result = ", ".join(parts(name))
    if op == "conj":
        return [f"{result} = {a}, {b} * -1.0"]
    if op == "neg":
        return [f"{result} = {a} * -1.0, {b} * -1.0"]
    if op in SAME:
        return [f"{result} = " + ", ".join(printer.ANY[op].format(*each) for each in zip(*pairs, strict=True))]
    if op == "where":
        given = args[0]
        condition = (
            printer.converted(given.name, types.of[given.name], "bool")
            if hasattr(given, "name")
            else printer.literal(given, "bool")
        )
        return [f"{result} = " + ", ".join(f"tl.where({condition}, {x}, {y})" for x, y in zip(*pairs, strict=True))]
    if op == "pow" and not hasattr(args[1], "name"):
        exponent = complex(args[1])
        if exponent.imag == 0 and exponent.real.is_integer() and 0 < abs(exponent.real) <= LARGEST_POWER:
            return _power(name, pairs[0], int(exponent.real))
    if op in FUNCTIONS:
        return [f"{result} = complex_maths.{op}({', '.join(p for pair in pairs for p in pair)})"]
    raise NotImplementedError(f"m.{op} has no Triton form for {dtype}: add one to naiad/kernels/complex_printer.py")


def _cast(types: Typed, name: str, a: Any, like: Any) -> list[str]:
    types.of[name] = target = types.dtype(like)
    return assigned(name, types, a, target)


def assigned(name: str, types: Typed, a: Any, target: str) -> list[str]:
    """Statements that give `name` a symbol's value in the dtype `target`; a complex number's real part where that is
    real, and whether it is not 0 where that is bool."""
    if target in PART:
        re, im = converted(types, a, target)
        return [f"{name}_re, {name}_im = {re}, {im}"]
    own = types.of[a.name]
    if own not in PART:
        return [f"{name} = {printer.converted(a.name, own, target)}"]
    re, im = parts(a.name)
    if target == "bool":
        return [f"{name} = ({re} != 0) | ({im} != 0)"]
    return [f"{name} = {printer.converted(re, PART[own], target)}"]


def body(types: Typed, lines: Sequence[tuple], rename: Callable[[str], str]) -> list[str]:
    """The statements that compute a trace's lines."""
    text: list[str] = []
    for symbol, op, args in lines:
        own = tuple(printer._renamed(a, rename) for a in args)
        text += _line(types, rename(symbol.name), op, own)
    return text
