"""Normalization: one primitive for layer, group, instance and batch norm, one for RMS norm.

All four do the same to a reshaped input ("view") over some of its axes:
    y = (x - mean) / sqrt(var + eps) * weight + bias
and only differ in the view, the axes, and where weight and bias broadcast ("affine", a shape of the view's rank).
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.movement import reshape, reshape_op
from naiad.ops.reduction import sum_dims

ndarray = np.ndarray
Shape = tuple[int, ...]
_BLOCK = 1 << 16  # elements that the row by row versions work on at a time, so that temporaries stay in cache


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
    return [(input._array.shape, input._dtype), (kept, input._dtype), (kept, input._dtype)]


def _statistics_shape(view: Shape, axes: Shape) -> Shape:
    return tuple(1 if i in axes else n for i, n in enumerate(view))


def _last_only(view: Shape, axes: Shape) -> bool:
    return axes == (len(view) - 1,)


# ---------------------------------------------------------------- NumPy
def moments(x: ndarray, axes: Shape) -> tuple[ndarray, ndarray, ndarray]:
    """mean, x - mean (fresh) and variance."""
    n = x.dtype.type(prod(x.shape[a] for a in axes))
    mean = np.add.reduce(x, axes, keepdims=True)
    mean /= n
    centred = x - mean
    var = np.add.reduce(centred * centred, axes, keepdims=True)
    var /= n
    return mean, centred, var


def _normalize_rows(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> tuple:
    """The same for the last axis, some rows at a time. The extra passes then go over what is in cache."""
    rows, n = prod(x.shape[:-1]), x.shape[-1]
    flat = x.reshape(rows, n)
    out = np.empty(x.shape, x.dtype)
    y = out.reshape(rows, n)
    mean, var = np.empty((rows, 1), x.dtype), np.empty((rows, 1), x.dtype)
    size, inverse = x.dtype.type(n), x.dtype.type(eps)
    for start in range(0, rows, max(1, _BLOCK // max(n, 1))):
        part = slice(start, start + max(1, _BLOCK // max(n, 1)))
        to = y[part]
        centre = np.add.reduce(flat[part], 1, keepdims=True, out=mean[part])
        centre /= size
        np.subtract(flat[part], centre, out=to)
        spread = var[part]
        np.einsum("ij,ij->i", to, to, out=spread[:, 0])
        spread /= size
        to *= 1 / np.sqrt(spread + inverse)
        if weight is not None:
            to *= weight
        if bias is not None:
            to += bias
    shape = (*x.shape[:-1], 1)
    return out, mean.reshape(shape), var.reshape(shape)


def _check(input: ndarray, *operands: ndarray | None) -> None:
    if input.dtype.kind != "f" or any(o is not None and o.dtype != input.dtype for o in operands):
        raise TypeError("dtypes")


# ---------------------------------------------------------------- forward
@primitive(
    rule=_rule,
    kernel="norm.normalize",
    outputs=3,
    grad=(
        lambda g, input, weight, out1, out2, view, axes, affine, eps: _input_gradient(
            g, input, weight, out1, out2, view=view, axes=axes, affine=affine, eps=eps
        ),
        lambda g, input, out1, out2, weight_shape, view, axes, affine, eps: _weight_gradient(
            g, input, out1, out2, weight_shape, view=view, axes=axes, affine=affine, eps=eps
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
) -> tuple:
    """(x - mean) / sqrt(var + eps) * weight + bias, the mean and the (biased) variance."""
    _check(input, weight, bias)
    x = input.reshape(view)
    if _last_only(view, axes) and prod(affine) == view[-1]:
        y, mean, var = _normalize_rows(
            x, None if weight is None else weight.reshape(-1), None if bias is None else bias.reshape(-1), eps
        )
        return y.reshape(input.shape), mean, var
    mean, y, var = moments(x, axes)
    y *= 1 / np.sqrt(var + x.dtype.type(eps))
    if weight is not None:
        y *= weight.reshape(affine)
    if bias is not None:
        y += bias.reshape(affine)
    return y.reshape(input.shape), mean, var


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
    through_mean = sum_dims(scaled, dim=axes, keepdim=True) / n
    through_var = sum_dims(scaled * unit, dim=axes, keepdim=True) / n
    return reshape((scaled - through_mean - unit * through_var) * inverse, input._array.shape)


def _unit(input: Tensor, *, view: Shape, axes: Shape, affine: Shape, eps: float) -> tuple[Tensor, Tensor]:
    """x normalized, and 1 / sqrt(var + eps), in differentiable ops."""
    x = reshape(input, view)
    n = prod(view[a] for a in axes)
    centred = x - sum_dims(x, dim=axes, keepdim=True) / n
    var = sum_dims(centred * centred, dim=axes, keepdim=True) / n
    inverse = (var + eps).rsqrt()
    return centred * inverse, inverse


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
) -> ndarray:
    """(g*w - mean(g*w) - unit * mean(g*w * unit)) / sqrt(var + eps), with unit = (x - mean) / sqrt(var + eps)."""
    of = input.dtype.type
    inverse = 1 / np.sqrt(var + of(eps))
    g, x = grad.reshape(view), input.reshape(view)
    if _last_only(view, axes) and prod(affine) == view[-1]:
        scale = None if weight is None else weight.reshape(-1)
        return _row_gradient(g, x, scale, mean, inverse).reshape(input.shape)
    n = of(prod(view[a] for a in axes))
    scaled = g * weight.reshape(affine) if weight is not None else g
    unit = x - mean
    unit *= inverse
    product = scaled * unit
    unit *= np.add.reduce(product, axes, keepdims=True) / n
    np.subtract(scaled, unit, out=product)
    product -= np.add.reduce(scaled, axes, keepdims=True) / n
    product *= inverse
    return product.reshape(input.shape)


def _row_gradient(g: ndarray, x: ndarray, weight: ndarray | None, mean: ndarray, inverse: ndarray) -> ndarray:
    rows, n = prod(x.shape[:-1]), x.shape[-1]
    g, flat, mean, inverse = g.reshape(rows, n), x.reshape(rows, n), mean.reshape(rows, 1), inverse.reshape(rows, 1)
    out = np.empty((rows, n), x.dtype)
    step = max(1, _BLOCK // max(n, 1))
    share = x.dtype.type(1 / n) if n else x.dtype.type(0)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        unit = flat[part] - mean[part]
        unit *= inverse[part]
        scaled = np.multiply(g[part], weight, out=out[part]) if weight is not None else g[part]
        through_var = np.einsum("ij,ij->i", scaled, unit)
        through_var *= share
        through_mean = np.add.reduce(scaled, 1)
        through_mean *= share
        unit *= through_var[:, None]
        to = np.subtract(scaled, unit, out=out[part])
        to -= through_mean[:, None]
        to *= inverse[part]
    return out


@primitive(
    rule=lambda grad, input, *rest, affine, **attrs: (affine, input._dtype), kernel="norm.normalize_weight_grad"
)
def normalized_weight_grad(
    grad: ndarray, input: ndarray, mean: ndarray, var: ndarray, *, view: Shape, axes: Shape, affine: Shape, eps: float
) -> ndarray:
    """The sum of g * unit over everything but the affine's own axes."""
    inverse = 1 / np.sqrt(var + input.dtype.type(eps))
    g, x = grad.reshape(view), input.reshape(view)
    if _last_only(view, axes) and prod(affine) == view[-1]:
        return _row_weight_gradient(g, x, mean, inverse).reshape(affine)
    unit = x - mean
    unit *= inverse
    unit *= g
    dims = tuple(i for i, n in enumerate(affine) if n == 1)
    return np.add.reduce(unit, dims, keepdims=True)


def _row_weight_gradient(g: ndarray, x: ndarray, mean: ndarray, inverse: ndarray) -> ndarray:
    rows, n = prod(x.shape[:-1]), x.shape[-1]
    g, flat, mean, inverse = g.reshape(rows, n), x.reshape(rows, n), mean.reshape(rows, 1), inverse.reshape(rows, 1)
    out = np.zeros(n, x.dtype)
    step = max(1, _BLOCK // max(n, 1))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        unit = flat[part] - mean[part]
        unit *= inverse[part]
        unit *= g[part]
        out += np.add.reduce(unit, 0)
    return out
