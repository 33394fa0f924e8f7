"""The trace of an elementwise body, printed as Triton source.

A trace is untyped; here every line gets a dtype by PyTorch's rules: halves are computed in float32, comparisons give
bool, Python numbers are weak, float functions of integers give the default float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

RANK = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]
WIDENED = {"float16": "float32", "bfloat16": "float32"}
BITS = {"uint8": 8, "int8": 8, "int16": 16, "int32": 32, "int64": 64}
COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
TEST = ("isnan", "isinf", "isfinite", "signbit")
IDENTITY = ("conj", "real")
NUMERIC = ("sub", "neg", "fmod", "trunc_div", "remainder", "floor_div", "lshift", "rshift", "imag")  # not for bool

# Functions of one and two floats that libdevice has under the same name.
LIBDEVICE = set(
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split()
)
LIBDEVICE |= set("rsqrt erf erfc erfinv lgamma atan2 hypot copysign nextafter".split())
MATHS = {"sqrt", "sigmoid", "digamma", "trigamma"}
ROUND = {"floor", "ceil", "trunc", "rint"}
FLOAT_ONLY = LIBDEVICE | MATHS | {"div", "polygamma"}

# op -> expression of operands already in the line's dtype. By kind of dtype where they differ.
_PROPAGATE = "propagate_nan=tl.PropagateNan.ALL"
ANY = {
    **{"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "abs": "tl.abs({0})"},
    **{"and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "invert": "~{0}", "sgn": "maths.sgn({0})"},
    **{"div": "maths.divide({0}, {1})", "imag": "{0} * 0", "where": "tl.where({0}, {1}, {2})"},
    **{f"{op}": "{0} " + sign + " {1}" for op, sign in COMPARE.items()},
    **{op: f"libdevice.{op}({{0}})" for op in LIBDEVICE - {"atan2", "hypot", "copysign", "nextafter"}},
    **{op: f"libdevice.{op}({{0}}, {{1}})" for op in ("atan2", "hypot", "copysign", "nextafter")},
    **{op: f"maths.{op}({{0}})" for op in MATHS},
}
FLOAT = {
    "neg": "{0} * -1.0",  # 0 - x, which some versions of Triton print for -x, has the wrong zero
    "trunc_div": "libdevice.trunc(maths.divide({0}, {1}))",
    "fmod": "libdevice.fmod({0}, {1})",
    "remainder": "maths.remainder({0}, {1})",
    "floor_div": "maths.floor_div({0}, {1})",
    "pow": "libdevice.pow({0}, {1})",
    "maximum": f"tl.maximum({{0}}, {{1}}, {_PROPAGATE})",
    "minimum": f"tl.minimum({{0}}, {{1}}, {_PROPAGATE})",
    "isnan": "{0} != {0}",
    "isinf": 'tl.abs({0}) == float("inf")',
    "isfinite": 'tl.abs({0}) < float("inf")',
    "signbit": "maths.signbit({0})",
    **{op: f"libdevice.{op}({{0}})" for op in ROUND},
}
INT = {
    "trunc_div": "{0} // {1}",
    "fmod": "{0} % {1}",
    "remainder": "maths.int_remainder({0}, {1})",
    "floor_div": "maths.int_floor_div({0}, {1})",
    "pow": "maths.int_pow({0}, {1})",
    "maximum": "tl.maximum({0}, {1})",
    "minimum": "tl.minimum({0}, {1})",
    "gcd": "maths.gcd({0}, {1})",
    "lcm": "maths.lcm({0}, {1})",
    "lshift": "maths.lshift({0}, {1}, {bits})",
    "rshift": "maths.rshift({0}, {1}, {bits})",
    **{"isnan": "{0} != {0}", "isinf": "{0} != {0}", "isfinite": "{0} == {0}", "signbit": "{0} < 0"},
    **{op: "{0}" for op in ROUND},
}
UINT = {"abs": "{0}", "sgn": "({0} != 0).to(tl.uint8)", "signbit": "{0} != {0}", "pow": "maths.uint_pow({0}, {1})"}
BOOL = {
    **{"add": "{0} | {1}", "mul": "{0} & {1}", "maximum": "{0} | {1}", "minimum": "{0} & {1}"},
    **{"abs": "{0}", "sgn": "{0}", "signbit": "{0} & ~{0}", "isnan": "{0} & ~{0}", "isinf": "{0} & ~{0}"},
    **{"isfinite": "{0} | ~{0}", "pow": "{0} | ~{1}", **{op: "{0}" for op in ROUND}},
}


def tl_name(dtype: str) -> str:
    return "tl.int1" if dtype == "bool" else f"tl.{dtype}"


def _is_symbol(a: Any) -> bool:
    return hasattr(a, "name")


class Typed:
    """The dtype of every name in a trace. `default` is what float functions of integers compute in."""

    def __init__(self, operands: Sequence[str], dtypes: Sequence[str], default: str) -> None:
        self.of = {o: WIDENED.get(d, d) for o, d in zip(operands, dtypes, strict=True)}
        self.default = default

    def dtype(self, a: Any) -> str:
        """A symbol's dtype, or "weak" and the kind of a Python number."""
        return self.of[a.name] if _is_symbol(a) else f"weak {type(a).__name__}"

    def promote(self, args: Sequence[Any]) -> str:
        kinds = [self.dtype(a) for a in args]
        strong = [k for k in kinds if not k.startswith("weak")]
        dtype = max(strong, key=RANK.index, default="bool")
        if dtype == "int8" and "uint8" in strong:
            dtype = "int16"
        if "weak float" in kinds and not dtype.startswith("float"):
            return self.default
        if "weak int" in kinds and dtype == "bool":
            return "int64"
        return dtype

    def rule(self, op: str, args: Sequence[Any]) -> tuple[str, str]:
        """(dtype the operands are brought to, dtype of the result)."""
        if op == "cast":
            return self.dtype(args[0]), self.dtype(args[1])
        dtype = self.promote(args[1:] if op == "where" else args)
        if op in FLOAT_ONLY and not dtype.startswith("float"):
            dtype = self.default
        if op in COMPARE:
            return ("int32" if dtype == "bool" and op not in ("eq", "ne") else dtype), "bool"
        if op in TEST:
            return dtype, "bool"
        if dtype == "bool" and op in NUMERIC:
            dtype = "int32"  # computed as numbers; the store brings the result to the output's dtype
        return dtype, dtype


