"""Variance and deviation, sums that skip NaN, log-sum-exp."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.dtype import COMPLEX, FLOAT, dtype
from naiad.core.elementwise import elementwise
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.state import default_dtype
from naiad.core.tensor import Tensor, normalize_dims
from naiad.ops.arithmetic import where_op
from naiad.ops.convert import cast
from naiad.ops.forms import into, numpy_names
from naiad.ops.predicates import isnan
from naiad.ops.reduction import Dims, mean_dims, reduced_shape, same_dtype, spread, sum_dims
from naiad.ops.reduction import sum as sum_


def _var_rule(input: Tensor, *, dim: Dims, keepdim: bool, correction: float) -> tuple:
    return reduced_shape(input._array.shape, dim, keepdim), input._dtype.to_real()


def _freedom(shape: tuple[int, ...], dim: Dims, correction: float) -> float:
    return max(prod(shape[d] for d in dim) - correction, 0)


def _var_grad(g: Tensor, input: Tensor, dim: Dims, keepdim: bool, correction: float) -> Tensor:
    shape = input._array.shape
    freedom = _freedom(shape, dim, correction)
    centred = input - mean_dims(input, dim=dim, keepdim=True)
    return spread(g, shape, dim, keepdim) * centred * (2 / freedom if freedom else float("nan"))


@primitive(rule=_var_rule, kernel="statistics.var", parts="add", grad=(_var_grad,))
def var_dims(input: np.ndarray, *, dim: Dims, keepdim: bool, correction: float) -> np.ndarray:
    """The sum of |x - mean| ** 2, divided by the count less the correction."""
    centred = input - np.add.reduce(input, dim, keepdims=True) / input.dtype.type(prod(input.shape[d] for d in dim))
    if centred.dtype.kind == "c":
        centred = np.abs(centred)
    np.multiply(centred, centred, out=centred)
    total = np.add.reduce(centred, dim, keepdims=keepdim, out=...)
    freedom = _freedom(input.shape, dim, correction)
    return np.divide(total, total.dtype.type(freedom), out=total)


@elementwise(
    namespaces=(),
    name="root_of_square",
    grad={"input": lambda m, g, out: m.where(out == 0, 0, g / (2 * m.where(out == 0, 1, out)))},
)
def root_of_square(m: Any, input: Any) -> Any:
    """The square root, whose gradient at 0 is 0: of a sum of squares that is the smallest subgradient."""
    return m.sqrt(input)


def _correction(name: str, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    if isinstance(dim, bool):  # var(input, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise TypeError(f"{name}(): give unbiased or correction, not both")
        return dim, int(unbiased)
    return dim, 1 if correction is None else correction


def _moments(name: str, doc: str, finish: Callable) -> Callable:
    @numpy_names
    def call(
        input: Tensor,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
        out: Any = None,
    ) -> Any:
        if input._dtype.kind < FLOAT:
            raise RuntimeError(
                f"{name}(): std and var only support floating point and complex dtypes, not {input.dtype}"
            )
        dim, correction = _correction(name, dim, unbiased, correction)
        dims = normalize_dims(dim, input.ndim)
        if not _freedom(input._array.shape, dims, correction):
            warn(
                f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
                "(input numel divided by output numel)."
            )
        return into(finish(input, dims, keepdim, correction), out)

    call.__name__ = call.__qualname__ = name
    samples = lambda s: [  # noqa: E731
        s.call(s(2, 3)),
        s.call(s(3, 4), 1),
        s.call(s(3, 4, 2), (0, 2), keepdim=True),
        s.call(s(3, 4), dim=1, correction=0),
        s.call(s(3, 4), 0, False),
        s.call(s(5), unbiased=False),
    ]
    call.__doc__ = doc
    spaces = ("naiad",) if name.endswith("_mean") else ("naiad", "Tensor")
    return public(*spaces, name=name, samples=samples)(call)


def _var(input: Tensor, dim: Dims, keepdim: bool, correction: float) -> Tensor:
    return var_dims(input, dim=dim, keepdim=keepdim, correction=correction)


def _std(input: Tensor, dim: Dims, keepdim: bool, correction: float) -> Tensor:
    return root_of_square(var_dims(input, dim=dim, keepdim=keepdim, correction=correction))


def _with_mean(of: Callable) -> Callable:
    def both(input: Tensor, dim: Dims, keepdim: bool, correction: float) -> tuple:
        return of(input, dim, keepdim, correction), mean_dims(input, dim=dim, keepdim=keepdim)

    return both


_OVER = "of all elements or over `dim`. The divisor is the count less `correction` (1; 0 with unbiased=False)."
var = _moments("var", f"The variance {_OVER}", _var)
std = _moments("std", f"The standard deviation {_OVER}", _std)
var_mean = _moments("var_mean", f"(variance, mean) {_OVER}", _with_mean(_var))
std_mean = _moments("std_mean", f"(standard deviation, mean) {_OVER}", _with_mean(_std))


# ---------------------------------------------------------------- without NaN
_HOLES: dict[str, Any] = dict(
    samples=lambda s: [
        s.call(s.fixed([[1.0, float("nan"), 3.0], [2.0, 5.0, 4.0]], differentiable=True)),
        s.call(s.fixed([[1.0, float("nan"), 3.0], [2.0, 5.0, 4.0]], differentiable=True), 1),
        s.call(s(2, 3), dim=0, keepdim=True),
    ]
)


@public("naiad", "Tensor", **_HOLES, autocast={"cuda": "keep"})
@numpy_names
def nansum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Tensor | None = None
) -> Tensor:
    """The sum of what is not NaN."""
    if input._dtype.kind < FLOAT:
        return sum_(input, dim, keepdim, dtype=dtype, out=out)
    return sum_(where_op(isnan(input), 0.0, input), dim, keepdim, dtype=dtype, out=out)


@public("naiad", "Tensor", **_HOLES, autocast={"cuda": "keep"})
@numpy_names
def nanmean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Tensor | None = None
) -> Tensor:
    """The mean of what is not NaN."""
    if input._dtype.kind < FLOAT:
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype}")
    there = cast(input == input, dtype=input._dtype)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return into(total / sum_(there, dim, keepdim), out)


# ---------------------------------------------------------------- log-sum-exp
def _weights(g: Tensor, input: Tensor, out: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """g times softmax(input)."""
    shape = input._array.shape
    return spread(g, shape, dim, keepdim) * (input - spread(out, shape, dim, keepdim)).exp()


@primitive(rule=same_dtype, kernel="statistics.logsumexp", grad=(_weights,), autocast={"cuda": "float32"})
def logsumexp_dims(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
    """log(sum(exp(x))), shifted by the largest so that nothing overflows."""
    if not input.size:
        return np.log(np.add.reduce(input, dim, keepdims=keepdim, out=...))
    top = np.maximum.reduce(input, dim, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    total = input - top
    np.exp(total, out=total)
    out = np.log(np.add.reduce(total, dim, keepdims=True, out=...))
    out += top
    return out if keepdim else out.reshape(reduced_shape(input.shape, dim, False)).copy()


def _complex_logsumexp(input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Shifted by the largest real part, so that the imaginary part of the result is that of one logarithm."""
    top = input.detach().real.amax(dim, True)
    top = where_op(top.isfinite(), top, 0)
    total = sum_dims((input - top).exp(), dim=dim, keepdim=True).log() + top
    return total if keepdim else total.reshape(reduced_shape(input._array.shape, dim, False))


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), 1), s.call(s(2, 3), (0, 1)), s.call(s(2, 3), -1, keepdim=True)],
)
@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """log(sum(exp(input))) over `dim`, without overflow. Integers give floats."""
    if input._dtype.kind < FLOAT:
        input = cast(input, dtype=default_dtype())
    if input._dtype.kind == COMPLEX and input.numel():
        return into(_complex_logsumexp(input, normalize_dims(dim, input.ndim), keepdim), out)
    return into(logsumexp_dims(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim), out)
