"""scatter, scatter_add, scatter_reduce, index_reduce and their in-place forms, over the entries of `scatter`."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.dtype import FLOAT
from naiad.core.op import public
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.arithmetic import where_op
from naiad.ops.creation import full_op
from naiad.ops.indexing import as_value, check_vector
from naiad.ops.movement import expand_op, reshape
from naiad.ops.scatter import (
    add_elements,
    add_elements_,
    combine_into,
    entry,
    gathered,
    put_elements,
    put_elements_,
)

Shape = tuple[int, ...]


def _full(x: Tensor, shape: Shape, value: Any) -> Tensor:
    return full_op(shape=shape, value=value, dtype=x._dtype, device=x._device)


# ---------------------------------------------------------------- reductions that need an op of their own
def _prod_of_input(g: Tensor, input: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """d/d(input): the product of what meets it."""
    return g * scatter_prod_op(_full(g, input._array.shape, 1), index, src, dim=dim)


def _prod_of_src(g: Tensor, input: Tensor, index: Tensor, src: Tensor, dim: int) -> Tensor:
    """d/d(src): the product of all others: by division where none is 0, else 0 but for an only 0."""
    size = index._array.shape
    used = src if src._array.shape == size else src[tuple(slice(n) for n in size)]
    zero = used == 0
    ones = where_op(zero, _full(g, (), 1), used)
    zeros = add_elements(_full(g, input._array.shape, 0), index, zero.to(g.dtype), dim)
    product = scatter_prod_op(input, index, ones, dim=dim)
    others = gathered(zeros, index, dim) - zero.to(g.dtype)
    found = gathered(g * product, index, dim) / ones
    found = where_op(others == 0, found, _full(g, (), 0))
    if size == src._array.shape:
        return found
    return _padded(found, src._array.shape)


def _padded(x: Tensor, shape: Shape) -> Tensor:
    from naiad.ops.windows import embed, slice_op

    return embed(x, slice_op, shape, index=tuple(slice(0, n) for n in x._array.shape))


def _ties(g: Tensor, input: Tensor, index: Tensor, src: Tensor, out: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The gradient shared by all that are equal to the extreme, and which elements of `src` are."""
    won = (_cut(src, index) == gathered(out, index, dim)).to(g.dtype)
    count = add_elements((input == out).to(g.dtype), index, won, dim)
    return g / count, won


def _cut(src: Tensor, index: Tensor) -> Tensor:
    size = index._array.shape
    return src if src._array.shape == size else src[tuple(slice(n) for n in size)]


def _extreme_of_input(g: Tensor, input: Tensor, index: Tensor, src: Tensor, out: Tensor, dim: int) -> Tensor:
    shared, _ = _ties(g, input, index, src.detach(), out.detach(), dim)
    return shared * (input.detach() == out.detach()).to(g.dtype)


def _extreme_of_src(g: Tensor, input: Tensor, index: Tensor, src: Tensor, out: Tensor, dim: int) -> Tensor:
    shared, won = _ties(g, input.detach(), index, src.detach(), out.detach(), dim)
    found = gathered(shared, index, dim) * won
    return found if found._array.shape == src._array.shape else _padded(found, src._array.shape)


_PROD, _EXTREME = (_prod_of_input, None, _prod_of_src), (_extreme_of_input, None, _extreme_of_src)
scatter_prod_op = entry("scatter_prod_op", combine_into(np.multiply), "segments.scatter_prod", _PROD)
scatter_amax_op = entry("scatter_amax_op", combine_into(np.maximum), "segments.scatter_amax", _EXTREME)
scatter_amin_op = entry("scatter_amin_op", combine_into(np.minimum), "segments.scatter_amin", _EXTREME)


# ---------------------------------------------------------------- scatter
def _source(name: str, x: Tensor, src: Any) -> Tensor:
    return src if isinstance(src, Tensor) else as_value(name, x, src)


def _bind(name: str, src: Any, value: Any) -> Any:
    if (src is None) == (value is None):
        raise TypeError(f"{name}(): pass either 'src' (a tensor) or 'value' (a number)")
    return value if src is None else src


def _old_reduce(input: Tensor, dim: int, index: Tensor, src: Any, reduce: str) -> Tensor:
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if isinstance(src, Tensor):
        warn(
            "The reduce argument of scatter with Tensor src is deprecated. Use scatter_reduce instead for more "
            "reduction options."
        )
    given = expand_op(_source("scatter", input, src), size=index._array.shape) if not isinstance(src, Tensor) else src
    return add_elements(input, index, given, dim) if reduce == "add" else scatter_prod_op(input, index, given, dim=dim)


