"""Sorting, the largest few, and order statistics: median, quantiles, the k-th value, the mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, int64
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.arithmetic import where_op
from naiad.ops.blends import lerp
from naiad.ops.extremes import picked_grad, picked_rule
from naiad.ops.forms import into, named, numpy_names
from naiad.ops.picking import along, pick_op, spread_at
from naiad.ops.predicates import isnan

SortResult = named("sort", "values", "indices")


def sorted_positions(input: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Indices that sort stably along `dim`; NaN counts as the largest."""
    if not descending:
        return np.argsort(input, dim, kind="stable")
    n = input.shape[dim]
    return n - 1 - np.flip(np.argsort(np.flip(input, dim), dim, kind="stable"), dim)


def _sort_rule(input: Tensor, *, dim: int, descending: bool) -> list:
    return picked_rule(input, dim=input.ndim + 1, keepdim=False)


@primitive(
    rule=_sort_rule,
    kernel="order.sort",
    outputs=2,
    grad=(lambda g, out1, input_shape, dim: spread_at(g, out1, input_shape, dim, True),),
)
def sort_op(input: np.ndarray, *, dim: int, descending: bool) -> tuple:
    """(values, indices) in order."""
    if input.dtype.kind == "c":
        raise TypeError("complex")
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    index = np.ascontiguousarray(sorted_positions(input, dim, descending))
    return along(input, index, dim), index


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 4)),
        s.call(s(3, 4), 0, True),
        s.call(s.ints(8, high=3), descending=True, stable=True),
        s.call(s.ints(8, high=3), stable=True),
        s.call(s()),
    ],
)
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """The named tuple (values, indices) in ascending or descending order along `dim`; always stable, NaN is largest."""
    values, indices = sort_op(input, dim=normalize_dim(dim, input.ndim), descending=bool(descending))
    return into(SortResult(values, indices), out)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), 0, True), s.call(s(3, 4), dim=1)])
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort `input` along `dim`."""
    return sort_op(input, dim=normalize_dim(dim, input.ndim), descending=bool(descending))[1]


@public("naiad", "Tensor", samples=lambda s: [s.call(s(4, 3))])
def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sorted along the first dimension."""
    return into(sort_op(input, dim=0, descending=False)[0], out)


# ---------------------------------------------------------------- the largest few
TopkResult = named("topk", "values", "indices")


def _topk_rule(input: Tensor, *, k: int, dim: int, largest: bool, sorted: bool) -> list:
    shape = input._array.shape
    size = shape[dim] if shape else 1
    if not 0 <= k <= size:
        raise RuntimeError(
            f"topk: selected index k out of range: k = {k}, but dimension {dim} of {list(shape)} has size {size}"
        )
    picked_rule(input, dim=dim, keepdim=True)
    kept = (*shape[:dim], k, *shape[dim + 1 :]) if shape else ()
    return [(kept, input._dtype), (kept, int64)]


@primitive(
    rule=_topk_rule,
    kernel="order.topk",
    outputs=2,
    grad=(lambda g, out1, input_shape, dim: spread_at(g, out1, input_shape, dim, True),),
)
def topk_op(input: np.ndarray, *, k: int, dim: int, largest: bool, sorted: bool) -> tuple:
    """The k largest or smallest, in order."""
    n = input.shape[dim] if input.ndim else 1
    if not 0 <= k <= n or input.dtype.kind == "c":
        raise ValueError("k")
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    if 4 * k < n and k:  # cheaper: cut off the k first, then sort only those
        cut = np.argpartition(input, n - k if largest else k - 1, dim)
        cut = np.take(cut, range(n - k, n) if largest else range(k), dim)
        cut.sort(dim)  # of equals the first ones come first
        order = sorted_positions(along(input, cut, dim), dim, largest)
        index = along(cut, order, dim)
    else:
        index = np.take(sorted_positions(input, dim, largest), range(k), dim)
    return along(input, index, dim), index


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 5), 2),
        s.call(s(3, 40), 3),
        s.call(s(5, 3), 2, 0, largest=False),
        s.call(s(3, 40), 4, -1, False),
        s.call(s(4), k=4),
        s.call(s(4), 0),
    ],
)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Any:
    """The named tuple (values, indices) of the `k` largest (or smallest) elements along `dim`, best first."""
    k = int(k)
    values, indices = topk_op(
        input, k=k, dim=normalize_dim(dim, input.ndim), largest=bool(largest), sorted=bool(sorted)
    )
    return into(TopkResult(values, indices), out)


