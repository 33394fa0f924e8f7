"""Distinct values, counts, and looking values up in sorted ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from naiad.core.device import CPU_DEVICE
from naiad.core.dtype import FLOAT, int32, int64
from naiad.core.dtype import bool as bool_
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor, normalize_dim, wrap
from naiad.ops.convert import cast, transfer
from naiad.ops.creation import as_tensor_operand, placed
from naiad.ops.dtype_rules import result_type
from naiad.ops.forms import into


def _host(x: Tensor) -> np.ndarray:
    array = x.detach().cpu()._array
    return array.astype(x._dtype.compute.np, copy=False)


def _back(array: np.ndarray, like: Tensor) -> Tensor:
    """A result in the dtype and on the device of an operand."""
    array = np.ascontiguousarray(array.astype(like._dtype.np, copy=False))
    made = wrap(array, like._dtype, CPU_DEVICE, current().inference)
    return transfer(made, like._device)


def _index(array: Any, like: Tensor) -> Tensor:
    return placed(np.array(array, np.int64, order="C"), like._device)


# The results' shapes depend on the values, so these are no entries with a shape rule: functions of NumPy's on the CPU,
# composed of entries on cuda.
@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.ints(9, high=4)),
        s.call(s.ints(3, 4, high=3), True, True, True),
        s.call(s.ints(5, 2, high=2), return_inverse=True, return_counts=True, dim=0),
        s.call(s.ints(2, 6, high=2), dim=1),
    ],
)
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements (or slices along `dim`) in order; with them, on request, where each element's value is
    among them (`input[i] == result[inverse[i]]`) and how often each occurs. NaNs are all distinct.
    """
    if dim is not None:
        dim = normalize_dim(dim, input.ndim)
    if input.is_cuda and input.numel():
        return _on_cuda("distinct", input, dim, return_inverse, return_counts)
    array = _host(input)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = inverse.reshape(-1) if dim is not None else inverse.reshape(array.shape)
    return _several(input, values, inverse, counts, return_inverse, return_counts)


def _on_cuda(name: str, input: Tensor, dim: int | None, want_inverse: bool, want_counts: bool) -> Any:
    from naiad.ops import sets_device

    input = input.detach()
    rows = input.reshape(-1) if dim is None else input.movedim(dim, 0)
    values, inverse, counts = getattr(sets_device, name)(rows)
    if dim is None:
        inverse = inverse.reshape(input.shape)
    else:
        values = values.movedim(0, dim).contiguous()
    found = (values, *((inverse,) if want_inverse else ()), *((counts,) if want_counts else ()))
    return found[0] if len(found) == 1 else found


def _several(
    input: Tensor, values: np.ndarray, inverse: Any, counts: Any, want_inverse: bool, want_counts: bool
) -> Any:
    found: tuple[Tensor, ...] = (_back(values, input),)
    if want_inverse:
        found += (_index(inverse, input),)
    if want_counts:
        found += (_index(counts, input),)
    return found[0] if len(found) == 1 else found


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.ints(12, high=2)),
        s.call(s.ints(3, 4, high=2), True, True),
        s.call(s.ints(6, 1, high=2), return_counts=True, dim=0),
        s.call(s.ints(0)),
    ],
)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """`input` with every run of equal elements (or slices along `dim`) made one; see `unique` for the other results."""
    if input.is_cuda and input.numel():
        dim = dim if dim is None else normalize_dim(dim, input.ndim)
        return _on_cuda("consecutive", input, dim, return_inverse, return_counts)
    array = _host(input)
    rows = array.reshape(-1) if dim is None else np.moveaxis(array, normalize_dim(dim, input.ndim), 0)
    n = len(rows)
    begins = np.ones(n, np.bool_)
    if n > 1:
        begins[1:] = (rows[1:] != rows[:-1]).reshape(n - 1, -1).any(1)
    starts = np.flatnonzero(begins)
    inverse = np.cumsum(begins) - 1
    counts = np.diff(np.append(starts, n))
    values = rows[starts] if dim is None else np.moveaxis(rows[starts], 0, normalize_dim(dim, input.ndim))
    inverse = inverse.reshape(array.shape) if dim is None else inverse
    return _several(input, values, inverse, counts, return_inverse, return_counts)


