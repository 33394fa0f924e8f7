"""Distinct values and counts on cuda, composed of sorting, running sums and scattering.

The host learns how many there are, as it does in PyTorch: the shapes of results depend on it.
"""

from __future__ import annotations

from math import prod

from naiad.core.dtype import bool as bool_
from naiad.core.dtype import float64, int64
from naiad.core.tensor import Tensor
from naiad.ops.convert import cast
from naiad.ops.creation import full_op
from naiad.ops.getitem import flat_numbers
from naiad.ops.indexing import index_add_op, take
from naiad.ops.joining import cat
from naiad.ops.movement import permute_op, reshape
from naiad.ops.scans import cumsum_op
from naiad.ops.scatter import scatter_op
from naiad.ops.sorting import sort_op
from naiad.ops.windows import slice_op

Found = tuple[Tensor, Tensor, Tensor]  # values, which of them each element is, how often each occurs


def _full(like: Tensor, shape: tuple[int, ...], value: int, of: object = int64) -> Tensor:
    return full_op(shape=shape, value=value, dtype=of, device=like._device)


def _begins(rows: Tensor) -> Tensor:
    """(n, k): for (n, m, ...), whether a slice differs from the one before it; the first does."""
    differ = slice_op(rows, index=(slice(1, None),)) != slice_op(rows, index=(slice(0, -1),))
    if rows.ndim > 1:
        n, *rest = differ._array.shape
        differ = reshape(differ, (n, prod(rest))).any(1)
    return cat([_full(rows, (1,), True, bool_), differ], 0)


def _runs(begins: Tensor) -> Found:
    """(where runs begin, which run each element is in, how long they are)."""
    n = begins._array.shape[0]
    starts = flat_numbers(begins)
    ends = cat([slice_op(starts, index=(slice(1, None),)), _full(begins, (1,), n)], 0)
    return starts, cumsum_op(cast(begins, dtype=int64), dim=0) - 1, ends - starts


def consecutive(rows: Tensor) -> Found:
    """Of slices along the first dimension, of which there are some: those that begin a run of equals."""
    starts, inverse, counts = _runs(_begins(rows))
    return take(rows, starts, (0,)), inverse, counts


def distinct(rows: Tensor) -> Found:
    """Of elements, or slices along the first dimension: those that differ, in order."""
    keys = rows if rows.ndim == 1 else _numbered(rows)
    ranked, order = sort_op(keys, dim=0, descending=False)
    starts, run, counts = _runs(_begins(ranked))
    inverse = scatter_op(order, order, run, dim=0)
    return take(rows, take(order, starts, (0,)), (0,)), inverse, counts


def _numbered(rows: Tensor) -> Tensor:
    """One int64 per slice, ordered as the slices are by their elements, the first that differs deciding.

    Each column becomes ranks; then ranks of neighbouring columns are put together and ranked anew, until one is left.
    """
    n = rows._array.shape[0]
    ranks = _ranks(permute_op(reshape(rows, (n, -1)), dims=(1, 0)))
    while ranks._array.shape[0] > 1:
        if ranks._array.shape[0] % 2:
            ranks = cat([ranks, _full(rows, (1, n), 0)], 0)
        first, second = (slice_op(ranks, index=(slice(start, None, 2),)) for start in (0, 1))
        ranks = _ranks(first * n + second)
    return reshape(ranks, (n,))


def _ranks(columns: Tensor) -> Tensor:
    """(columns, n): which of the distinct elements of its column each is, in order."""
    ranked, order = sort_op(columns, dim=1, descending=False)
    differ = slice_op(ranked, index=(slice(None), slice(1, None))) != slice_op(
        ranked, index=(slice(None), slice(0, -1))
    )
    first = _full(columns, (columns._array.shape[0], 1), 0)
    run = cumsum_op(cat([first, cast(differ, dtype=int64)], 1), dim=1)
    return scatter_op(order, order, run, dim=1)


def counts(numbers: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """(size,): how often each of 0, 1, ... occurs in a vector, int64; or what the weights there add up to, float64."""
    if weights is None:
        weights = _full(numbers, numbers._array.shape, 1)
    total = _full(numbers, (size,), 0, weights._dtype if weights._dtype is int64 else float64)
    return index_add_op(total, numbers, cast(weights, dtype=total._dtype), dim=0)


def bins(x: Tensor, count: int, low: float, high: float) -> Tensor:
    """(count,): how many elements of a vector fall into each of `count` even bins of [low, high], in int64."""
    x = cast(x, dtype=float64)
    inside = (x >= low) & (x <= high)
    place = ((x - low) / (high - low) * count).masked_fill(~inside, 0.0)
    return counts(cast(place, dtype=int64).clamp(max=count - 1), count, cast(inside, dtype=int64))
