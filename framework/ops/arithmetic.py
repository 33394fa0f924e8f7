"""Arithmetic: add, sub, mul, div, neg, where, and the operators that call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT, INT, dtype
from naiad.core.elementwise import Elementwise, elementwise, make_call, not_implemented
from naiad.core.op import PUBLIC, publish
from naiad.core.tensor import Tensor

NUMERIC = (1, 2, 3)  # every kind but bool


@elementwise(namespaces=())
def add(m: Any, input: Any, other: Any) -> Any:
    """input + other."""
    return input + other


class Subtraction(Elementwise):
    """Subtraction, which PyTorch refuses wherever a bool takes part."""

    takes_bools = False

    def common_dtype(self, xs: Sequence) -> dtype:
        if any(isinstance(x, bool) or (isinstance(x, Tensor) and x._dtype.kind == 0) for x in xs):
            raise RuntimeError(
                "sub: Subtraction, the `-` operator, with a bool tensor is not supported. To invert a "
                "mask, use the `~` or `logical_not()` operator instead."
            )
        return super().common_dtype(xs)


def _difference(m: Any, input: Any, other: Any) -> Any:
    """input - other."""
    return input - other


sub = Subtraction("sub", _difference, ("input", "other"), kinds=NUMERIC).call


def _check_alpha(alpha: Any, *operands: Any) -> None:
    kinds = [x._dtype.kind if isinstance(x, Tensor) else INT if isinstance(x, int) else FLOAT for x in operands]
    if isinstance(alpha, float) and max(kinds) < FLOAT:
        raise RuntimeError(f"For integral input tensors, argument alpha must not be a floating point number: {alpha}")


def _scaled(op: Elementwise, inplace: Callable | None = None) -> Callable:
    plain = inplace or op.call

    def call(input: Tensor, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
        if alpha != 1:
            _check_alpha(alpha, input, other)
            other = other * alpha
        result = plain(input, other)
        return result if out is None else deliver(result, out)

    call.__name__ = op.name + ("_" if inplace else "")
    call.__doc__ = f"input {'+' if op.name == 'add' else '-'} alpha * other."
    return call


@elementwise(aliases=("multiply",))
def mul(m: Any, input: Any, other: Any) -> Any:
    """input * other."""
    return input * other


@elementwise(namespaces=(), promote="float", name="div")
def true_div(m: Any, input: Any, other: Any) -> Any:
    """input / other, in floating point."""
    return m.div(input, other)


# A number on the left has an entry of its own, so that `1 - x` goes the quick way with the tensor as first operand.
def _difference_reflected(m: Any, input: Any, other: Any) -> Any:
    """other - input."""
    return other - input


reflected_sub: Any = Subtraction("rsub", _difference_reflected, ("input", "other"), kinds=NUMERIC).call


@elementwise(namespaces=(), promote="float", name="rdiv", autocast={"cuda": "float32"})
def reflected_div(m: Any, input: Any, other: Any) -> Any:
    """other / input, in floating point."""
    return m.div(other, input)


@elementwise(kinds=NUMERIC, aliases=("negative",))
def neg(m: Any, input: Any) -> Any:
    """-input."""
    return -input


@elementwise(namespaces=(), name="where", flags=("condition",))
def where_op(m: Any, condition: Any, input: Any, other: Any) -> Any:
    """`input` where `condition` holds, else `other`."""
    return m.where(condition, input, other)


def operator(op: Elementwise, reflected: bool = False) -> Callable:
    """The op as a Python operator: an operand of a foreign type gets to answer."""
    call = make_call(op, not_implemented)
    if not reflected:
        return call

    def swapped(input: Tensor, other: Any) -> Any:
        from naiad.core.dispatch import NUMBERS, apply

        return (
            apply(op, (other, input)) if isinstance(other, (*NUMBERS, Tensor)) else not_implemented(op, (other, input))
        )

    return swapped


def _install() -> None:
    from naiad.core.inplace import inplace_call

    methods = PUBLIC["Tensor"]
    for function, reflected, sign in ((add, add, "add"), (sub, reflected_sub, "sub")):
        op = function.op  # type: ignore[union-attr]
        inplace = inplace_call(op)
        publish(sign, _scaled(op), ("naiad", "Tensor"), ("subtract",) if sign == "sub" else (), op=op)
        publish(sign + "_", _scaled(op, inplace), ("Tensor",), ("subtract_",) if sign == "sub" else (), inplace_of=op)
        methods[f"__{sign}__"], methods[f"__r{sign}__"] = operator(op), operator(reflected.op)
        methods[f"__i{sign}__"] = inplace
    for function, reflected, sign in ((mul, mul, "mul"), (true_div, reflected_div, "truediv")):
        op = function.op
        methods[f"__{sign}__"], methods[f"__r{sign}__"] = operator(op), operator(reflected.op)
        methods[f"__i{sign}__"] = inplace_call(op) if sign == "truediv" else methods["mul_"]
    methods["__neg__"] = neg


_install()
