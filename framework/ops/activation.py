"""Activation functions that everybody uses: relu and its kin, elu's family, gelu, silu, mish, sigmoid.

Bodies are written so that no branch that is not taken makes an infinity: its gradient would be 0 * inf.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.inplace import inplace_call
from naiad.core.op import public, publish
from naiad.core.tensor import Tensor

BOTH = ("nn.functional", "naiad", "Tensor")
F = "nn.functional"


def overwriting(name: str, call: Any, *spaces: str) -> None:
    """Publish an in-place form of which PyTorch has a function."""
    publish(name, call, spaces or (F,))


@elementwise(namespaces=("naiad", "Tensor"), promote="float")
def sigmoid(m: Any, input: Any) -> Any:
    """1 / (1 + exp(-input))."""
    return m.sigmoid(input)


publish("sigmoid", sigmoid, (F,), samples=lambda s: [s.call(s(2, 3))])


# ---------------------------------------------------------------- piecewise linear
# The gradient names the output, so that `relu_` may overwrite its input.
@elementwise(namespaces=(), name="relu", grad={"input": lambda m, g, out: m.where(out <= 0, 0, g)}, kinds=(1, 2))
def relu_op(m: Any, input: Any) -> Any:
    """max(input, 0); NaN stays NaN."""
    return m.maximum(input, 0)


relu_ = inplace_call(relu_op.op)
overwriting("relu_", relu_, F, "naiad", "Tensor")


@public(*BOTH, samples=lambda s: [s.call(s(2, 3)), s.call(s()), s.call(s(0, 2)), s.call(s.ints(5, low=-4))])
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0); NaN stays NaN."""
    return relu_(input) if inplace else relu_op(input)


@elementwise(namespaces=(), name="leaky_relu", kinds=(2,))
def leaky_relu_op(m: Any, input: Any, negative_slope: Any) -> Any:
    """input where it is positive, else negative_slope * input."""
    return m.where(input > 0, input, input * negative_slope)


_leaky_relu_into = inplace_call(leaky_relu_op.op)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` written into its input."""
    return _leaky_relu_into(input, negative_slope)


overwriting("leaky_relu_", leaky_relu_)


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s(4), 0.2), s.call(s(4), negative_slope=-0.5)])
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    return (_leaky_relu_into if inplace else leaky_relu_op)(input, negative_slope)


@elementwise(namespaces=(), name="hardtanh", kinds=(1, 2))
def hardtanh_op(m: Any, input: Any, min_val: Any, max_val: Any) -> Any:
    """input between min_val and max_val; no gradient flows at the ends."""
    return m.where(input <= min_val, min_val, m.where(input >= max_val, max_val, input))


_hardtanh_into = inplace_call(hardtanh_op.op)


def _check_bounds(min_val: float, max_val: float) -> None:
    if min_val > max_val:
        raise ValueError(f"hardtanh(): min_val cannot be greater than max_val, got {min_val} and {max_val}")


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` written into its input."""
    _check_bounds(min_val, max_val)
    return _hardtanh_into(input, min_val, max_val)


overwriting("hardtanh_", hardtanh_)


@public(F, samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), -0.5, 1.5)])
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """input clipped to [min_val, max_val]; no gradient flows at the ends."""
    _check_bounds(min_val, max_val)
    return (_hardtanh_into if inplace else hardtanh_op)(input, min_val, max_val)


@public(F, samples=lambda s: [s.call(s(3, 4, low=-8, high=8))])
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return (_hardtanh_into if inplace else hardtanh_op)(input, 0, 6)


@elementwise(namespaces=(), name="threshold", kinds=(1, 2))
def threshold_op(m: Any, input: Any, threshold: Any, value: Any) -> Any:
    """input where it is above the threshold, else value."""
    return m.where(input <= threshold, value, input)


_threshold_into = inplace_call(threshold_op.op)
overwriting("threshold_", _threshold_into, F, "naiad")


@public(F, "naiad", samples=lambda s: [s.call(s(3, 4), 0.3, -7.0), s.call(s.ints(5), 2, 9)])
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input where it is above the threshold, else value."""
    return (_threshold_into if inplace else threshold_op)(input, threshold, value)


# ---------------------------------------------------------------- exponential below zero
@elementwise(namespaces=(), name="elu", kinds=(2,))
def elu_op(m: Any, input: Any, alpha: Any) -> Any:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    return m.where(input > 0, input, alpha * m.expm1(m.minimum(input, 0.0)))


