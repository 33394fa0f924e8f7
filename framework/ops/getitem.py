"""`x[...]` and `x[...] = v`: an index is split into a view (ints, slices, None) and numbers of slices to take.

Entries that are ints or 0-d int tensors select first, as in PyTorch and unlike NumPy, so that only tensors decide
where the dimensions of a result go.
"""

from __future__ import annotations

from operator import index as as_int
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.device import CPU, CPU_DEVICE
from naiad.core.dtype import BOOL, COMPLEX, INT, int64, uint8
from naiad.core.dtype import bool as bool_
from naiad.core.op import PUBLIC, as_one, publish
from naiad.core.state import current
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import copy_, fill_, fitting
from naiad.ops.indexing import as_value, put, put_into, raise_outside, take, take_op, vector_of
from naiad.ops.movement import reshape
from naiad.ops.windows import slice_op

_ALL = slice(None)
_SLICE = slice_op.op
_NONE = type(None)
_PLAIN_BOUND = (int, _NONE)
Pick = tuple[tuple[int, ...], Tensor]


# ---------------------------------------------------------------- reading an index
def _plain_slice(entry: slice) -> slice:
    """A slice whose bounds are ints or None and whose step is positive."""
    step = entry.step
    if step is not None and as_int(step) <= 0:
        raise ValueError("step must be greater than zero")
    if (
        entry.start.__class__ in _PLAIN_BOUND
        and entry.stop.__class__ in _PLAIN_BOUND
        and step.__class__ in _PLAIN_BOUND
    ):
        return entry
    return slice(*(None if e is None else as_int(e) for e in (entry.start, entry.stop, step)))


def basic_index(index: Any) -> tuple | None:
    """The index as a tuple for `slice_op`, or None where it needs more than a view."""
    kind = index.__class__
    if kind is int:
        return (index, ...)
    if kind is slice:
        return (_plain_slice(index),)
    if kind is not tuple:
        return (index,) if index is None or index is Ellipsis else None
    dots = changed = False
    for entry in index:
        kind = entry.__class__
        if kind is int or entry is None:
            continue
        if kind is slice:
            changed = changed or entry.step is not None or _plain_slice(entry) is not entry
        elif entry is Ellipsis:
            changed, dots = changed or dots, True
        else:
            return None
    if changed:
        index = tuple(_plain_slice(e) if e.__class__ is slice else e for e in _one_ellipsis(index))
    return index if dots else (*index, ...)


def _one_ellipsis(index: tuple) -> tuple:
    """All but the first Ellipsis stand for no dimensions."""
    first = next((i for i, e in enumerate(index) if e is Ellipsis), None)
    return tuple(e for i, e in enumerate(index) if e is not Ellipsis or i == first)


def _as_tuple(index: Any) -> tuple:
    if isinstance(index, tuple):
        return index
    special = (Tensor, list, tuple, np.ndarray, slice, _NONE, type(Ellipsis))
    if isinstance(index, list) and len(index) <= 32 and any(isinstance(e, special) for e in index):
        warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; use x[tuple(seq)] instead of "
            "x[seq], or x[naiad.tensor(seq)] for an index of several dimensions"
        )
        return tuple(index)
    return (index,)


def _entry(x: Tensor, entry: Any) -> Any:
    """One entry as an int, slice, None, Ellipsis, bool, or a tensor of numbers or of truth values."""
    if entry is None or entry is Ellipsis or isinstance(entry, bool):
        return entry
    if isinstance(entry, slice):
        return _plain_slice(entry)
    if isinstance(entry, np.bool_):
        return bool(entry)
    if isinstance(entry, Tensor):
        return _tensor_entry(entry)
    if isinstance(entry, (int, np.integer)):
        return int(entry)
    if isinstance(entry, (list, tuple, range, np.ndarray)):
        return _tensor_entry(_from_sequence(x, entry))
    if isinstance(entry, str):
        raise TypeError(f"a tensor cannot be indexed with a str: {entry!r}")
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(entry).__name__})"
    )