_SAMPLES = lambda s: [  # noqa: E731
    s.call(s(3, 4), 1, s.fixed([[0, 2], [1, 3], [3, 0]]), s(3, 2)),
    s.call(s(3, 4), 0, s.fixed([[2, 0, 1]]), s(1, 3)),
    s.call(s(4), -1, s.fixed([3, 1]), s(2)),
]


@public("naiad", "Tensor", samples=lambda s: [*_SAMPLES(s), s.call(s(3, 4), 1, s.fixed([[0, 2], [1, 3]]), 1.5)])
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor | complex | None = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """`input` with the elements of `src` (or a number) at the numbers `index` along `dim`.

    Where an index occurs twice, the last wins. Raises RuntimeError for shapes that do not fit and out of range.
    """
    dim, src = normalize_dim(dim, input.ndim), _bind("scatter", src, value)
    if reduce is not None:
        return _old_reduce(input, dim, index, src, reduce)
    return put_elements(input, index, _source("scatter", input, src), dim)


@public("Tensor")
def scatter_(
    self: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """In-place version of `scatter`."""
    dim, src = normalize_dim(dim, self.ndim), _bind("scatter_", src, value)
    if reduce is not None:
        return self.copy_(_old_reduce(self, dim, index, src, reduce))
    return put_elements_(self, index, _source("scatter_", self, src), dim)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [*_SAMPLES(s), s.call(s(3, 4), 1, s.ints(3, 6, high=4), s(3, 6))],
    autocast={"cuda": "promote"},
)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with the elements of `src` added at the numbers `index` along `dim`."""
    return add_elements(input, index, src, normalize_dim(dim, input.ndim))


@public("Tensor")
def scatter_add_(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """In-place version of `scatter_add`."""
    return add_elements_(self, index, src, normalize_dim(dim, self.ndim))


# ---------------------------------------------------------------- scatter_reduce
def _lowest(x: Tensor, sign: int) -> Any:
    """The neutral element of a maximum (sign -1) or a minimum (1)."""
    if x._dtype.kind >= FLOAT:
        return sign * float("inf")
    if x._dtype.kind == 0:
        return sign > 0
    info = np.iinfo(x._dtype.np)
    return info.max if sign > 0 else info.min


def _mean(base: Tensor, dim: int, index: Tensor, src: Tensor, include_self: bool) -> Tensor:
    shape = base._array.shape
    counts = _full(base, shape, 1)
    if not include_self:
        counts = put_elements(counts, index, _full(base, (), 0), dim)
    counts = add_elements(counts, index, _full(base, index._array.shape, 1), dim)
    counts = where_op(counts == 0, _full(base, (), 1), counts)
    total = add_elements(base, index, src, dim)
    return total / counts if base._dtype.kind >= FLOAT else total // counts


def _reduced(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    neutral = {"sum": 0, "prod": 1, "mean": 0}
    if reduce in ("amax", "amin"):
        neutral[reduce] = _lowest(input, -1 if reduce == "amax" else 1)
    if reduce not in neutral:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    base = input if include_self else put_elements(input, index, _full(input, (), neutral[reduce]), dim)
    if reduce == "mean":
        return _mean(base, dim, index, src, include_self)
    if reduce == "sum":
        return add_elements(base, index, src, dim)
    op = {"prod": scatter_prod_op, "amax": scatter_amax_op, "amin": scatter_amin_op}[reduce]
    return op(base, index, src, dim=dim)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 4), 1, s.ints(3, 6, high=4), s(3, 6), reduce=reduce, include_self=include_self)
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for include_self in (True, False)
    ],
)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Combine what `index` brings to one place along `dim`: sum, prod, mean, amax or amin, with `input` or without."""
    return _reduced(input, normalize_dim(dim, input.ndim), index, src, reduce, include_self)


@public("Tensor")
def scatter_reduce_(
    self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place version of `scatter_reduce`."""
    return self.copy_(scatter_reduce(self, dim, index, src, reduce, include_self=include_self))


@public(
    "naiad",
    "Tensor",
)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Combine the slices of `source` that `index` brings to one place along `dim`: prod, mean, amax or amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    check_vector("index_reduce", index)
    dim = normalize_dim(dim, input.ndim)
    numbers = reshape(index, (-1,) + (1,) * (input.ndim - dim - 1))
    wide = expand_op(numbers, size=source._array.shape)
    return _reduced(input, dim, wide, source, reduce, include_self)


@public("Tensor")
def index_reduce_(
    self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place version of `index_reduce`."""
    return self.copy_(index_reduce(self, dim, index, source, reduce, include_self=include_self))
