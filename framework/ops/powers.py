"""Powers, and functions of two numbers that grow from them."""

from __future__ import annotations

from typing import Any

from naiad.core.dispatch import apply
from naiad.core.dtype import complex128, float64
from naiad.core.elementwise import Elementwise, elementwise, not_implemented
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.convert import cast, clone_op
from naiad.ops.forms import inplace_form, into
from naiad.ops.unary import reciprocal, rsqrt


@elementwise(namespaces=(), name="pow", kinds=(1, 2, 3), autocast={"cuda": "float32"})
def pow_op(m: Any, input: Any, exponent: Any) -> Any:
    """input to the exponent."""
    return m.pow(input, exponent)


@elementwise(namespaces=(), name="square", kinds=(1, 2, 3), autocast={"cuda": "float32"})
def square_op(m: Any, input: Any) -> Any:
    """input * input."""
    return input * input


@elementwise(namespaces=(), name="cube_op", kinds=(1, 2, 3), autocast={"cuda": "float32"})
def cube_op(m: Any, input: Any) -> Any:
    """input * input * input."""
    return input * input * input


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s.ints(3)), s.call(s.bools(3))])
def square(input: Tensor) -> Tensor:
    """input * input."""
    return pow(input, 2)


inplace_form(square, "square_", namespaces=("Tensor", "naiad"))


@elementwise(namespaces=(), name="half_power", promote="float", autocast={"cuda": "float32"})
def half_power(m: Any, input: Any) -> Any:
    """sqrt(input), with the class of a power in autocast."""
    return m.sqrt(input)


@elementwise(namespaces=(), name="first_power", kinds=(1, 2, 3), autocast={"cuda": "float32"})
def first_power(m: Any, input: Any) -> Any:
    """input, with the class of a power in autocast."""
    return input * 1


# Exponents with a quicker and rounder way than the general power.
_SPECIAL: dict[Any, Any] = {2: square_op, 3: cube_op, 0.5: half_power, -0.5: rsqrt, -1: reciprocal, 1: first_power}


def _power(input: Any, exponent: Any) -> Tensor:
    if not isinstance(exponent, Tensor) and isinstance(input, Tensor) and isinstance(exponent, (int, float, complex)):
        kind = input._dtype.kind
        if kind >= 2 or (kind == 1 and exponent.__class__ is int and exponent > 0):
            quick = None if exponent.__class__ is complex else _SPECIAL.get(exponent)
            if quick is not None:
                return quick(input)
        elif kind == 0 and exponent.__class__ is bool:
            return clone_op(input) if exponent else input == input
        elif kind < 2 and exponent.__class__ is int and exponent < 0:
            raise RuntimeError(
                f"pow: Integers to negative integer powers are not allowed, got {input.dtype} to the {exponent}. "
                "Convert the base to a floating-point dtype"
            )
    return pow_op(input, exponent)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        *[s.call(s(2, 3, low=0.2, high=2), e) for e in (2, 3, 0.5, -1, -0.5, 1, 0, 2.7, -2)],
        s.call(s(2, 3, low=0.2, high=2), s(3)),
        s.call(s(2, 3), s.ints(3)),
        s.call(s.ints(4), 3),
        s.call(s.fixed([0, 1, 4]), 1.5),
    ],
)
def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """`input` to the `exponent`; either may be a number. Integers wrap; they have no negative integer powers."""
    return into(_power(input, exponent), out)


pow_ = inplace_form(pow, "pow_")


def _dunder_pow(self: Tensor, other: Any) -> Any:
    if isinstance(other, (Tensor, int, float, complex)):
        return _power(self, other)
    return not_implemented(_POW, (self, other))


def _dunder_rpow(self: Tensor, other: Any) -> Any:
    if isinstance(other, (int, float, complex)):
        return apply(_POW, (other, self))
    return NotImplemented