_elu_into = inplace_call(elu_op.op)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` written into its input."""
    return _elu_into(input, alpha)


overwriting("elu_", elu_)


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s(4), 0.7)])
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    return (_elu_into if inplace else elu_op)(input, alpha)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@elementwise(namespaces=(), name="selu", kinds=(2,))
def selu_op(m: Any, input: Any) -> Any:
    """scale * elu(input), with the constants under which a deep net keeps mean 0 and variance 1."""
    return SELU_SCALE * m.where(input > 0, input, SELU_ALPHA * m.expm1(m.minimum(input, 0.0)))


selu_ = inplace_call(selu_op.op)
overwriting("selu_", selu_, F, "naiad")


@public(F, "naiad", samples=lambda s: [s.call(s(2, 3))])
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(input, alpha) with the constants of self-normalizing networks."""
    return (selu_ if inplace else selu_op)(input)


@elementwise(namespaces=(), name="celu", kinds=(2,))
def celu_op(m: Any, input: Any, alpha: Any) -> Any:
    """input where it is positive, else alpha * (exp(input / alpha) - 1)."""
    return m.where(input > 0, input, alpha * m.expm1(m.minimum(input / alpha, 0.0)))


_celu_into = inplace_call(celu_op.op)


def _check_celu(alpha: float) -> None:
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` written into its input."""
    _check_celu(alpha)
    return _celu_into(input, alpha)


overwriting("celu_", celu_, F, "naiad")


# The samples' alpha is a power of two: PyTorch's double precision gradient divides by it in single precision.
@public(F, "naiad", samples=lambda s: [s.call(s(2, 3)), s.call(s(4), 0.5)])
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input / alpha) - 1)."""
    _check_celu(alpha)
    return (_celu_into if inplace else celu_op)(input, alpha)


# ---------------------------------------------------------------- smooth
@elementwise(namespaces=(), name="silu", kinds=(2, 3))
def silu_op(m: Any, input: Any) -> Any:
    """input * sigmoid(input)."""
    return input * m.sigmoid(input)


_silu_into = inplace_call(silu_op.op)


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s())])
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input)."""
    return _silu_into(input) if inplace else silu_op(input)


@elementwise(namespaces=(), name="mish", kinds=(2,))
def mish_op(m: Any, input: Any) -> Any:
    """input * tanh(log(1 + exp(input))); past 30 the tangent is 1 to the last bit."""
    return input * m.tanh(m.log1p(m.exp(m.minimum(input, 30.0))))


_mish_into = inplace_call(mish_op.op)


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s.fixed([-50.0, 40.0, 0.0], differentiable=True))])
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))."""
    return _mish_into(input) if inplace else mish_op(input)


@elementwise(namespaces=(), name="gelu", kinds=(2,))
def gelu_op(m: Any, input: Any) -> Any:
    """input * Phi(input), Phi being the standard normal distribution function."""
    return input * (0.5 * (1 + m.erf(input * sqrt(0.5))))


@elementwise(namespaces=(), name="gelu_tanh", kinds=(2,))
def gelu_tanh_op(m: Any, input: Any) -> Any:
    """The approximation of gelu by a tangent."""
    inner = sqrt(2 / pi) * (input + 0.044715 * (input * input * input))
    return 0.5 * input * (1 + m.tanh(inner))


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s(4), approximate="tanh"), s.call(s())])
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input * Phi(input), exactly ("none") or through a tangent ("tanh")."""
    if approximate == "none":
        return gelu_op(input)
    if approximate != "tanh":
        raise RuntimeError(f"gelu(): approximate argument must be either none or tanh, got {approximate!r}")
    return gelu_tanh_op(input)


def _softplus_slope(m: Any, g: Any, input: Any, beta: Any, threshold: Any) -> Any:
    return m.where(input * beta > threshold, g, g * m.sigmoid(input * beta))


@elementwise(namespaces=(), name="softplus", kinds=(2,), grad={"input": _softplus_slope}, autocast={"cuda": "float32"})
def softplus_op(m: Any, input: Any, beta: Any, threshold: Any) -> Any:
    """log(1 + exp(beta * input)) / beta, and input itself where beta * input is above the threshold."""
    z = input * beta
    return m.where(z > threshold, input, (m.maximum(z, 0.0) + m.log1p(m.exp(-m.abs(z)))) / beta)


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s(5), 2.0, 1.0), s.call(s.fixed([-900.0, 0, 900], "f8", True))])
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta * input)) / beta, linear above the threshold."""
    return softplus_op(input, beta, threshold)


@elementwise(namespaces=(), name="logsigmoid", kinds=(2,), grad={"input": lambda m, g, input: g * m.sigmoid(-input)})
def logsigmoid_op(m: Any, input: Any) -> Any:
    """log(sigmoid(input))."""
    return m.minimum(input, 0.0) - m.log1p(m.exp(-m.abs(input)))


@public(F, samples=lambda s: [s.call(s(2, 3)), s.call(s.fixed([-900.0, 0, 900], "f8", True))])
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)), without overflow."""
    return logsigmoid_op(input).contiguous()
