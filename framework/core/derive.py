"""The derivative of an elementwise body, as another body: reverse mode over its trace.

Every rule is the transpose of the operation's Jacobian, so that it is right for complex numbers too: a formula in
f'(a) reads `g * conj(f'(a))` (Wirtinger calculus with the gradient convention of PyTorch). For real dtypes
`m.conj` is the identity in every namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import Any

from naiad.core.trace import Namespace, Symbol, compile_body, python_source, trace, used


def _share(m: Any, wins: Any, ties: Any, g: Any, other: Any) -> Any:
    """Gradient of an operand of max or min: a tie with a number goes to the operand, with another it is split."""
    if not isinstance(other, Symbol):
        return m.where(wins | ties, g, 0.0)
    return m.where(wins, g, m.where(ties, g * 0.5, 0.0))


def _atan2(m: Any, g: Any, a: Any, b: Any, square: Any) -> tuple:
    """At the origin, which has no angle, 0."""
    safe = m.where(square == 0, 1.0, square)
    return m.where(square == 0, 0.0, g * b / safe), m.where(square == 0, 0.0, -g * a / safe)


def _pow_base(m: Any, g: Any, a: Any, b: Any) -> Any:
    if not isinstance(b, Symbol):
        return 0.0 if b == 0 else g * m.conj(b * m.pow(a, b - 1))
    return m.where(b == 0, 0.0, g * m.conj(b * m.pow(a, b - 1)))


def _pow_exponent(m: Any, g: Any, out: Any, a: Any, b: Any) -> Any:
    if not isinstance(a, Symbol):
        return 0.0 if a == 0 else g * m.conj(out * m.log(a)) if isinstance(a, complex) else g * m.conj(out * log(a))
    return m.where((a == 0) & (m.real(b) >= 0), 0.0, g * m.conj(out * m.log(a)))


# op -> rule(m, g, out, *args) -> one gradient (or None) per argument. g times conj(f') throughout.
RULES: dict[str, Callable] = {
    "add": lambda m, g, out, a, b: (g, g),
    "sub": lambda m, g, out, a, b: (g, -g),
    "mul": lambda m, g, out, a, b: (g * m.conj(b), g * m.conj(a)),
    "div": lambda m, g, out, a, b: (g / m.conj(b), -g * m.conj(out / b)),
    "neg": lambda m, g, out, a: (-g,),
    "conj": lambda m, g, out, a: (m.conj(g),),
    # A real value takes only the real part of what comes back to it.
    "real": lambda m, g, out, a: (m.real(g),),
    "imag": lambda m, g, out, a: (m.real(g) * 1j,),
    "abs": lambda m, g, out, a: (m.real(g) * m.sgn(a),),
    # z / |z| moves along the unit circle only; for real numbers this is 0.
    "sgn": lambda m, g, out, a: (m.where(a == 0, 0.0, (g - m.real(g * m.conj(out)) * out) / m.abs(a)),),
    "where": lambda m, g, out, c, a, b: (None, m.where(c, g, 0.0), m.where(c, 0.0, g)),
    "maximum": lambda m, g, out, a, b: (_share(m, a > b, a == b, g, b), _share(m, b > a, a == b, g, a)),
    "minimum": lambda m, g, out, a, b: (_share(m, a < b, a == b, g, b), _share(m, b < a, a == b, g, a)),
    "pow": lambda m, g, out, a, b: (_pow_base(m, g, a, b), _pow_exponent(m, g, out, a, b)),
    "fmod": lambda m, g, out, a, b: (g, -g * m.trunc_div(a, b)),
    "remainder": lambda m, g, out, a, b: (g, -g * m.floor_div(a, b)),
    "atan2": lambda m, g, out, a, b: _atan2(m, g, a, b, a * a + b * b),
    "hypot": lambda m, g, out, a, b: (g * a / out, g * b / out),
    "copysign": lambda m, g, out, a, b: (g * m.where(a == 0, 0.0, out / a), None),
    "exp": lambda m, g, out, a: (g * m.conj(out),),
    "exp2": lambda m, g, out, a: (g * m.conj(out * log(2.0)),),
    "expm1": lambda m, g, out, a: (g * m.conj(out + 1),),
    "log": lambda m, g, out, a: (g / m.conj(a),),
    "log2": lambda m, g, out, a: (g / m.conj(a * log(2.0)),),
    "log10": lambda m, g, out, a: (g / m.conj(a * log(10.0)),),
    "log1p": lambda m, g, out, a: (g / m.conj(a + 1),),
    "sqrt": lambda m, g, out, a: (g / m.conj(2 * out),),
    "rsqrt": lambda m, g, out, a: (g * m.conj(-0.5 * out * out * out),),
    "sigmoid": lambda m, g, out, a: (g * m.conj(out * (1 - out)),),
    "tanh": lambda m, g, out, a: (g * m.conj(1 - out * out),),
    "sin": lambda m, g, out, a: (g * m.conj(m.cos(a)),),
    "cos": lambda m, g, out, a: (g * m.conj(-m.sin(a)),),
    "tan": lambda m, g, out, a: (g * m.conj(1 + out * out),),
    "sinh": lambda m, g, out, a: (g * m.conj(m.cosh(a)),),
    "cosh": lambda m, g, out, a: (g * m.conj(m.sinh(a)),),
    "asin": lambda m, g, out, a: (g * m.conj(m.rsqrt(1 - a * a)),),
    "acos": lambda m, g, out, a: (-g * m.conj(m.rsqrt(1 - a * a)),),
    "atan": lambda m, g, out, a: (g / m.conj(1 + a * a),),
    "asinh": lambda m, g, out, a: (g * m.conj(m.rsqrt(a * a + 1)),),
    "acosh": lambda m, g, out, a: (g * m.conj(m.rsqrt(a - 1) * m.rsqrt(a + 1)),),
    "atanh": lambda m, g, out, a: (g / m.conj(1 - a * a),),
    "erf": lambda m, g, out, a: (g * (2 / sqrt(pi)) * m.exp(-(a * a)),),
    "erfc": lambda m, g, out, a: (g * (-2 / sqrt(pi)) * m.exp(-(a * a)),),
    "erfinv": lambda m, g, out, a: (g * (sqrt(pi) / 2) * m.exp(out * out),),
    "lgamma": lambda m, g, out, a: (g * m.digamma(a),),
    "digamma": lambda m, g, out, a: (g * m.trigamma(a),),
    "trigamma": lambda m, g, out, a: (g * m.polygamma(2, a),),
    "polygamma": lambda m, g, out, n, a: (None, g * m.polygamma(n + 1, a)),
    # Piecewise constant: no gradient flows.
    **{
        op: lambda m, g, out, *args: (None,) * len(args)
        for op in ("floor", "ceil", "trunc", "rint", "trunc_div", "floor_div")
    },
}
_NO_GRADIENT = frozenset(
    ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "invert", "isnan", "isinf", "isfinite", "signbit")
)


def _pull_back(m: Any, lines: Sequence[tuple], result: Symbol, g: Any) -> dict[str, Any]:
    """Gradients by name of every value that `result` depends on."""
    gradients: dict[str, Any] = {result.name: g}
    for symbol, op, args in reversed(lines):
        if symbol.name not in gradients or op in _NO_GRADIENT:
            continue
        if op not in RULES:
            raise NotImplementedError(f"m.{op} has no derivative rule: add one to RULES or give the entry a grad=")
        for arg, gradient in zip(args, RULES[op](m, gradients[symbol.name], symbol, *args), strict=True):
            if isinstance(arg, Symbol) and gradient is not None:
                gradients[arg.name] = gradients[arg.name] + gradient if arg.name in gradients else gradient
    return gradients


def derive(name: str, body: Callable, operands: Sequence[str], index: int) -> tuple[Callable | None, tuple[str, ...]]:
    """The derivative of a body with respect to operand `index`.

    Returns a body `(m, g, *saved)` (gg where an operand is called g) and the names it wants saved: operands, or `out`
    for the result. The result is preferred wherever it makes the operands unnecessary (exp, sigmoid, tanh): it is
    alive anyway. Returns `(None, ())` where the gradient is zero everywhere.
    """
    recorded, result = trace(body, operands)
    if not isinstance(result, Symbol):
        return None, ()
    forward = list(recorded.lines)
    cotangent = "g"
    while cotangent in operands:  # the derivative of a derivative has a g already
        cotangent += "g"
    g = Symbol(recorded, cotangent)
    gradient = _pull_back(Namespace(recorded), forward, result, g).get(recorded.inputs[index].name)
    if gradient is None:
        return None, ()
    leaves: tuple[str, ...] = ()
    if isinstance(gradient, Symbol) and "out" not in operands:
        through_out = used(recorded.prune(gradient, (result.name,)), gradient)
        if result.name in through_out and not through_out & set(operands):
            leaves = (result.name,)
    lines = recorded.prune(gradient, leaves) if isinstance(gradient, Symbol) else []
    names = used(lines, gradient)
    saved = ("out",) if leaves else tuple(o for o in operands if o in names)
    if leaves:
        result.name = "out"
    own = f"{name}_grad_{operands[index]}"
    return compile_body(python_source(own, (cotangent, *saved), lines, gradient), own), saved
