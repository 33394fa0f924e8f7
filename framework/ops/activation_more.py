"""The less usual activation functions: hard and shrinking ones, glu, prelu, rrelu."""

from __future__ import annotations

from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, public, publish
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.activation import F, leaky_relu, leaky_relu_, overwriting
from naiad.ops.movement import reshape
from naiad.ops.random import draw_uniform


@elementwise(namespaces=(), name="hardsigmoid", kinds=(2,))
def hardsigmoid_op(m: Any, input: Any) -> Any:
    """input / 6 + 1/2 between 0 and 1."""
    return m.where(input <= -3, 0.0, m.where(input >= 3, 1.0, (input + 3) / 6))


_hardsigmoid_into = inplace_call(hardsigmoid_op.op)


def _hardsigmoid_oracle(torch: Any) -> Any:
    """PyTorch's own double precision gradient multiplies by 1/6 in single precision."""
    return lambda x: torch.nn.functional.relu6(x + 3) / 6


@public(F, samples=lambda s: [s.call(s(3, 4, low=-5, high=5))], oracle=_hardsigmoid_oracle)
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """input / 6 + 1/2, clipped to [0, 1]."""
    return (_hardsigmoid_into if inplace else hardsigmoid_op)(input)


@elementwise(namespaces=(), name="hardswish", kinds=(2,))
def hardswish_op(m: Any, input: Any) -> Any:
    """input * hardsigmoid(input)."""
    return m.where(input <= -3, 0.0, m.where(input >= 3, input, input * (input + 3) / 6))


_hardswish_into = inplace_call(hardswish_op.op)


@public(F, samples=lambda s: [s.call(s(3, 4, low=-5, high=5))])
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)."""
    return (_hardswish_into if inplace else hardswish_op)(input)


@elementwise(namespaces=(F,), kinds=(2, 3), inplace=False)
def softsign(m: Any, input: Any) -> Any:
    """input / (1 + |input|)."""
    return input / (1 + m.abs(input))


@elementwise(namespaces=(F,), kinds=(2, 3), inplace=False)
def tanhshrink(m: Any, input: Any) -> Any:
    """input - tanh(input)."""
    return input - m.tanh(input)


@elementwise(namespaces=(), name="softshrink", kinds=(2,))
def softshrink_op(m: Any, input: Any, lambd: Any) -> Any:
    """input moved toward 0 by lambd, and 0 within lambd of it; NaN stays NaN."""
    inside = m.where(input == input, 0.0, input)
    return m.where(input > lambd, input - lambd, m.where(input < -lambd, input + lambd, inside))


@public(F, samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), 1.2)])
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input moved toward 0 by lambd, and 0 within lambd of it."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return softshrink_op(input, lambd)


@elementwise(namespaces=(), name="hardshrink", kinds=(2,))
def hardshrink_op(m: Any, input: Any, lambd: Any) -> Any:
    """input, but 0 within lambd of 0."""
    return m.where((input >= -lambd) & (input <= lambd), 0.0, input)


@public(F, "naiad", "Tensor", samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), 1.2)])
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input, but 0 within lambd of 0."""
    return hardshrink_op(input, lambd)


@elementwise(namespaces=(), name="prelu", kinds=(2,), autocast="lower")
def prelu_op(m: Any, input: Any, weight: Any) -> Any:
    """input where it is positive, else weight * input."""
    return m.where(input > 0, input, weight * input)


@public(F, "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3, 4), s(3)), s.call(s(2, 3), s(1)), s.call(s(3), s())])
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where it is positive, else weight * input; one weight, or one per channel (dimension 1)."""
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}. Flatten it first"
        )
    if weight.numel() == 1:
        return prelu_op(input, reshape(weight, (1,) * input.ndim))
    channels = input._array.shape[1] if input.ndim > 1 else 1
    if weight.numel() != channels:
        raise RuntimeError(
            "Mismatch of parameter numbers and input channel size. "
            f"Found parameter numbers = {weight.numel()} and channel size = {channels}."
        )
    return prelu_op(input, reshape(weight, (1, channels) + (1,) * (input.ndim - 2)))


@elementwise(namespaces=(), name="gate", kinds=(2,))
def gate_op(m: Any, input: Any, gate: Any) -> Any:
    """input * sigmoid(gate)."""
    return input * m.sigmoid(gate)


@public(F, samples=lambda s: [s.call(s(2, 6)), s.call(s(4, 3, 2), 0)])
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of `input` along `dim`, times the sigmoid of the second half."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    dim = normalize_dim(dim, input.ndim)
    size = input._array.shape[dim]
    if size % 2:
        raise RuntimeError(f"glu(): Halving dimension must be even, but dimension {dim} is size {size}")
    narrow = PUBLIC["Tensor"]["narrow"]
    return gate_op(narrow(input, dim, 0, size // 2), narrow(input, dim, size // 2, size // 2))


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """`rrelu` written into its input."""
    return rrelu(input, lower, upper, training, True)


overwriting("rrelu_", rrelu_, F, "naiad")
_prelu_into = inplace_call(prelu_op.op)


@public(F, "naiad", samples=lambda s: [s.call(s(2, 3)), s.call(s(4), 0.1, 0.4)])
def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu whose slope is drawn from [lower, upper) per element in training, and is their mean otherwise."""
    if lower > upper:
        raise RuntimeError(f"rrelu: lower bound {lower} should be less than or equal to the upper bound {upper}")
    if not training:
        return (leaky_relu_ if inplace else leaky_relu)(input, (lower + upper) / 2)
    slopes = draw_uniform(input._array.shape, input._dtype, input._device, lower, upper)
    return (_prelu_into if inplace else prelu_op)(input, slopes)


publish("tanh", PUBLIC["naiad"]["tanh"], (F,), samples=lambda s: [s.call(s(2, 3))])
