"""Normalization: one primitive for layer, group, instance, batch and RMS norm.

All do the same to a reshaped input ("view") over some of its axes:
    y = (x - mean) / sqrt(var + eps) * weight + bias
and only differ in the view, the axes, and where weight and bias broadcast ("affine", a shape of the view's rank). RMS
norm is not `centred`: its mean is taken for 0. Halves are computed in float32 and rounded once, and their statistics
stay float32.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from naiad.core.device import CUDA
from naiad.core.dtype import FLOAT, HALVES
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.movement import reshape, reshape_op
from naiad.ops.norm_numpy import (
    channels_forward,
    channels_gradient,
    channels_weight_gradient,
    rows_forward,
    rows_gradient,
    rows_weight_gradient,
)
from naiad.ops.reduction import sum_dims

ndarray = np.ndarray
Shape = tuple[int, ...]
_HALF_TYPES = frozenset(d.np for d in HALVES)


def _rule(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *, view: Shape, axes: Shape, affine: Shape, **_: Any
) -> list:
    if input._dtype.kind != FLOAT:
        raise NotImplementedError(
            f"a normalization is not implemented for '{input._dtype.name}': convert with .float()"
        )
    for name, operand in (("weight", weight), ("bias", bias)):
        if operand is not None and operand._dtype is not input._dtype:
            raise RuntimeError(
                f"expected scalar type {input._dtype.name} but found {operand._dtype.name} for the {name} of a "
                "normalization. Convert one with .to(dtype)"
            )
    kept = _statistics_shape(view, axes)
    own = input._dtype.compute
    return [(input._array.shape, input._dtype), (kept, own), (kept, own)]


def _statistics_shape(view: Shape, axes: Shape) -> Shape:
    return tuple(1 if i in axes else n for i, n in enumerate(view))


# ---------------------------------------------------------------- NumPy
class _Layout:
    """How a normalization is laid out for NumPy: as rows, or as channels.

    inner: weight and bias belong to the elements of a row, or to channels; else they are applied to the view.
    """

    def __init__(self, view: Shape, axes: Shape, affine: Shape) -> None:
        self.channels = axes == (0, 2) and len(view) == 3
        first = axes[0]
        if not self.channels and axes != tuple(range(first, len(view))):
            raise ValueError(f"statistics over {axes} of {len(view)} dimensions")
        self.shape = view if self.channels else (prod(view[:first]), prod(view[first:]))
        self.statistics = _statistics_shape(view, axes)
        self.inner = self.channels or prod(affine) == self.shape[1] == prod(affine[first:])
        self.mean_shape = (1, view[1], 1) if self.channels else (self.shape[0], 1)


def _check(input: ndarray, *operands: ndarray | None) -> None:
    if input.dtype.kind != "f" or any(o is not None and o.dtype != input.dtype for o in operands):
        raise TypeError("dtypes")


# ---------------------------------------------------------------- forward
@primitive(
    rule=_rule,
    kernel="norm.normalize",
    outputs=3,
    widen=False,  # by itself: not all that it returns is rounded
    grad=(
        lambda g, input, weight, out1, out2, view, axes, affine, eps, centred: _input_gradient(
            g, input, weight, out1, out2, view=view, axes=axes, affine=affine, eps=eps, centred=centred
        ),
        lambda g, input, out1, out2, weight_shape, view, axes, affine, eps, centred: _weight_gradient(
            g, input, out1, out2, weight_shape, view=view, axes=axes, affine=affine, eps=eps, centred=centred
        ),
        lambda g, bias_shape, view, affine: _sum_to_affine(reshape(g, view), affine, bias_shape),
    ),
)
def normalized(
    input: ndarray,
    weight: ndarray | None = None,
    bias: ndarray | None = None,
    *,
    view: Shape,
    axes: Shape,
    affine: Shape,
    eps: float,
    centred: bool,
) -> tuple:
    """(x - mean) / sqrt(var + eps) * weight + bias, the mean and the (biased) variance."""
    own = input.dtype
    if own.itemsize == 2 and own in _HALF_TYPES:  # hashing a dtype is slow
        weight, bias = (x.astype(np.float32) if x is not None and x.dtype == own else x for x in (weight, bias))
        input = input.astype(np.float32)
    _check(input, weight, bias)
    layout = _Layout(view, axes, affine)
    forward = channels_forward if layout.channels else partial(rows_forward, centred=centred)
    own_weight, own_bias = (None if o is None or not layout.inner else o.reshape(-1) for o in (weight, bias))
    y, mean, var = forward(input.reshape(layout.shape), own_weight, own_bias, eps)
    if not layout.inner:
        y = y.reshape(view)
        if weight is not None:
            y *= weight.reshape(affine)
        if bias is not None:
            y += bias.reshape(affine)
    y = y.reshape(input.shape).astype(own, copy=False)
    return y, mean.reshape(layout.statistics), var.reshape(layout.statistics)


def _sum_to_affine(g: Tensor, affine: Shape, shape: Shape) -> Tensor:
    dims = tuple(i for i, n in enumerate(affine) if n == 1)
    return reshape(sum_dims(g, dim=dims, keepdim=True), shape)


# ---------------------------------------------------------------- backward
def _input_gradient(g: Tensor, input: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, **facts: Any) -> Tensor:
    if not current().grad:
        return normalized_grad(g, input, weight, mean, var, **facts)
    view, axes = facts["view"], facts["axes"]
    unit, inverse = _unit(input, **facts)
    scaled = reshape(g, view)
    if weight is not None:
        scaled = scaled * reshape(weight, facts["affine"])
    n = prod(view[a] for a in axes)
    through_var = sum_dims(scaled * unit, dim=axes, keepdim=True) / n
    if facts["centred"]:
        scaled = scaled - sum_dims(scaled, dim=axes, keepdim=True) / n
    return reshape((scaled - unit * through_var) * inverse, input._array.shape)


def _unit(
    input: Tensor, *, view: Shape, axes: Shape, affine: Shape, eps: float, centred: bool
) -> tuple[Tensor, Tensor]:
    """x normalized, and 1 / sqrt(var + eps), in differentiable ops."""
    x = reshape(input, view)
    n = prod(view[a] for a in axes)
    if centred:
        x = x - sum_dims(x, dim=axes, keepdim=True) / n
    var = sum_dims(x * x, dim=axes, keepdim=True) / n
    inverse = (var + eps).rsqrt()
    return x * inverse, inverse


def _weight_gradient(g: Tensor, input: Tensor, mean: Tensor, var: Tensor, shape: Shape, **facts: Any) -> Tensor:
    if not current().grad:
        return reshape_op(normalized_weight_grad(g, input, mean, var, **facts), size=shape)
    unit, _ = _unit(input, **facts)
    return _sum_to_affine(reshape(g, facts["view"]) * unit, facts["affine"], shape)


@primitive(rule=lambda grad, input, *rest, **attrs: (input._array.shape, input._dtype), kernel="norm.normalize_grad")
def normalized_grad(
    grad: ndarray,
    input: ndarray,
    weight: ndarray | None,
    mean: ndarray,
    var: ndarray,
    *,
    view: Shape,
    axes: Shape,
    affine: Shape,
    eps: float,
    centred: bool,
) -> ndarray:
    """(g*w - mean(g*w) - unit * mean(g*w * unit)) / sqrt(var + eps), with unit = (x - mean) / sqrt(var + eps)."""
    layout = _Layout(view, axes, affine)
    inverse = 1 / np.sqrt(var + input.dtype.type(eps))
    own, g = None, grad
    if weight is not None:
        if layout.inner:
            own = weight.reshape(-1)
        else:
            g = grad.reshape(view) * weight.reshape(affine)
    gradient = channels_gradient if layout.channels else partial(rows_gradient, centred=centred)
    x, means = input.reshape(layout.shape), layout.mean_shape
    out = gradient(g.reshape(x.shape), x, own, mean.reshape(means), inverse.reshape(means))
    return out.reshape(input.shape)


@primitive(rule=lambda grad, input, *rest, affine, **attrs: (affine, input._dtype), kernel="norm.normalize_weight_grad")
def normalized_weight_grad(
    grad: ndarray,
    input: ndarray,
    mean: ndarray,
    var: ndarray,
    *,
    view: Shape,
    axes: Shape,
    affine: Shape,
    eps: float,
    centred: bool,
) -> ndarray:
    """The sum of g * unit over everything but the affine's own axes."""
    layout = _Layout(view, axes, affine)
    inverse = 1 / np.sqrt(var + input.dtype.type(eps))
    if layout.inner:
        gradient = channels_weight_gradient if layout.channels else rows_weight_gradient
        x, means = input.reshape(layout.shape), layout.mean_shape
        return gradient(grad.reshape(x.shape), x, mean.reshape(means), inverse.reshape(means)).reshape(affine)
    unit = input.reshape(view) - mean
    unit *= inverse
    unit *= grad.reshape(view)
    dims = tuple(i for i, n in enumerate(affine) if n == 1)
    return np.add.reduce(unit, dims, keepdims=True)