# ---------------------------------------------------------------- counts
@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.ints(9, high=4)),
        s.call(s.ints(9, high=4), minlength=8),
        s.call(s.ints(0)),
        s.call(s.ints(4, high=3), s.fixed([0.5, 1.0, 2.0, 4.0])),
    ],
)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number 0, 1, 2, ... occurs in a vector; or the sum of the `weights` standing at its places."""
    if input.ndim != 1 or input._dtype.kind != 1:
        raise RuntimeError(
            f"bincount only supports 1-d non-negative integral inputs, got {input.dtype} {list(input.shape)}"
        )
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if weights is not None and weights._array.shape != input._array.shape:
        raise RuntimeError(f"weights should be 1-d and have the same length as input, not {list(weights.shape)}")
    if input.is_cuda:
        return _bincount_on_cuda(input, weights, minlength)
    array = _host(input)
    if array.size:
        _check_counted(int(array.min()))
    if weights is None:
        return _index(np.bincount(array, None, minlength), input)
    summed = np.bincount(array, _host(weights).astype(np.float64), minlength)
    return placed(summed.astype(np.float32 if weights._dtype.name == "float32" else np.float64), input._device)


def _check_counted(lowest: int) -> None:
    if lowest < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, but there is {lowest}")


def _bincount_on_cuda(input: Tensor, weights: Tensor | None, minlength: int) -> Tensor:
    from naiad.ops.sets_device import counts

    size = minlength
    if input.numel():
        low, high = (int(v) for v in input.long().aminmax())
        _check_counted(low)
        size = max(high + 1, minlength)
    found = counts(input.long(), size, None if weights is None else weights.detach().double())
    return found.float() if weights is not None and weights._dtype.name == "float32" else found


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s.fixed([1.0, 2.0, 1.0, 3.0]), 4, 0, 3), s.call(s.fixed([1.0, 2.5]), 5)],
)
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Tensor | None = None) -> Tensor:
    """How many elements fall into each of `bins` even bins from `min` to `max` (both 0: those of the data)."""
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, got {bins}")
    if input._dtype.kind != FLOAT:
        raise NotImplementedError(
            f"\"histogram_cpu\" not implemented for '{input._dtype.name}': convert it with .float()"
        )
    low, high = float(min), float(max)
    if low == high and input.numel():
        low, high = (float(v) for v in input.detach().aminmax())
    if low == high:
        low, high = low - 1, high + 1
    if low > high or not np.isfinite([low, high]).all():
        raise RuntimeError(f"histc: max must be larger than min and both finite, got [{low}, {high}]")
    if input.is_cuda:
        from naiad.ops.sets_device import bins as count_bins

        return into(count_bins(input.detach().reshape(-1), bins, low, high).to(input._dtype), out)
    array = _host(input).reshape(-1)
    inside = array[(array >= low) & (array <= high)].astype(np.float64)
    place = np.minimum(((inside - low) / (high - low) * bins).astype(np.int64), bins - 1)
    return into(_back(np.bincount(place, None, bins), input), out)


# ---------------------------------------------------------------- looking up
def _right(right: bool, side: str | None) -> str:
    if side not in (None, "left", "right"):
        raise RuntimeError(f"side can only be 'left' or 'right' but got {side!r}")
    if right and side == "left":
        raise RuntimeError("side and right can't be set to opposites: got side of left while right was True")
    return "right" if right or side == "right" else "left"


def _search_rule(sequence: Tensor, values: Tensor, *, side: str, out_int32: bool) -> tuple:
    a, b = sequence._array.shape, values._array.shape
    if len(a) != 1 and a[:-1] != b[:-1]:
        raise RuntimeError(
            "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
            f"and input value tensor must match, but the boundaries are {list(a)} and the input {list(b)}"
        )
    return b, int32 if out_int32 else int64


@primitive(rule=_search_rule, kernel="search.searchsorted", name="searchsorted")
def search_op(
    sequence: np.ndarray, values: np.ndarray, *, side: Literal["left", "right"], out_int32: bool
) -> np.ndarray:
    """Where each value would go in the sorted last dimension."""
    of = np.int32 if out_int32 else np.int64
    if sequence.ndim == 1:
        return np.searchsorted(sequence, values, side).astype(of)
    if sequence.shape[:-1] != values.shape[:-1] or not sequence.ndim:
        raise ValueError("shapes")
    rows, wanted = sequence.reshape(-1, sequence.shape[-1]), values.reshape(-1, values.shape[-1])
    found = [np.searchsorted(r, v, side) for r, v in zip(rows, wanted, strict=True)]
    return np.asarray(found, of).reshape(values.shape)


@public(
    "naiad",
    samples=lambda s: [
        s.call(s.fixed([1.0, 2.0, 3.0]), s.fixed([[0.5, 2.0], [3.0, 9.0]])),
        s.call(s.fixed([1.0, 2.0, 3.0]), s.fixed([2.0, 3.0]), right=True),
        s.call(s.fixed([[1, 3, 5], [2, 4, 6]]), s.fixed([[3, 4], [3, 4]]), out_int32=True),
        s.call(s.fixed([1.0, 2.0, 3.0]), 2.5),
        s.call(s.fixed([3, 1, 2]), s.fixed([2, 3]), sorter=s.fixed([1, 2, 0])),
    ],
)
def searchsorted(
    sorted_sequence: Tensor,
    input: Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """For each value the index in the sorted (last dimension of the) sequence at which it would be put in, before
    (`right`: after) its equals. `sorter`: the indices that sort the sequence.
    """
    side = _right(right, side)
    values = input if isinstance(input, Tensor) else as_tensor_operand(input, sorted_sequence)
    if sorter is not None:
        sorted_sequence = sorted_sequence.take_along_dim(sorter, -1)
    if values._dtype is not sorted_sequence._dtype:
        common = result_type(sorted_sequence, values)
        values, sorted_sequence = cast(values, dtype=common), cast(sorted_sequence, dtype=common)
    return into(search_op(sorted_sequence, values, side=side, out_int32=out_int32), out)


@public(
    "naiad",
    samples=lambda s: [
        s.call(s.fixed([[0.5, 2.0], [3.0, 9.0]]), s.fixed([1.0, 2.0, 3.0])),
        s.call(s.fixed([2, 3]), s.fixed([1, 2, 3]), right=True, out_int32=True),
    ],
)
def bucketize(
    input: Tensor | float,
    boundaries: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """The index of the bucket between sorted boundaries that each value falls into."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


@primitive(rule=lambda elements, test: (elements._array.shape, bool_), kernel="search.isin", name="isin")
def isin_op(elements: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Whether each element is among the others."""
    return np.isin(elements, test)


@public(
    "naiad",
    samples=lambda s: [
        s.call(s.ints(3, 4), s.ints(3)),
        s.call(s.ints(5), 2),
        s.call(s.ints(5), s.ints(2), invert=True),
        s.call(3, s.ints(4)),
    ],
)
def isin(
    elements: Tensor | float, test_elements: Tensor | float, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each of `elements` is among `test_elements` (either may be a number)."""
    like: Any = elements if isinstance(elements, Tensor) else test_elements
    a, b = (x if isinstance(x, Tensor) else as_tensor_operand(x, like) for x in (elements, test_elements))
    found = isin_op(a, b)
    return ~found if invert else found
