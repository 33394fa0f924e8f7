"""Functions of one number: exponentials, logarithms, trigonometry, the error and gamma functions.

Integers give floats of the default dtype. Those that NumPy has for complex numbers take them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.op import public
from naiad.core.tensor import Tensor
from naiad.ops.forms import inplace_form

REAL = (0, 1, 2)
ANY = (0, 1, 2, 3)
# What autocast computes in float32 on cuda: these leave the range of float16, or lose its precision, soonest.
STEEP = frozenset("exp expm1 log log2 log10 log1p rsqrt tan asin acos sinh cosh erfinv".split())


def _function(
    name: str, doc: str, domain: tuple[float, float] | None = None, kinds: tuple = ANY, aliases: tuple = ()
) -> Callable:
    """An entry for a function that the maths namespace has under the same name."""

    def body(m: Any, input: Any) -> Any:
        return getattr(m, name)(input)

    body.__name__, body.__doc__ = name, doc
    cast = {"cuda": "float32"} if name in STEEP else None
    return elementwise(promote="float", domain=domain, kinds=kinds, aliases=aliases, autocast=cast)(body)


exp = _function("exp", "e to the input.")
exp2 = _function("exp2", "2 to the input.")
expm1 = _function("expm1", "exp(input) - 1, accurate near 0.")
log = _function("log", "The natural logarithm; NaN below 0, -inf at 0.", (0.1, 4))
log2 = _function("log2", "The logarithm to base 2.", (0.1, 4))
log10 = _function("log10", "The logarithm to base 10.", (0.1, 4))
log1p = _function("log1p", "log(1 + input), accurate near 0.", (-0.8, 4))
sqrt = _function("sqrt", "The square root; NaN below 0.", (0.1, 4))
rsqrt = _function("rsqrt", "1 / sqrt(input).", (0.1, 4))
sin = _function("sin", "The sine of an angle in radians.")
cos = _function("cos", "The cosine of an angle in radians.")
tan = _function("tan", "The tangent of an angle in radians.", (-1.2, 1.2))
asin = _function("asin", "The angle in [-pi/2, pi/2] whose sine is the input.", (-0.95, 0.95), aliases=("arcsin",))
acos = _function("acos", "The angle in [0, pi] whose cosine is the input.", (-0.95, 0.95), aliases=("arccos",))
atan = _function("atan", "The angle in (-pi/2, pi/2) whose tangent is the input.", aliases=("arctan",))
sinh = _function("sinh", "The hyperbolic sine.")
cosh = _function("cosh", "The hyperbolic cosine.")
tanh = _function("tanh", "The hyperbolic tangent.")
asinh = _function("asinh", "The inverse of sinh.", aliases=("arcsinh",))
acosh = _function("acosh", "The inverse of cosh, for inputs of 1 and more.", (1.1, 4), aliases=("arccosh",))
atanh = _function("atanh", "The inverse of tanh, for inputs in (-1, 1).", (-0.95, 0.95), aliases=("arctanh",))
erf = _function("erf", "2 / sqrt(pi) times the integral of exp(-t * t) from 0 to the input.", kinds=REAL)
erfc = _function("erfc", "1 - erf(input), accurate for large inputs.", kinds=REAL)
erfinv = _function("erfinv", "The inverse of erf, for inputs in (-1, 1).", (-0.9, 0.9), kinds=REAL)
lgamma = _function("lgamma", "The logarithm of the absolute value of the gamma function.", (0.2, 4), kinds=REAL)
digamma = _function("digamma", "The derivative of lgamma.", (0.2, 4), kinds=REAL)


@elementwise(promote="float", domain=(0.2, 3), autocast={"cuda": "float32"})
def reciprocal(m: Any, input: Any) -> Any:
    """1 / input."""
    return m.div(1, input)


def _sinc_grad(m: Any, g: Any, input: Any) -> Any:
    angle = input * pi
    square = input * angle  # 0 where input is too small to be squared
    safe = m.where(square == 0, 1, square)
    return m.where(square == 0, 0.0, g * m.conj((angle * m.cos(angle) - m.sin(angle)) / safe))


@elementwise(promote="float", grad={"input": _sinc_grad})
def sinc(m: Any, input: Any) -> Any:
    """sin(pi * input) / (pi * input), 1 at 0."""
    angle = input * pi
    return m.where(input == 0, 1, m.sin(angle) / m.where(input == 0, 1, angle))


@elementwise(promote="float", kinds=REAL)
def deg2rad(m: Any, input: Any) -> Any:
    """Degrees as radians."""
    return input * (pi / 180)


@elementwise(promote="float", kinds=REAL)
def rad2deg(m: Any, input: Any) -> Any:
    """Radians as degrees."""
    return input * (180 / pi)


@elementwise(namespaces=(), promote="float", name="logit", kinds=REAL)
def logit_op(m: Any, input: Any) -> Any:
    """log(input / (1 - input))."""
    return m.log(input / (1 - input))


# The gradient is 0 where eps has clamped the input.
@elementwise(namespaces=(), promote="float", name="logit_clamped", kinds=REAL, grad={"eps": None})
def logit_clamped(m: Any, input: Any, eps: Any) -> Any:
    """logit of the input clamped to [eps, 1 - eps]."""
    inside = m.where(input < eps, eps, m.where(input > 1 - eps, 1 - eps, input))
    return m.log(inside / (1 - inside))


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3, low=0.1, high=0.9)), s.call(s(3, 4, low=-0.5, high=1.5), eps=0.2)],
)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(input / (1 - input)), the inverse of sigmoid. `eps`: clamp the input to [eps, 1 - eps] first."""
    return logit_op(input) if eps is None else logit_clamped(input, eps)


inplace_form(logit, "logit_", namespaces=("Tensor", "naiad"))