def constant(value: Any, dtype: str) -> str:
    """A Python number as a literal of `dtype`."""
    if dtype == "bool":
        return repr(bool(value))
    if dtype.startswith("float"):
        value = float(value)
        return f'float("{value}")' if value != value or abs(value) == inf else repr(value)
    value, bits = int(value), BITS[dtype]
    value &= (1 << bits) - 1
    return repr(value if dtype.startswith("u") or value < 1 << (bits - 1) else value - (1 << bits))


def literal(value: Any, dtype: str) -> str:
    """A Python number as a block of `dtype`, for functions that take no bare numbers."""
    return f"tl.full([1], {constant(value, dtype)}, {tl_name(dtype)})"


def converted(name: str, source: str, target: str) -> str:
    """An expression that brings a value from one dtype to another."""
    if source == target:
        return name
    if target == "bool":
        return f"({name} != 0)"
    if source.startswith("float") and target in ("uint8", "int8", "int16"):
        return f"{name}.to(tl.int64).to({tl_name(target)})"  # out of range wraps, as NumPy has it
    if source == "float64" and target == "bfloat16":
        return f"{name}.to(tl.float32).to(tl.bfloat16)"
    return f"{name}.to({tl_name(target)})"


def _template(op: str, dtype: str) -> str:
    tables: list[dict[str, str]] = [ANY]
    if dtype.startswith("float"):
        tables.append(FLOAT)
    elif dtype == "bool":
        tables.append(BOOL)
    else:
        tables += [INT, UINT] if dtype == "uint8" else [INT]
    for table in reversed(tables):
        if op in table:
            return table[op]
    raise NotImplementedError(f"m.{op} has no Triton form for {dtype}: add one to naiad/kernels/printer.py")


def _line(types: Typed, name: str, op: str, args: tuple) -> str:
    dtype, result = types.rule(op, args)
    types.of[name] = result
    if op in IDENTITY:
        return f"{name} = {args[0].name if _is_symbol(args[0]) else literal(args[0], dtype)}"
    if op == "cast":
        return f"{name} = {converted(args[0].name, dtype, result)}"
    if op == "pow" and not _is_symbol(args[1]) and args[1] == 2 and dtype != "bool":
        base = converted(args[0].name, types.dtype(args[0]), dtype)
        return f"{name} = {base} * {base}"
    if op == "polygamma":  # its order is no tensor
        x = args[1]
        value = converted(x.name, types.of[x.name], dtype) if _is_symbol(x) else literal(x, dtype)
        return f"{name} = maths.polygamma({int(args[0])}, {value})"
    template = _template(op, dtype)
    bare = "(" not in template or op in ("invert",)  # infix: Triton takes the number's dtype from the other side
    show: Callable = constant if bare and any(_is_symbol(a) for a in args) else literal
    shown = [
        converted(a.name, types.of[a.name], dtype)
        if _is_symbol(a)
        else show(a, dtype)
        if dtype != "bool"
        else literal(a, dtype)
        for a in args
    ]
    if op == "where":
        shown[0] = (
            converted(args[0].name, types.of[args[0].name], "bool") if _is_symbol(args[0]) else literal(args[0], "bool")
        )
    return f"{name} = {template.format(*shown, bits=BITS.get(dtype))}"


def body(types: Typed, lines: Sequence[tuple], rename: Callable[[str], str]) -> list[str]:
    """The statements that compute a trace's lines."""
    renamed = [(_renamed(s, rename), op, tuple(_renamed(a, rename) for a in args)) for s, op, args in lines]
    return [_line(types, symbol.name, op, args) for symbol, op, args in renamed]


class _Name:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def _renamed(a: Any, rename: Callable[[str], str]) -> Any:
    return _Name(rename(a.name)) if _is_symbol(a) else a