def _from_sequence(x: Tensor, entry: Any) -> Tensor:
    if not isinstance(entry, np.ndarray):
        from naiad.ops.creation import array_from

        entry = array_from(list(entry), None)
    if entry.dtype == np.bool_:
        return wrap(np.asarray(entry), bool_, CPU_DEVICE)
    return vector_of(entry.astype(np.int64, copy=False), x)


def _tensor_entry(entry: Tensor) -> Any:
    kind = entry._dtype.kind
    if kind == BOOL or entry._dtype is uint8:
        if kind != BOOL:
            warn("indexing with dtype uint8 is now deprecated, please use a dtype bool instead.")
            entry = entry != 0
        return entry if entry._array.shape else bool(entry)
    if kind != INT or entry._dtype.itemsize < 4:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return entry if entry._array.shape else int(entry.item())


def _length(entry: Any) -> int:
    """How many dimensions of the tensor an entry speaks of."""
    if isinstance(entry, bool) or entry is None or entry is Ellipsis:
        return 0
    return entry.ndim if isinstance(entry, Tensor) and entry._dtype.kind == BOOL else 1


def resolve(x: Tensor, index: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """A view of `x`, and (first dimension of the view, tensor) for the tensors that index it further."""
    entries = _one_ellipsis(tuple(_entry(x, e) for e in _as_tuple(index)))
    lengths = [_length(e) for e in entries]
    rest = x.ndim - sum(lengths)
    if rest < 0:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    basic: list = []
    picks: list[tuple[int, Tensor]] = []
    dim = at = 0  # in x, in the view
    for entry, length in zip(entries, lengths, strict=True):
        if isinstance(entry, bool):
            picks.append((at, vector_of(np.zeros(int(entry), np.int64), x)))
            basic.append(None)
            at += 1
        elif isinstance(entry, Tensor):
            if entry._dtype.kind == BOOL:
                _check_mask(x, entry, dim)
            picks.append((at, entry))
            basic += [_ALL] * length
            at += length
        elif entry is Ellipsis:
            basic += [_ALL] * rest
            dim, at = dim + rest, at + rest
        else:
            basic.append(entry)
            at += entry.__class__ is not int
        dim += length
    trivial = all(e is _ALL or (e.__class__ is slice and e == _ALL) for e in basic)
    return (x if trivial else slice_op(x, index=(*basic, ...))), picks


def _check_mask(x: Tensor, mask: Tensor, dim: int) -> None:
    shape, size = x._array.shape, mask._array.shape
    for i, n in enumerate(size):
        if shape[dim + i] != n:
            raise IndexError(
                f"The shape of the mask {list(size)} at index {i} does not match the shape of the indexed tensor "
                f"{list(shape)} at index {dim + i}"
            )


def flat_numbers(mask: Tensor) -> Tensor:
    """The numbers of the true elements among all."""
    if mask._device.kind != CPU:
        from naiad.ops.masking import nonzero

        return nonzero(reshape(mask, (-1,))).reshape(-1)
    return wrap(np.flatnonzero(mask._array), int64, CPU_DEVICE)


def merge(view: Tensor, picks: list[tuple[int, Tensor]]) -> Pick:
    """One tensor of numbers in the merged dimensions that all picks speak of."""
    for _, entry in picks:
        if entry._device is not view._device and entry._device.kind != CPU:
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor "
                f"({view._device}), but found one on {entry._device}. Move it with .to({str(view._device)!r})"
            )
    if len(picks) == 1:
        at, entry = picks[0]
        if entry._dtype.kind != BOOL:
            return (at,), entry if entry._device is view._device else entry.to(view._device)
        mask = entry if entry._device is view._device else entry.to(view._device)
        return tuple(range(at, at + entry.ndim)), flat_numbers(mask)
    dims: list[int] = []
    numbers: list[Tensor] = []
    for at, entry in picks:
        dims += range(at, at + (entry.ndim if entry._dtype.kind == BOOL else 1))
        numbers += _columns(entry) if entry._dtype.kind == BOOL else [entry]
    sizes = [view._array.shape[d] for d in dims]
    if all(n._device.kind == CPU for n in numbers):
        return tuple(dims), vector_of(_combined([n._array for n in numbers], dims, sizes), view)
    flat: Any = None
    for n, size in zip(numbers, sizes, strict=True):
        n = n.to(view._device).long()
        n = n + (n < 0).long() * size
        flat = n if flat is None else flat * size + n
    return tuple(dims), flat


