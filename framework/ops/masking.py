"""Elements by truth values: masked_fill, masked_select, masked_scatter, nonzero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CUDA, device
from naiad.core.dispatch import apply, deliver
from naiad.core.dtype import BOOL, int64
from naiad.core.inplace import inplace_call
from naiad.core.op import public
from naiad.core.primitive import Primitive, primitive
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.ops.convert import fitting
from naiad.ops.forms import in_order
from naiad.ops.indexing import as_value, put, take
from naiad.ops.movement import expand_op, reshape
from naiad.ops.windows import slice_op


def _masked_fill_rule(input: Tensor, mask: Tensor, *, value: Any) -> tuple:
    return broadcast_shapes([input._array.shape, mask._array.shape]), input._dtype


@primitive(
    rule=_masked_fill_rule,
    kernel="places.masked_fill",
    parts="move",
    widen=False,
    into=lambda input, mask, *, value: np.copyto(input, input.dtype.type(value), where=mask),
    grad=(lambda g, mask, value: masked_fill_op(g, mask, value=0), None),
)
def masked_fill_op(input: np.ndarray, mask: np.ndarray, *, value: Any) -> np.ndarray:
    """`input`, with a number where `mask` is true."""
    return in_order(np.where(mask, input.dtype.type(value), input))


_masked_fill_into = inplace_call(masked_fill_op.op)


def _check_mask(name: str, mask: Any) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}(): argument 'mask' must be Tensor, not {type(mask).__name__}")
    if mask._dtype.kind != BOOL:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {mask._dtype.name}")


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 3), s.bools(2, 3), 1.5),
        s.call(s(2, 3), s.bools(3), float("-inf")),
        s.call(s(3), s.bools(2, 3), 0),
        s.call(s(2, 3), s.bools(2, 1), s()),
    ],
)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` (a number or a 0-d tensor) where `mask` is true. Both are broadcast."""
    _check_mask("masked_fill_", mask)
    if not isinstance(value, Tensor):
        return masked_fill_op(input, mask, value=fitting(input, value))
    from naiad.ops.arithmetic import where_op

    return where_op(mask, as_value("masked_fill_", input, value), input)


@public("Tensor")
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In-place version of `masked_fill`."""
    _check_mask("masked_fill_", mask)
    if not isinstance(value, Tensor):
        return _masked_fill_into(self, mask, value=fitting(self, value))
    return self.copy_(_unbroadcast(self, masked_fill(self, mask, value)))


def _unbroadcast(x: Tensor, result: Tensor) -> Tensor:
    if result._array.shape != x._array.shape:
        raise RuntimeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(result.shape)}")
    return result


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), s.bools(2, 3)), s.call(s(2, 3), s.bools(3)), s.call(s(), s.bools(2))],
)
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where `mask` is true, in one dimension. Both are broadcast."""
    from naiad.ops.getitem import flat_numbers

    _check_mask("masked_select", mask)
    size = broadcast_shapes([input._array.shape, mask._array.shape])
    flat = reshape(expand_op(input, size=size) if input._array.shape != size else input, (-1,))
    numbers = flat_numbers(reshape(expand_op(mask, size=size) if mask._array.shape != size else mask, (-1,)))
    result = take(flat, numbers, (0,))
    return result if out is None else deliver(result, out)


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s.bools(2, 3), s(7)), s.call(s(2, 3), s.bools(3), s(2, 4))]
)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, one after the other, where `mask` is true."""
    from naiad.ops.getitem import flat_numbers

    _check_mask("masked_scatter", mask)
    if input._dtype is not source._dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input._dtype.name} and "
            f"{source._dtype.name}"
        )
    size = broadcast_shapes([input._array.shape, mask._array.shape])
    numbers = flat_numbers(reshape(expand_op(mask, size=size), (-1,)))
    if numbers.numel() > source.numel():
        raise RuntimeError(
            f"Number of elements of source < number of ones in mask: masked_scatter got {source.numel()} for "
            f"{numbers.numel()}"
        )
    given = slice_op(reshape(source, (-1,)), index=(slice(0, numbers.numel()),))
    flat = put(reshape(expand_op(input, size=size), (-1,)), numbers, given, dims=(0,), accumulate=False)
    return reshape(flat, size)


@public("Tensor")
def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """In-place version of `masked_scatter`."""
    return self.copy_(_unbroadcast(self, masked_scatter(self, mask, source)))


# ---------------------------------------------------------------- nonzero
class _Nonzero(Primitive):
    """On a device: count, learn on the host how many there are, as PyTorch does, and write."""

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        if home.kind != CUDA:
            raise NotImplementedError("nonzero: the shape of the result depends on the values, and meta has none")
        (x,) = arrays
        if x.dtype.kind == "c":
            x = backend.launcher("complex_parts.is_not_zero", self.name)(x)
        ends = backend.launcher("select.count", self.name)(x)
        last = ends.view((1,), (1,), ends.offset + ends.size - 1)
        found = int(backend.download(last)[0]) if ends.size else 0
        out = backend.empty((found, x.ndim), int64, home)
        backend.launcher(self.kernel, self.name)(out, x, ends)
        return [out]


def _nonzero(input: np.ndarray) -> np.ndarray:
    """The places of the elements that are not 0, one per row."""
    if not input.ndim:
        return np.zeros((int(bool(input)), 0), np.int64)
    flat = np.ascontiguousarray(input).reshape(-1)
    mask = flat if flat.dtype == np.bool_ else flat != 0
    numbers = mask.nonzero()[0]
    if input.ndim == 1 or not numbers.size:
        return numbers.reshape(-1, 1) if input.ndim == 1 else np.zeros((0, input.ndim), np.int64)
    # Row by row: repeating the numbers of the rows is quicker than dividing those of the elements.
    rows = mask.reshape(-1, input.shape[-1])
    counts, n = np.count_nonzero(rows, axis=1), np.arange(len(rows))
    out = np.empty((input.ndim, numbers.size), np.int64)  # so that each column is contiguous, as PyTorch's are
    for d, column in enumerate(np.unravel_index(n, input.shape[:-1])):
        out[d] = np.repeat(column, counts)
    out[-1] = numbers - np.repeat(n * input.shape[-1], counts)
    return out.T


_NONZERO = _Nonzero("nonzero_op", _nonzero, rule=None, widen=False, kernel="select.nonzero")


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s.ints(2, 3, high=2)),
        s.call(s.bools(2, 2, 2), as_tuple=True),
        s.call(s.bools()),
        s.call(s.ints(0, 2)),
        s.call(s.ints(9, high=2)),
    ],
)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The places of the elements that are not 0: an (n, ndim) int64 tensor, or one vector per dimension."""
    if not as_tuple:
        return apply(_NONZERO, (input,), {})
    found = apply(_NONZERO, (input if input.ndim else reshape(input, (1,)),), {})
    return tuple(slice_op(found, index=(..., i)) for i in range(max(input.ndim, 1)))


@public("naiad", "Tensor", samples=lambda s: [s.call(s.ints(2, 3, high=2))])
def argwhere(input: Tensor) -> Tensor:
    """The places of the elements that are not 0, one per row."""
    return apply(_NONZERO, (input,), {})
