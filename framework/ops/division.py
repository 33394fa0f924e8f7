"""Division in all its roundings, and remainders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dispatch import NUMBERS, apply
from naiad.core.elementwise import elementwise, not_implemented
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import true_div
from naiad.ops.forms import inplace_form, into

NUMERIC = (1, 2)


@elementwise(namespaces=(), name="floor_div", kinds=NUMERIC)
def floor_div(m: Any, input: Any, other: Any) -> Any:
    """input / other rounded down."""
    return m.floor_div(input, other)


@elementwise(namespaces=(), name="trunc_div", kinds=NUMERIC)
def trunc_div(m: Any, input: Any, other: Any) -> Any:
    """input / other rounded toward 0."""
    return m.trunc_div(input, other)


@elementwise(namespaces=(), name="remainder", kinds=NUMERIC)
def remainder_op(m: Any, input: Any, other: Any) -> Any:
    """input - other * floor(input / other)."""
    return m.remainder(input, other)


@elementwise(namespaces=(), name="fmod", kinds=NUMERIC)
def fmod_op(m: Any, input: Any, other: Any) -> Any:
    """input - other * trunc(input / other)."""
    return m.fmod(input, other)


def _check_divisor(name: str, input: Any, other: Any) -> None:
    """Integers have no infinity: raise RuntimeError where one would be divided by 0."""
    if isinstance(input, Tensor):
        if input._dtype.kind > 1:
            return
    elif isinstance(input, (float, complex)):
        return
    if isinstance(other, Tensor):
        if other._dtype.kind > 1 or other._device.type != "cpu":
            return
        zero = not other._array.all()
    else:
        zero = isinstance(other, int) and other == 0
    if zero:
        raise RuntimeError(
            f"{name}: ZeroDivisionError: integer division by 0. Convert to floating point for inf or nan"
        )


def _checked(name: str, op: Callable) -> Callable:
    def call(input: Any, other: Any) -> Tensor:
        _check_divisor(name, input, other)
        return op(input, other)

    return call


_floor, _trunc = _checked("floor_divide", floor_div), _checked("div", trunc_div)


@public(
    "naiad",
    "Tensor",
    aliases=("divide",),
    samples=lambda s: [
        s.call(s(2, 3), s(3, low=0.5, high=2)),
        s.call(s(2, 3), 2),
        s.call(s(2, 3), s(3), rounding_mode="floor"),
        s.call(s(2, 3), s(3), rounding_mode="trunc"),
        s.call(s.ints(4, low=-9), s.ints(4, low=1), rounding_mode="floor"),
        s.call(s.ints(4, low=-9), s.ints(4, low=1), rounding_mode="trunc"),
        s.call(s.ints(4), s.ints(4, low=1)),
    ],
)
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other: exact (integers give floats), or rounded: "floor" or "trunc" (integers stay integers)."""
    if rounding_mode is None:
        return into(true_div(input, other), out)
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}"
        )
    return into((_floor if rounding_mode == "floor" else _trunc)(input, other), out)


_true_div_into = PUBLIC["Tensor"]["__itruediv__"]


@public("Tensor", aliases=("divide_",))
def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """In-place `div`."""
    return _true_div_into(self, other) if rounding_mode is None else _rounded_into(self, other, rounding_mode)


def _rounded_into(self: Tensor, other: Any, rounding_mode: str) -> Tensor:
    return _div_inplace(self, other, rounding_mode=rounding_mode)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(3)), s.call(s.ints(3), 2)])
def true_divide(input: Tensor | complex, other: Tensor | complex, *, out: Tensor | None = None) -> Tensor:
    """input / other."""
    return into(true_div(input, other), out)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s.ints(2, 3, low=-9), s.ints(3, low=1)), s.call(s.fixed([5.5, -5.5, 1.0]), 2.0)],
)
def floor_divide(input: Tensor | float, other: Tensor | float, *, out: Tensor | None = None) -> Tensor:
    """input / other rounded down; integers stay integers and must not be divided by 0."""
    return into(_floor(input, other), out)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3), s(3)),
        s.call(s(4), 0.7),
        s.call(s.ints(4, low=-9), 4),
        s.call(5.5, s.ints(3, low=1)),
    ],
)
def remainder(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input - other * floor(input / other): it has the sign of `other`, as Python's % does."""
    return into(_remainder(input, other), out)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(3)), s.call(s(4), 0.7), s.call(s.ints(4, low=-9), 4)])
def fmod(input: Tensor, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input - other * trunc(input / other): it has the sign of `input`, as C's fmod does."""
    return into(_fmod(input, other), out)


_remainder, _fmod = _checked("remainder", remainder_op), _checked("fmod", fmod_op)
_div_inplace = inplace_form(div, "_div_rounded_")
true_divide_ = inplace_form(true_divide, "true_divide_")
floor_divide_ = inplace_form(floor_divide, "floor_divide_")
remainder_ = inplace_form(remainder, "remainder_")
fmod_ = inplace_form(fmod, "fmod_")
del PUBLIC["Tensor"]["_div_rounded_"]


def _operator(function: Callable, op: Any, reflected: bool = False) -> Callable:
    def call(self: Tensor, other: Any) -> Any:
        if isinstance(other, (*NUMBERS, Tensor)):
            return function(other, self) if reflected else function(self, other)
        if isinstance(other, (np.ndarray, np.generic)):
            return apply(op, (other, self) if reflected else (self, other))
        return not_implemented(op, (self, other))

    return call


for _sign, _function, _op in (("floordiv", _floor, floor_div.op), ("mod", _remainder, remainder_op.op)):
    PUBLIC["Tensor"][f"__{_sign}__"] = _operator(_function, _op)
    PUBLIC["Tensor"][f"__r{_sign}__"] = _operator(_function, _op, reflected=True)
PUBLIC["Tensor"].update(__ifloordiv__=floor_divide_, __imod__=remainder_)
PUBLIC["Tensor"]["__div__"] = PUBLIC["Tensor"]["__truediv__"]
PUBLIC["Tensor"]["__rdiv__"] = PUBLIC["Tensor"]["__rtruediv__"]
