"""Sums, means, products and extremes over dimensions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod as product
from typing import Any

import numpy as np

from naiad.core.device import CPU_DEVICE
from naiad.core.dispatch import deliver
from naiad.core.dtype import COMPLEX, FLOAT, dtype, int64
from naiad.core.dtype import bool as bool_
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor, normalize_dim, normalize_dims, wrap
from naiad.ops.arithmetic import where_op
from naiad.ops.convert import cast
from naiad.ops.forms import into, numpy_names
from naiad.ops.movement import expand_op, reshape_op
from naiad.ops.rows import leading_sums

Dims = tuple[int, ...]
_ALL = tuple(tuple(range(n)) for n in range(65))  # all dimensions, of as many as NumPy and PyTorch take


def reduced_shape(shape: tuple[int, ...], dim: Dims, keepdim: bool) -> tuple[int, ...]:
    """The shape after a reduction over `dim`."""
    if keepdim:
        return tuple(1 if i in dim else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dim)


def same_dtype(input: Tensor, *, dim: Dims, keepdim: bool) -> tuple:
    """The rule of a reduction whose result has the operand's dtype."""
    return reduced_shape(input._array.shape, dim, keepdim), input._dtype


def spread(g: Tensor, shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Tensor:
    """A reduced tensor repeated over the dimensions that were reduced away."""
    if g._device is CPU_DEVICE and not g._array.shape and not g._needs_grad:
        # The usual start of a backward pass: a view of one number, of which nothing is recorded.
        return wrap(np.ndarray(shape, g._array.dtype, g._array, 0, (0,) * len(shape)), g._dtype, CPU_DEVICE)
    if not keepdim and g._array.shape:
        g = reshape_op(g, size=reduced_shape(shape, dim, True))
    return expand_op(g, size=shape)


def converted(input: Tensor, of: dtype | None) -> Tensor:
    """The operand in the dtype that a call asks for."""
    return input if of is None or of is input._dtype else cast(input, dtype=of)


def need_float(name: str, input: Tensor, of: dtype | None = None) -> Tensor:
    """The operand in `of`. Raises RuntimeError unless that is floating point or complex."""
    input = converted(input, of)
    if input._dtype.kind < FLOAT:
        raise RuntimeError(
            f"{name}: could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {input.dtype}. Convert it with .float()"
        )
    return input


@primitive(
    rule=same_dtype,
    kernel="reduce.sum",
    parts="pairs",
    grad=(lambda g, input_shape, dim, keepdim: spread(g, input_shape, dim, keepdim),),
    autocast={"cuda": "float32"},
)
def sum_dims(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
    """The sum over dimensions, in the operand's dtype."""
    if not keepdim and dim and dim[-1] == len(dim) - 1:  # the gradient of a bias, for one
        return leading_sums(input, len(dim))
    return np.add.reduce(input, dim, input.dtype, None, keepdim)  # type: ignore[call-overload] # by position: quicker


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3, 4), dim=(0, 2)),
        s.call(s(2, 3), 1, keepdim=True),
        s.call(s(2, 3), axis=0, keepdims=True),
        s.call(s(0, 3), dim=0),
        s.call(s.bools(3)),
    ],
)
def sum(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtype | None = None,
    axis: Any = None,
    keepdims: bool | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The sum of all elements, or over `dim` (one or several). bool and integers are summed in int64."""
    if dtype is None and input._dtype.kind < FLOAT:
        dtype = int64
    if dtype is not None and dtype is not input._dtype:
        input = cast(input, dtype=dtype)
    if axis is not None:
        dim = axis
    dims = _ALL[input._array.ndim] if dim is None else normalize_dims(dim, input.ndim)
    result = sum_dims(input, dim=dims, keepdim=keepdim if keepdims is None else keepdims)
    if dtype is not None and result._dtype is not dtype:  # autocast has its own view, but the caller was explicit
        result = cast(result, dtype=dtype)
    return result if out is None else deliver(result, out)


def _count(shape: tuple[int, ...], dim: Dims) -> int:
    return product(shape[d] for d in dim)


@primitive(
    rule=same_dtype,
    kernel="reduce.mean",
    parts="pairs",
    grad=(lambda g, input_shape, dim, keepdim: spread(g / _count(input_shape, dim), input_shape, dim, keepdim),),
)
def mean_dims(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
    """The mean over dimensions; NaN of nothing."""
    total = np.add.reduce(input, dim, input.dtype, keepdims=keepdim, out=...)
    return np.true_divide(total, input.dtype.type(_count(input.shape, dim)), out=total)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3)), s.call(s(2, 3, 4), dim=(0, -1)), s.call(s(2, 3), 1, keepdim=True)],
)
def mean(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtype | None = None,
    axis: Any = None,
    keepdims: bool | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The mean of all elements, or over `dim`. Raises RuntimeError for integers."""
    if dtype is not None or input._dtype.kind < FLOAT:
        input = need_float("mean()", input, dtype)
    if axis is not None:
        dim = axis
    result = mean_dims(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim if keepdims is None else keepdims)
    return result if out is None else deliver(result, out)


# ---------------------------------------------------------------- products
def _prod_grad(g: Tensor, input: Tensor, out: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """g times the product of the others: out / input, unless there are zeros."""
    shape = input._array.shape
    if not bool((input == 0).any()):
        return spread(g * out.conj(), shape, dim, keepdim) / input.conj()
    (d,) = dim if dim else (0,)
    return spread(g, shape, dim, keepdim) * products_without_each(input, d).conj() if shape else g


def products_without_each(input: Tensor, dim: int) -> Tensor:
    """For each element along `dim` the product of all others there; takes n * n memory."""
    own = wrap(np.eye(input._array.shape[dim], dtype=np.bool_), bool_, CPU_DEVICE).to(input._device)
    rows = input.transpose(dim, -1).unsqueeze(-2)
    others = where_op(own, 1, rows)
    return prod_dims(others, dim=(others.ndim - 1,), keepdim=False).transpose(dim, -1)


@primitive(rule=same_dtype, kernel="reduce.prod", parts="complex_reduce.prod", grad=(_prod_grad,), autocast="float32")
def prod_dims(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
    """The product over one dimension, in the operand's dtype."""
    return np.multiply.reduce(input, dim, input.dtype, keepdims=keepdim)  # type: ignore[call-overload]


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3), 1),
        s.call(s(2, 3), 0, keepdim=True),
        s.call(s.ints(3)),
        s.call(s.fixed([[1.0, 0.0, 3.0], [2.0, 5.0, 4.0], [0.0, 0.0, 2.0]], differentiable=True), 1),
        s.call(s()),
    ],
)
@numpy_names
def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The product of all elements, or over one dimension. bool and integers are multiplied in int64."""
    input = converted(input, int64 if dtype is None and input._dtype.kind < FLOAT else dtype)
    if dim is None:
        return into(converted(prod_dims(input.reshape(-1), dim=(0,), keepdim=False), dtype), out)
    dims = (normalize_dim(dim, input.ndim),) if input.ndim else normalize_dims(dim, 0)
    return into(converted(prod_dims(input, dim=dims, keepdim=keepdim), dtype), out)


# ---------------------------------------------------------------- extremes
def ties_share(g: Tensor, input: Tensor, out: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """The gradient of a maximum or minimum: equal extremes share it evenly."""
    chosen = (input == spread(out, input._array.shape, dim, keepdim)).to(g._dtype)
    share = chosen / sum_dims(chosen, dim=dim, keepdim=True)
    return spread(g, input._array.shape, dim, keepdim) * share


def _extreme(name: str, reduce: Callable) -> Callable:
    def rule(input: Tensor, *, dim: Dims, keepdim: bool) -> tuple:
        if input._dtype.kind == COMPLEX:
            raise RuntimeError(f"{name}(): complex numbers have no order")
        return same_dtype(input, dim=dim, keepdim=keepdim)

    @primitive(name=name, rule=rule, kernel=f"reduce.{name}", grad=(ties_share,), widen=False)
    def extreme(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
        for d in dim:
            if not input.shape[d]:
                raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
        if input.dtype.kind == "c":
            raise TypeError("complex")
        return reduce(input, dim, keepdims=keepdim)

    @public(
        "naiad", "Tensor", name=name, samples=lambda s: [s.call(s(2, 3)), s.call(s(3, 4, 2), dim=(0, 2), keepdim=True)]
    )
    @numpy_names
    def call(input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
        if not input.numel() and dim in ((), []):
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        return into(extreme(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim), out)

    call.__doc__ = f"The {'largest' if name == 'amax' else 'smallest'} element over `dim`; ties share the gradient."
    call.__name__ = name
    call.dims = extreme
    return call


amax = _extreme("amax", np.maximum.reduce)
amin = _extreme("amin", np.minimum.reduce)