# ---------------------------------------------------------------- the one in the middle
def _kth(input: np.ndarray, k: int, dim: int, keepdim: bool) -> tuple:
    """The element of rank k along `dim` and its index."""
    index = np.take(np.argsort(input, dim, kind="stable"), [k], dim)
    return _picked(input, index, dim, keepdim)


def _picked(input: np.ndarray, index: np.ndarray, dim: int, keepdim: bool) -> tuple:
    values = along(input, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim).copy(), index.squeeze(dim).copy())


def _nan_first(input: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    """Where a row has a NaN, its index instead."""
    if input.dtype.kind in "biu":
        return index
    holes = np.isnan(input)
    return np.where(holes.any(dim, keepdims=True), holes.argmax(dim, keepdims=True), index)


@primitive(rule=picked_rule, kernel="order.median", outputs=2, grad=(picked_grad,), name="median")
def median_op(input: np.ndarray, *, dim: int, keepdim: bool) -> tuple:
    """The lower of the middle elements; NaN where there is one."""
    if input.dtype.kind == "c":
        raise TypeError("complex")
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    middle = (input.shape[dim] - 1) // 2
    index = np.take(np.argsort(input, dim, kind="stable"), [middle], dim)
    return _picked(input, _nan_first(input, index, dim), dim, keepdim)


@primitive(rule=picked_rule, kernel="order.nanmedian", outputs=2, grad=(picked_grad,), name="nanmedian")
def nanmedian_op(input: np.ndarray, *, dim: int, keepdim: bool) -> tuple:
    """The lower of the middle elements of what is not NaN."""
    if input.dtype.kind == "c":
        raise TypeError("complex")
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    there = np.count_nonzero(input == input, dim, keepdims=True)
    middle = np.maximum((there - 1) // 2, 0)
    index = along(np.argsort(input, dim, kind="stable"), middle, dim)
    return _picked(input, index, dim, keepdim)


def _middle(name: str, op: Callable, doc: str) -> None:
    result = named(name, "values", "indices")

    @numpy_names
    def call(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
        if dim is None:
            if not input.numel():
                return into(PUBLIC["naiad"]["full"]((), float("nan"), dtype=input._dtype, device=input._device), out)
            return into(op(input.reshape(-1), dim=0, keepdim=False)[0], out)
        return into(result(*op(input, dim=nonempty(name, input, dim), keepdim=keepdim)), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    samples = lambda s: [  # noqa: E731
        s.call(s(3, 5)),
        s.call(s(3, 4)),
        s.call(s(3, 4), 1),
        s.call(s(5, 2), 0, True),
        s.call(s.fixed([[1.0, float("nan"), 2.0], [3.0, 1.0, 2.0]], differentiable=True), -1),
    ]
    public("naiad", "Tensor", name=name, samples=samples)(call)


def nonempty(name: str, input: Tensor, dim: int) -> int:
    """A dimension with something in it, counted from the front."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and not input._array.shape[dim]:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    return dim


_middle("median", median_op, "The lower of the middle elements; with `dim` (values, indices). NaN where there is one.")
_middle("nanmedian", nanmedian_op, "`median` of what is not NaN.")

KthResult = named("kthvalue", "values", "indices")


def _kth_rule(input: Tensor, *, k: int, dim: int, keepdim: bool) -> list:
    size = input._array.shape[dim] if input.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}: k = {k}, size {size}")
    return picked_rule(input, dim=dim, keepdim=keepdim)


@primitive(rule=_kth_rule, kernel="order.kthvalue", outputs=2, grad=(picked_grad,), name="kthvalue")
def kth_op(input: np.ndarray, *, k: int, dim: int, keepdim: bool) -> tuple:
    """The k-th smallest, counted from 1."""
    if not 1 <= k <= (input.shape[dim] if input.ndim else 1) or input.dtype.kind == "c":
        raise ValueError("k")
    return _kth(input, k - 1, dim, keepdim) if input.ndim else (input.copy(), np.zeros((), np.int64))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 5), 2), s.call(s(3, 5), 1, 0, True)])
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The named tuple (values, indices) of the `k`-th smallest element along `dim`, counted from 1."""
    return into(KthResult(*kth_op(input, k=int(k), dim=normalize_dim(dim, input.ndim), keepdim=keepdim)), out)


ModeResult = named("mode", "values", "indices")


@primitive(rule=picked_rule, kernel="order.mode", outputs=2, grad=(picked_grad,), name="mode")
def mode_op(input: np.ndarray, *, dim: int, keepdim: bool) -> tuple:
    """The most frequent value (of several the smallest), and where it stands last."""
    if input.dtype.kind == "c":
        raise TypeError("complex")
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    rows = np.moveaxis(input, dim, -1)
    order = np.argsort(rows, -1, kind="stable")
    ranked = along(rows, order, -1)
    place = np.arange(rows.shape[-1])
    begins = np.ones(ranked.shape, np.bool_)
    begins[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    run = place - np.maximum.accumulate(np.where(begins, place, 0), -1)  # how far into its run of equals
    index = along(order, run.argmax(-1)[..., None], -1)
    return _picked(input, np.moveaxis(index, -1, dim), dim, keepdim)


@public("naiad", "Tensor", samples=lambda s: [s.call(s.ints(3, 9, high=4)), s.call(s.ints(9, 3, high=4), 0, True)])
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The named tuple (values, indices) of the most frequent value along `dim`."""
    return into(ModeResult(*mode_op(input, dim=nonempty("mode", input, dim), keepdim=keepdim)), out)


# ---------------------------------------------------------------- quantiles
def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str, skip: bool) -> Tensor:
    if input._dtype.kind != FLOAT:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, not {input.dtype}")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    space = PUBLIC["naiad"]
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = space["full"]((), float(q), dtype=input._dtype, device=input._device)
    elif q._dtype is not input._dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor: {q.dtype} and {input.dtype}")
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, got shape {list(q.shape)}")
    shape = input._array.shape
    if dim is None:
        rows, kept = input.reshape(-1), (1,) * len(shape)
    else:
        d = nonempty(name, input, dim)
        rows = input.transpose(d, -1) if shape else input.reshape(1)
        kept = (*shape[:d], 1, *shape[d + 1 :])
    if not rows._array.shape[-1]:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    found = _interpolated(rows, q.reshape(-1), interpolation, skip)  # (..., q)
    lead = (q._array.shape[0],) if q.ndim else ()
    final = kept if keepdim else () if dim is None else (*shape[:d], *shape[d + 1 :])
    if dim is not None:  # (rows with d swapped last, q) -> (q, rows in the old order)
        dims = list(range(found.ndim - 1))
        if shape:
            found = found.unsqueeze(-2).movedim(-1, 0).transpose(d + 1, len(dims) + 1)
    return found.reshape((*lead, *final))


def _interpolated(rows: Tensor, q: Tensor, interpolation: str, skip: bool) -> Tensor:
    ranked = sort_op(rows, dim=rows.ndim - 1, descending=False)[0]
    holes = isnan(rows)
    n = rows._array.shape[-1]
    if skip:
        last = ((~holes).sum(-1, keepdim=True) - 1).clamp(min=0).to(rows._dtype)
        rank = last * q
    else:
        rank = (q * (n - 1)).expand((*rows._array.shape[:-1], q._array.shape[0]))
        rank = where_op(holes.any(-1, keepdim=True), float(n - 1), rank)
    rounding = {"lower": "floor", "higher": "ceil", "nearest": "round"}.get(interpolation)
    if rounding:
        rank = getattr(rank, rounding)()
    below = rank.floor()
    lower = pick_op(ranked, below.to(int64), dim=rows.ndim - 1)
    if rounding:
        return lower
    upper = pick_op(ranked, rank.ceil().to(int64), dim=rows.ndim - 1)
    return lerp(lower, upper, 0.5 if interpolation == "midpoint" else rank - below)


_Q: dict[str, Any] = dict(
    samples=lambda s: [
        s.call(s(3, 5), 0.4),
        s.call(s(3, 5), 0.25, 1),
        s.call(s(3, 5, 2), 0.8, 1, True),
        s.call(s(3, 5), 0.3, 0, interpolation="nearest"),
        s.call(s(3, 5), 0.3, 0, interpolation="midpoint"),
        s.call(s.fixed([[1.0, float("nan"), 2.0], [3.0, 1.0, 2.0]], differentiable=True), 0.5, 1),
    ]
)


def _quantile_entry(name: str, doc: str, skip: bool) -> None:
    @numpy_names
    def call(
        input: Tensor,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
        out: Tensor | None = None,
    ) -> Tensor:
        return into(_quantile(name, input, q, dim, keepdim, interpolation, skip), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    public("naiad", "Tensor", name=name, autocast={"cpu": "float32"}, **_Q)(call)


_quantile_entry(
    "quantile", "The `q`-th quantiles (q a number or a vector in [0, 1]) of all elements or over `dim`.", False
)
_quantile_entry("nanquantile", "`quantile` of what is not NaN.", True)
