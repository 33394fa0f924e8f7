"""Questions: is it finite, is it close, are they equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.dtype import COMPLEX
from naiad.core.dtype import bool as bool_
from naiad.core.elementwise import elementwise
from naiad.core.guard import check_tensor
from naiad.core.op import public
from naiad.core.tensor import Tensor
from naiad.ops.bitwise import bitwise_and, bitwise_or
from naiad.ops.comparison import eq, le, ne
from naiad.ops.convert import cast
from naiad.ops.creation import full_op
from naiad.ops.rounding import abs as abs_

_ODD: dict[str, Any] = dict(
    samples=lambda s: [s.call(s.fixed([1.0, float("nan"), float("inf"), float("-inf"), 0.0])), s.call(s.ints(3))]
)


@elementwise(result=bool_, **_ODD)
def isnan(m: Any, input: Any) -> Any:
    """Whether it is NaN."""
    return m.isnan(input)


@elementwise(result=bool_, **_ODD)
def isinf(m: Any, input: Any) -> Any:
    """Whether it is inf or -inf."""
    return m.isinf(input)


@elementwise(result=bool_, **_ODD)
def isfinite(m: Any, input: Any) -> Any:
    """Whether it is neither NaN nor infinite."""
    return m.isfinite(input)


@elementwise(result=bool_, kinds=(0, 1, 2), **_ODD)
def isposinf(m: Any, input: Any) -> Any:
    """Whether it is inf."""
    return m.isinf(input) & (input > 0)


@elementwise(result=bool_, kinds=(0, 1, 2), **_ODD)
def isneginf(m: Any, input: Any) -> Any:
    """Whether it is -inf."""
    return m.isinf(input) & (input < 0)


@elementwise(
    result=bool_, kinds=(0, 1, 2), samples=lambda s: [s.call(s.fixed([1.0, -2.0, -0.0])), s.call(s.ints(3, low=-3))]
)
def signbit(m: Any, input: Any) -> Any:
    """Whether the sign bit is set (of -0.0 too)."""
    return m.signbit(input)


@elementwise(namespaces=(), name="isreal_op", kinds=(3,), result=bool_)
def isreal_op(m: Any, input: Any) -> Any:
    """Whether the imaginary part is 0."""
    return m.imag(input) == 0


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(3)), s.call(s(3)), s.call(s.fixed([1.0, float("nan")]))])
def isreal(input: Tensor) -> Tensor:
    """Whether the imaginary part is 0, as that of any real number is."""
    if input._dtype.kind == COMPLEX:
        return isreal_op(input)
    return full_op(shape=input._array.shape, value=True, dtype=bool_, device=input._device)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.fixed([1.0, 2.0, float("nan")]), s.fixed([1.0, 2.1, float("nan")]), rtol=0.1),
        s.call(s.ints(3), s.ints(3)),
    ],
)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, elementwise; infinities are close to themselves."""
    _same_dtype("isclose", input, other)
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must not be negative, got rtol={rtol} and atol={atol}")
    close = eq(input, other)
    if input._dtype.kind >= 2 and equal_nan:
        close = bitwise_or(close, bitwise_and(ne(input, input), ne(other, other)))
    if rtol == 0 and atol == 0:
        return close
    if input._dtype.kind == 0:
        input, other = cast(input, dtype=_int()), cast(other, dtype=_int())
    difference = abs_(input - other)
    allowed = abs_(other * rtol) + atol
    return bitwise_or(close, bitwise_and(isfinite(difference), le(difference, allowed)))


def _int() -> Any:
    from naiad.core.dtype import uint8

    return uint8


def _same_dtype(name: str, input: Tensor, other: Tensor) -> None:
    if not isinstance(other, Tensor) or not isinstance(input, Tensor):
        raise TypeError(
            f"{name}(): both arguments must be Tensors, got {type(input).__name__} and {type(other).__name__}"
        )
    if input._dtype is not other._dtype:
        raise RuntimeError(f"{name}: {input.dtype} did not match {other.dtype}. Convert one with .to(dtype)")


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s.fixed([1.0, 2.0]), s.fixed([1.0, 2.00000001])), s.call(s(3), s(3))]
)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close, as in `isclose`."""
    return _truth(isclose(input, other, rtol, atol, equal_nan))


@public("naiad", "Tensor", samples=lambda s: [s.call(s.fixed([1, 2]), s.fixed([1, 2])), s.call(s(2), s(3))])
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal."""
    if input._array.shape != other._array.shape:
        return False
    return _truth(eq(input, other))


def _truth(found: Tensor) -> bool:
    if isinstance(found._array, np.ndarray):
        return bool(found._array.all())
    return bool(found.all().item())


@public("naiad", "Tensor", samples=lambda s: [s.call(s(1)), s.call(s.fixed(0))])
def is_nonzero(input: Tensor) -> bool:
    """Whether a tensor of one element is not 0."""
    check_tensor("is_nonzero", input)
    return bool(input)