def _columns(mask: Tensor) -> list[Tensor]:
    if mask._device.kind == CPU:
        return [wrap(column, int64, CPU_DEVICE) for column in np.nonzero(mask._array)]
    from naiad.ops.masking import nonzero

    return list(nonzero(mask, as_tuple=True))


def _combined(numbers: list[np.ndarray], dims: list[int], sizes: list[int]) -> np.ndarray:
    try:
        shape = np.broadcast_shapes(*[n.shape for n in numbers])
    except ValueError:
        told = ", ".join(str(list(n.shape)) for n in numbers)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {told}"
        ) from None
    flat = np.zeros(shape, np.int64)
    if not flat.size:  # nothing is read, so PyTorch lets any number pass
        return flat
    for n, dim, size in zip(numbers, dims, sizes, strict=True):
        if n.size:
            low = n.min()
            if low < -size or n.max() >= size:
                raise_outside(n, dim, size)
            if low < 0:
                n = np.where(n < 0, n + size, n)
        flat *= size
        flat += n
    return flat


# ---------------------------------------------------------------- getting
def getitem(self: Tensor, index: Any) -> Tensor:
    """A view for ints, slices, None and Ellipsis; a copy for tensors, lists and masks."""
    basic = basic_index(index)
    if basic is not None:
        state = current()
        if not state.modes:
            return _SLICE.run(state, (self,), {"index": basic})
        return slice_op(self, index=basic)
    if isinstance(index, Tensor) and index._device is self._device is CPU_DEVICE and index._array.shape:
        if index._dtype is int64 and self._array.shape:  # the usual case: rows by number
            return take_op(self, index, dim=0)
        if index._dtype is bool_ and index._array.shape == self._array.shape:
            flat = self if index._array.ndim == 1 else reshape(self, (-1,))
            return take_op(flat, wrap(index._array.ravel().nonzero()[0], int64, CPU_DEVICE), dim=0)
    view, picks = resolve(self, index)
    if not picks:
        return view if view is not self else slice_op(self, index=(...,))
    dims, numbers = merge(view, picks)
    return take(view, numbers, dims)


# ---------------------------------------------------------------- setting
def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Write a number or a tensor, which is broadcast, at an index."""
    tensor = isinstance(value, Tensor)
    if not tensor and not isinstance(value, (int, float, complex)):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a {self._dtype.name} tensor: make it a tensor with naiad.tensor"
        )
    basic = basic_index(index)
    if basic is None:
        if index.__class__ is not Tensor or not _set_rows(self, index, value, tensor):
            _set_picked(self, index, value)
        return
    if _set_directly(self, basic, value, tensor):
        return
    view = slice_op(self, index=basic)
    if tensor:
        copy_(view, _without_ones(value, view.ndim))
    else:
        fill_(view, fitting(view, value))


def _set_directly(x: Tensor, basic: tuple, value: Any, tensor: bool) -> bool:
    """Let NumPy write where nothing is recorded and nothing needs a conversion of PyTorch's own."""
    if not _is_direct(x, value, tensor):
        return False
    x._version[0] += 1  # refuses for tensors of inference_mode
    try:
        x._array[basic] = value._array if tensor else value
    except (ValueError, IndexError, OverflowError, TypeError):
        return False  # the long way finds the words for it
    return True


def _set_rows(x: Tensor, index: Tensor, value: Any, tensor: bool) -> bool:
    """The same for one tensor of numbers or truth values."""
    if index._device is not CPU_DEVICE or not index._array.shape or index._dtype not in (int64, bool_):
        return False
    if (tensor and value._dtype is not x._dtype) or not _is_direct(x, value, tensor):
        return False
    x._version[0] += 1
    try:
        x._array[index._array] = value._array if tensor else value
    except (ValueError, IndexError, OverflowError, TypeError):
        return False
    return True


