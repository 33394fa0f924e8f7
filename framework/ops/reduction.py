"""Reductions over dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, dtype, int64
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor, normalize_dims
from naiad.ops.convert import cast
from naiad.ops.movement import expand_op, reshape_op

Dims = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], dim: Dims, keepdim: bool) -> tuple[int, ...]:
    """The shape after a reduction over `dim`."""
    if keepdim:
        return tuple(1 if i in dim else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dim)


def _same_dtype(input: Tensor, *, dim: Dims, keepdim: bool) -> tuple:
    return reduced_shape(input._array.shape, dim, keepdim), input._dtype


def spread(g: Tensor, shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Tensor:
    """A reduced tensor repeated over the dimensions that were reduced away."""
    if not keepdim and g._array.shape:
        g = reshape_op(g, size=reduced_shape(shape, dim, True))
    return expand_op(g, size=shape)


@primitive(
    rule=_same_dtype,
    kernel="reduce.sum",
    grad=(lambda g, input_shape, dim, keepdim: spread(g, input_shape, dim, keepdim),),
)
def sum_dims(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
    """The sum over dimensions, in the operand's dtype."""
    return np.add.reduce(input, dim, input.dtype, keepdims=keepdim)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3)), s.call(s(2, 3, 4), dim=(0, 2)), s.call(s(2, 3), 1, keepdim=True)],
)
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    """The sum of all elements, or over `dim`. bool and integers are summed in int64."""
    if dtype is None and input._dtype.kind < FLOAT:
        dtype = int64
    if dtype is not None and dtype is not input._dtype:
        input = cast(input, dtype=dtype)
    return sum_dims(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim)


def _ties_share(g: Tensor, input: Tensor, out: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """The gradient of a maximum or minimum: equal extremes share it evenly."""
    chosen = (input == spread(out, input._array.shape, dim, keepdim)).to(g._dtype)  # type: ignore[attr-defined]
    share = chosen / sum_dims(chosen, dim=dim, keepdim=True)
    return spread(g, input._array.shape, dim, keepdim) * share


def _extreme(name: str, reduce: Callable) -> Callable:
    @primitive(name=name, rule=_same_dtype, kernel=f"reduce.{name}", grad=(_ties_share,), widen=False)
    def extreme(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
        for d in dim:
            if not input.shape[d]:
                raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
        return reduce(input, dim, keepdims=keepdim)

    @public(
        "naiad", "Tensor", name=name, samples=lambda s: [s.call(s(2, 3)), s.call(s(3, 4, 2), dim=(0, 2), keepdim=True)]
    )
    def call(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
        return extreme(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim)

    call.__doc__ = f"The {'largest' if name == 'amax' else 'smallest'} element over `dim`; ties share the gradient."
    call.__name__ = name
    return call


amax = _extreme("amax", np.maximum.reduce)
amin = _extreme("amin", np.minimum.reduce)
