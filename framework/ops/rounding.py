"""Signs, absolute values and rounding."""

from __future__ import annotations

from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.convert import clone_op
from naiad.ops.forms import inplace_form, into

NUMBERS = (1, 2)


@elementwise(result="real", kinds=(1, 2, 3), aliases=("absolute",), inplace=True)
def abs(m: Any, input: Any) -> Any:
    """The absolute value; of complex numbers the modulus, which is real."""
    return m.abs(input)


@elementwise(kinds=(0, 1, 2))
def sign(m: Any, input: Any) -> Any:
    """-1, 0 or 1 by the sign; 0 for NaN."""
    return m.sgn(input)


def _sgn_grad(m: Any, g: Any, input: Any) -> Any:
    size = m.abs(input)
    unit = m.sgn(input)
    return m.where(size == 0, 0.0, (g - unit * m.real(m.conj(unit) * g)) / m.where(size == 0, 1.0, size))


@elementwise(namespaces=(), name="sgn", grad={"input": _sgn_grad})
def sgn_complex(m: Any, input: Any) -> Any:
    """input / |input|, 0 at 0."""
    return m.sgn(input)


@public("naiad", "Tensor", samples=lambda s: [s.call(s.complex(4)), s.call(s.ints(4, low=-3))])
def sgn(input: Tensor) -> Tensor:
    """The sign of real numbers, input / |input| of complex ones."""
    return sgn_complex(input) if input._dtype.kind == 3 else sign(input)


inplace_form(sgn, "sgn_")


@elementwise(kinds=NUMBERS)
def floor(m: Any, input: Any) -> Any:
    """The largest integer that is no larger."""
    return m.floor(input)


@elementwise(kinds=NUMBERS)
def ceil(m: Any, input: Any) -> Any:
    """The smallest integer that is no smaller."""
    return m.ceil(input)


@elementwise(kinds=NUMBERS, aliases=("fix",))
def trunc(m: Any, input: Any) -> Any:
    """The integer part."""
    return m.trunc(input)


@elementwise(kinds=(2,))
def frac(m: Any, input: Any) -> Any:
    """input - trunc(input)."""
    return input - m.trunc(input)


@elementwise(namespaces=(), name="round", kinds=NUMBERS)
def round_op(m: Any, input: Any) -> Any:
    """The nearest integer; halves go to the even one."""
    return m.rint(input)


@elementwise(namespaces=(), name="round_scaled", kinds=(2,))
def round_scaled(m: Any, input: Any, scale: Any) -> Any:
    """The nearest multiple of 1 / scale."""
    return m.rint(input * scale) / scale


@elementwise(namespaces=(), name="round_coarse", kinds=(2,))
def round_coarse(m: Any, input: Any, scale: Any) -> Any:
    """The nearest multiple of scale."""
    return m.rint(input / scale) * scale


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3)), s.call(s(5, low=-200, high=200), decimals=-1), s.call(s.ints(3))],
)
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """Rounded to `decimals` places (negative: left of the point); halves go to the even neighbour."""
    if decimals == 0:
        return into(round_op(input), out)
    if input._dtype.kind == 1:
        raise NotImplementedError(f"round(): decimals={decimals} is for floating-point tensors, not {input.dtype}")
    op, scale = (round_scaled, 10.0**decimals) if decimals > 0 else (round_coarse, 10.0**-decimals)
    return into(op(input, scale), out)


inplace_form(round, "round_")


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s.ints(3))])
def positive(input: Tensor) -> Tensor:
    """The tensor itself. Raises RuntimeError for bool."""
    if input._dtype.kind == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@elementwise(namespaces=(), name="nan_to_num", kinds=NUMBERS, grad={"nan": None, "posinf": None, "neginf": None})
def nan_to_num_op(m: Any, input: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    """`nan`, `posinf`, `neginf` in place of the values that are no finite numbers."""
    inf = float("inf")
    return m.where(m.isnan(input), nan, m.where(input == inf, posinf, m.where(input == -inf, neginf, input)))


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.fixed([1.0, float("nan"), float("-inf"), 2.0], differentiable=True)),
        s.call(s(3), 1.0),
    ],
)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Numbers for NaN (0), inf (the dtype's largest) and -inf (its smallest)."""
    from naiad.core.dtype import finfo

    if input._dtype.kind < 2:
        return clone_op(input)
    if input._dtype.kind == 3:
        space = PUBLIC["naiad"]
        parts = nan_to_num(space["view_as_real"](input), nan, posinf, neginf)
        return space["view_as_complex"](parts)
    limits = finfo(input._dtype)
    return nan_to_num_op(
        input,
        0.0 if nan is None else nan,
        limits.max if posinf is None else posinf,
        limits.min if neginf is None else neginf,
    )


inplace_form(nan_to_num, "nan_to_num_", namespaces=("Tensor", "naiad"))

PUBLIC["Tensor"]["__abs__"] = abs
PUBLIC["Tensor"]["__pos__"] = positive
