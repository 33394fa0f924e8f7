"""Distances and similarities of vectors, and normalizing to length 1."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from naiad.core.dispatch import deliver
from naiad.core.dtype import COMPLEX, promote_types
from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.linear import transposed
from naiad.ops.reduction import amax, amin, sum_dims

F = "nn.functional"


# The gradient of a length is 0 at the zero vector, where the formula would be 0 / 0.
@elementwise(namespaces=(), name="root", grad={"input": lambda m, g, out: m.where(out == 0, 0.0, g / (2 * out))})
def root(m: Any, input: Any) -> Any:
    """sqrt(input)."""
    return m.sqrt(input)


def _root_slope(m: Any, g: Any, input: Any, p: Any) -> Any:
    return m.where(input == 0, 0.0, g * m.pow(m.where(input == 0, 1.0, input), 1 / p - 1) / p)


@elementwise(namespaces=(), name="p_root", grad={"input": _root_slope})
def p_root(m: Any, input: Any, p: Any) -> Any:
    """input ** (1 / p)."""
    return m.pow(input, 1 / p)


def _power_slope(m: Any, g: Any, input: Any, p: Any) -> Any:
    size = m.where(input == 0, 1.0, m.abs(input))
    return m.where(input == 0, 0.0, g * p * m.pow(size, p - 1) * m.sgn(input))


@elementwise(namespaces=(), name="abs_power", grad={"input": _power_slope})
def abs_power(m: Any, input: Any, p: Any) -> Any:
    """|input| ** p."""
    return m.pow(m.abs(input), p)


def length(x: Tensor, p: float, dim: int, keepdim: bool) -> Tensor:
    """The p-norm of x over a dimension; its gradient at a zero vector is 0."""
    x = x.abs() if x._dtype.kind == COMPLEX else x
    if p == 2:
        return root(sum_dims(x * x, dim=(dim,), keepdim=keepdim))
    if p == 1:
        return sum_dims(x.abs(), dim=(dim,), keepdim=keepdim)
    if p == 0:
        return sum_dims((x != 0).to(x._dtype), dim=(dim,), keepdim=keepdim)
    if p in (inf, -inf):
        return (amax if p > 0 else amin)(x.abs(), dim, keepdim)
    return p_root(sum_dims(abs_power(x, float(p)), dim=(dim,), keepdim=keepdim), float(p))


@elementwise(namespaces=(), name="cosine", kinds=(2,))
def cosine_op(m: Any, product: Any, square1: Any, square2: Any, eps: Any) -> Any:
    """product / (max(sqrt(square1), eps) * max(sqrt(square2), eps))."""
    return product / (m.sqrt(m.maximum(square1, eps * eps)) * m.sqrt(m.maximum(square2, eps * eps)))


@public(
    F,
    "naiad",
    samples=lambda s: [s.call(s(3, 4), s(3, 4)), s.call(s(2, 3, 4), s(3, 1), dim=-1), s.call(s(4), s(4), 0)],
    autocast={"cuda": "float32"},
)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; shapes broadcast."""
    if x1._dtype is not x2._dtype:
        common = promote_types(x1._dtype, x2._dtype)
        x1, x2 = x1.to(common), x2.to(common)
    shape = np.broadcast_shapes(x1._array.shape, x2._array.shape)
    x1, x2 = x1.expand(shape), x2.expand(shape)
    dims = (normalize_dim(dim, len(shape)),) if shape else ()

    def total(a: Tensor, b: Tensor) -> Tensor:
        return sum_dims(a * b, dim=dims, keepdim=False)

    return cosine_op(total(x1, x2), total(x1, x1), total(x2, x2), eps)


@public(
    F,
    "naiad",
    samples=lambda s: [
        s.call(s(3, 4), s(3, 4)),
        s.call(s(3, 4), s(4), p=1, keepdim=True),
        s.call(s(3, 4), s(3, 4), p=3.0),
        s.call(s(4), s(4), p=float("inf")),
    ],
    autocast={"cuda": "float32"},
)
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    difference = x1 - x2 + eps
    return length(difference, p, difference._array.ndim - 1, keepdim)


@public(
    "naiad",
    samples=lambda s: [
        s.call(s(3, 4), s(5, 4)),
        s.call(s(2, 3, 4), s(1, 5, 4), p=1.0),
        s.call(s(3, 4), s(2, 4), p=3.0),
        s.call(s(3, 4), s(2, 4), p=float("inf")),
    ],
    autocast="float32",
)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distances of all pairs of rows: (..., P, M) and (..., R, M) give (..., P, R).

    Euclidean distances of more than 25 rows go through a matrix product, as the compute mode says.
    """
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode: one of {', '.join(modes)}")
    if min(x1.ndim, x2.ndim) < 2:
        raise RuntimeError(f"cdist only supports at least 2D tensors, got {x1.ndim}D and {x2.ndim}D")
    if x1._array.shape[-1] != x2._array.shape[-1]:
        raise RuntimeError(
            f"cdist: X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    many = max(x1._array.shape[-2], x2._array.shape[-2]) > 25
    if p == 2 and (compute_mode == modes[1] or (compute_mode == modes[0] and many)):
        squares1, squares2 = ((x * x).sum(-1, keepdim=True) for x in (x1, x2))
        products = x1 @ transposed(x2)
        return root((squares1 + transposed(squares2) - 2 * products).clamp_min(0))
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return length(difference, p, difference.ndim - 1, False).contiguous()


@public(
    F,
    "naiad",
    samples=lambda s: [s.call(s(4, 3)), s.call(s(4, 3), p=1.0), s.call(s(3, 2), float("inf"))],
    autocast={"cuda": "float32"},
)
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-norm distances of rows i < j of input (N, M), in order: N * (N - 1) / 2 of them."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    n = input._array.shape[0]
    rows, others = PUBLIC["naiad"]["triu_indices"](n, n, 1, device=input._device)
    return length(input.index_select(0, rows) - input.index_select(0, others), p, 1, False)


@public(
    F,
    samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), dim=0), s.call(s(2, 3, 4), 1.0, -1), s.call(s(3, 4), p=3.0)],
)
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """input / max(its p-norm over `dim`, eps)."""
    lengths = length(input, p, normalize_dim(dim, input.ndim), True)
    result = input / lengths.clamp_min(eps)
    return result if out is None else deliver(result, out)