_POW: Elementwise = pow_op.op
PUBLIC["Tensor"].update(__pow__=_dunder_pow, __rpow__=_dunder_rpow, __ipow__=pow_)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3, low=0.2, high=2), 2.5), s.call(s.ints(3, low=1), -2)])
def float_power(input: Tensor | complex, exponent: Tensor | complex, *, out: Tensor | None = None) -> Tensor:
    """`pow` computed in float64 (complex128 for complex operands)."""
    wide = complex128 if any(_is_complex(x) for x in (input, exponent)) else float64
    base, power = (cast(x, dtype=wide) if isinstance(x, Tensor) else x for x in (input, exponent))
    return into(pow_op(base, power), out)


def _is_complex(x: Any) -> bool:
    return x._dtype.kind == 3 if isinstance(x, Tensor) else isinstance(x, complex)


inplace_form(float_power, "float_power_")


@elementwise(promote="float", kinds=(0, 1, 2), aliases=("arctan2",), autocast={"cuda": "promote"})
def atan2(m: Any, input: Any, other: Any) -> Any:
    """The angle of the point (other, input) in (-pi, pi]."""
    return m.atan2(input, other)


@elementwise(kinds=(2,))
def hypot(m: Any, input: Any, other: Any) -> Any:
    """sqrt(input**2 + other**2)."""
    return m.hypot(input, other)


@elementwise(promote="float", kinds=(0, 1, 2))
def copysign(m: Any, input: Any, other: Any) -> Any:
    """|input| with the sign of `other`."""
    return m.copysign(input, other)


@elementwise(kinds=(2,), differentiable=False, samples=lambda s: [s.call(s.fixed([1.0, -2.0]), s.fixed([2.0, -3.0]))])
def nextafter(m: Any, input: Any, other: Any) -> Any:
    """The next number after `input` toward `other`."""
    return m.nextafter(input, other)


@elementwise(
    kinds=(2,),
    grad={
        "input": lambda m, g, input, other: g / (1 + m.exp(other - input)),
        "other": lambda m, g, input, other: g / (1 + m.exp(input - other)),
    },
    inplace=False,
)
def logaddexp(m: Any, input: Any, other: Any) -> Any:
    """log(exp(input) + exp(other)), without overflow."""
    top = m.maximum(input, other)
    return m.where(input == other, top + 0.6931471805599453, top + m.log1p(m.exp(-m.abs(input - other))))


@elementwise(
    kinds=(2,),
    grad={
        "input": lambda m, g, input, other: g / (1 + m.exp2(other - input)),
        "other": lambda m, g, input, other: g / (1 + m.exp2(input - other)),
    },
    inplace=False,
)
def logaddexp2(m: Any, input: Any, other: Any) -> Any:
    """log2(2**input + 2**other), without overflow."""
    top = m.maximum(input, other)
    more = m.log1p(m.exp2(-m.abs(input - other))) * 1.4426950408889634
    return m.where(input == other, top + 1.0, top + more)


@elementwise(
    promote="float",
    kinds=(0, 1, 2),
    domain={"other": (0.1, 3)},
    grad={
        # At 0 the gradient is that of input * log(other) where there is one.
        "input": lambda m, g, input, other: m.where(
            input == 0, m.where(other <= 0, 0.0, g * m.log(other)), g * m.log(other)
        ),
        "other": lambda m, g, input, other: g * input / other,
    },
)
def xlogy(m: Any, input: Any, other: Any) -> Any:
    """input * log(other), 0 where input is 0 (NaN where other is NaN)."""
    return m.where(m.isnan(other), other, m.where(input == 0, 0.0, input * m.log(other)))


@elementwise(
    differentiable=False, kinds=(0, 1, 2), samples=lambda s: [s.call(s.fixed([-1.0, 0.0, 2.0]), s.fixed([0.5]))]
)
def heaviside(m: Any, input: Any, values: Any) -> Any:
    """0 below 0, `values` at 0, 1 above."""
    return m.where(input == 0, values, m.where(input > 0, 1, 0))


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(3), s.ints(3)), s.call(s(2, 3), s.fixed(2))],
    autocast={"cuda": "keep"},
)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2**other."""
    if input._dtype.kind == 2 and other._dtype.kind < 2:
        other = cast(other, dtype=input._dtype)
    return input * pow(2.0, other)


inplace_form(ldexp, "ldexp_")