def _is_direct(x: Tensor, value: Any, tensor: bool) -> bool:
    """Whether nothing is recorded, NumPy's assignment converts as PyTorch's does, and no element is there twice."""
    state = current()
    if state.modes or x._device is not CPU_DEVICE:
        return False
    if tensor:
        if (
            value._device is not CPU_DEVICE
            or (state.grad and (x._needs_grad or value._needs_grad))
            or (value._dtype is not x._dtype and value._dtype.kind == COMPLEX)
        ):
            return False
    elif (state.grad and x._needs_grad) or (value.__class__ is not float and x._dtype.kind < value_kind(value)):
        return False
    return 0 not in x._array.strides


def value_kind(value: Any) -> int:
    """The dtype kind of a Python number."""
    return COMPLEX if isinstance(value, complex) else INT


def _without_ones(value: Tensor, ndim: int) -> Tensor:
    """A value without the leading dimensions of size 1 that its place lacks."""
    shape = value._array.shape
    extra = len(shape) - ndim
    if extra > 0 and all(n == 1 for n in shape[:extra]):
        return reshape(value, shape[extra:])
    return value


def _set_picked(x: Tensor, index: Any, value: Any) -> None:
    view, picks = resolve(x, index)
    if not picks:
        if isinstance(value, Tensor):
            copy_(view, _without_ones(value, view.ndim))
        else:
            fill_(view, fitting(view, value))
        return
    single = not isinstance(value, Tensor) or (not value._array.shape and value._device is CPU_DEVICE)
    if len(picks) == 1 and picks[0][1]._dtype.kind == BOOL and single:
        at, mask = picks[0]
        wide = mask._array.shape + (1,) * (view.ndim - at - mask.ndim)
        view.masked_fill_(reshape(mask, wide).to(view._device), value)
        return
    _check_same_dtype(view, value)
    if not isinstance(value, Tensor) or not value._array.shape:
        value = as_value("index_put_", view, value)
    dims, numbers = merge(view, picks)
    room = view.ndim - len(dims) + numbers.ndim
    put_into(view, numbers, _without_ones(value, room), dims=dims, accumulate=False)


def _check_same_dtype(x: Tensor, value: Any) -> None:
    if isinstance(value, Tensor) and value._dtype is not x._dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {x._dtype.name} for the destination and "
            f"{value._dtype.name} for the source. Convert the source with .to({x._dtype!r})"
        )


# ---------------------------------------------------------------- index_put
def _put_parts(name: str, x: Tensor, indices: Any, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    for i, entry in enumerate(indices):
        if not isinstance(entry, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element {i} in argument 0, but got {type(entry).__name__}")
    _check_same_dtype(x, values)
    entries = tuple(e.reshape(1) if e.ndim == 0 else e for e in indices)
    view, picks = resolve(x, entries)
    dims, numbers = merge(view, picks)
    if all(e.ndim == 0 for e in indices):
        numbers = numbers.reshape(())
    return numbers, _without_ones(values, view.ndim - len(dims) + numbers.ndim), dims


def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` written (or added) at the places named by a tuple of tensors."""
    numbers, values, dims = _put_parts("index_put", input, indices, values)
    return put(input, numbers, values, dims=dims, accumulate=accumulate)


def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """In-place version of `index_put`."""
    numbers, values, dims = _put_parts("index_put_", input, indices, values)
    return put_into(input, numbers, values, dims=dims, accumulate=accumulate)


publish(
    "index_put",
    as_one(index_put, {"cuda": "promote"}),
    ("naiad", "Tensor"),
    samples=lambda s: [
        s.call(s(3, 4), (s.fixed([2, 0]),), s(2, 4)),
        s.call(s(3, 4), (s.fixed([2, 0, 2]), s.fixed([1, 1, 1])), s(3), accumulate=True),
        s.call(s(3, 2), (s.fixed([[True, False], [False, True], [True, True]]),), s(4)),
    ],
)
publish("index_put_", index_put_, ("naiad", "Tensor"))
PUBLIC["Tensor"].update({"__getitem__": getitem, "__setitem__": setitem})