@primitive(
    rule=lambda grad, input, *rest, affine, **attrs: [(affine, input._dtype)] * 2,
    kernel="norm.normalize_affine_grad",
    outputs=2,
)
def normalized_affine_grad(
    grad: ndarray,
    input: ndarray,
    mean: ndarray,
    var: ndarray,
    *,
    view: Shape,
    axes: Shape,
    affine: Shape,
    eps: float,
    centred: bool,
) -> tuple:
    """`normalized_weight_grad` and the sum of g over the same, reading g once."""
    dims = tuple(i for i, n in enumerate(affine) if n == 1)
    facts = dict(view=view, axes=axes, affine=affine, eps=eps, centred=centred)
    weight = normalized_weight_grad.op.body(grad, input, mean, var, **facts)
    return weight, np.add.reduce(grad.reshape(view), dims, keepdims=True)


def _affine_gradients(
    g: Tensor, input: Tensor, out1: Tensor, out2: Tensor, weight_shape: Shape, bias_shape: Shape, view: Shape,
    axes: Shape, affine: Shape, eps: float, centred: bool,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The gradients of weight and bias in one launch; None where that is no use, or they are to be differentiated."""
    if g._device.kind != CUDA or current().grad:
        return None
    weight, bias = normalized_affine_grad(
        g, input, out1, out2, view=view, axes=axes, affine=affine, eps=eps, centred=centred
    )
    return reshape_op(weight, size=weight_shape), reshape_op(bias, size=bias_shape)


normalized.op.joint = ((1, 2), _affine_gradients)
