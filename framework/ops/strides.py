"""Layout: contiguity, memory formats, strides and storages of tensors, and the views that speak of strides."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index as as_int
from typing import Any

import numpy as np

from naiad.core import storage as storages
from naiad.core.device import CUDA
from naiad.core.dispatch import apply
from naiad.core.layout import channels_last, channels_last_3d, memory_format, preserve_format
from naiad.core.op import public
from naiad.core.primitive import primitive, view
from naiad.core.storage import storage_of
from naiad.core.strided import contiguous_strides
from naiad.core.strided import is_contiguous as lies_in_order
from naiad.core.tensor import Tensor, normalize_dim, wrap
from naiad.ops.convert import clone_op
from naiad.ops.movement import permute_op
from naiad.ops.shape import flat_args
from naiad.ops.windows import embed, narrow, slice_op

Shape = tuple[int, ...]
_LAST = {channels_last: 4, channels_last_3d: 5}


# ---------------------------------------------------------------- contiguity
def _channels_last_order(input: Tensor, format: memory_format) -> Shape:
    if input.ndim != _LAST[format]:
        raise RuntimeError(f"required rank {_LAST[format]} tensor to use {format.name} format, got {input.ndim}-d")
    return (0, *range(2, input.ndim), 1)


def _in_order(array: Any) -> bool:
    return array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous


@public("Tensor")
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in the order of `memory_format` (row-major by default) without gaps."""
    if memory_format not in _LAST:
        return _in_order(self._array)
    if self.ndim != _LAST[memory_format]:
        return False
    order = _channels_last_order(self, memory_format)
    shape, steps = self._array.shape, storages.stride(self._array)
    return lies_in_order([shape[d] for d in order], [steps[d] for d in order])


@public("Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s())])
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if its elements lie in the order of `memory_format` (default: row-major), else a copy where they do."""
    if memory_format is None or memory_format not in _LAST:
        if memory_format is preserve_format:
            raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
        return self if _in_order(self._array) else clone_op(self)
    return self if is_contiguous(self, memory_format) else in_format(self, memory_format)


def in_format(input: Tensor, format: memory_format) -> Tensor:
    """A copy whose elements lie in the order of a channels-last format."""
    order = _channels_last_order(input, format)
    copied = clone_op(permute_op(input, dims=order))
    return permute_op(copied, dims=(0, input.ndim - 1, *range(1, input.ndim - 1)))


# ---------------------------------------------------------------- storage
@public("Tensor")
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements from one position to the next in memory, for all dimensions or one."""
    steps = storages.stride(self._array)
    return steps if dim is None else steps[normalize_dim(dim, len(steps))]


@public("Tensor")
def storage_offset(self: Tensor) -> int:
    """Elements between the start of the storage and the first element."""
    return storages.storage_offset(self._array)


@public("Tensor")
def data_ptr(self: Tensor) -> int:
    """The address of the first element; 0 where there is none."""
    return storages.address(self._array) if self.numel() else 0


@public("Tensor")
def untyped_storage(self: Tensor) -> storages.UntypedStorage:
    """The bytes in which this tensor lies; views of one memory have one storage."""
    return storage_of(self._array, self._device)


@public("Tensor", aliases=("_typed_storage",))
def storage(self: Tensor) -> storages.TypedStorage:
    """The storage as elements of this tensor's dtype."""
    return storages.TypedStorage(wrap_storage=untyped_storage(self), dtype=self._dtype)


@public("Tensor")
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both look at the same elements of the same storage with the same geometry."""
    return (
        untyped_storage(self) is untyped_storage(tensor)
        and self.shape == tensor.shape
        and stride(self) == stride(tensor)
        and storage_offset(self) == storage_offset(tensor)
    )


@public("Tensor")
def is_shared(self: Tensor) -> bool:
    """Whether the memory is shared with other processes: never for this kind of memory, except on cuda."""
    return self.is_cuda


@public("Tensor")
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Change the shape in place; more elements than the storage holds get new, uninitialized memory.

    Elements keep their places in memory. Raises RuntimeError for a tensor that requires grad.
    """
    if self._needs_grad:
        raise RuntimeError("cannot resize variables that require grad")
    size = flat_args(sizes)
    if any(n < 0 for n in size):
        raise RuntimeError(f"resize_: sizes must not be negative, got {list(size)}")
    if size == self._array.shape:
        return self
    store, offset = untyped_storage(self), storage_offset(self)
    room = store.nbytes() // self._dtype.itemsize - offset
    if prod(size) > room:
        from naiad.ops.creation import full_op

        grown = full_op(shape=(offset + prod(size),), value=0, dtype=self._dtype, device=self._device)
        kept = storage_of(self._array, self._device).array(self._dtype, (offset + room,), (1,), 0)
        narrow(grown, 0, 0, offset + room).copy_(wrap(kept, self._dtype, self._device))
        store = untyped_storage(grown)
    self._array = store.array(self._dtype, size, contiguous_strides(size), offset)
    self._version[0] += 1
    return self


@public("Tensor")
def resize_as_(self: Tensor, tensor: Tensor, memory_format: Any = None) -> Tensor:
    """`self.resize_(tensor.size())`."""
    return resize_(self, tensor._array.shape)


@public("Tensor")
def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Sequence[int] | None = None, stride: Any = ()
) -> Tensor:
    """Look at other memory: that of a tensor, or of a storage with a geometry (default: all of it, 1-d)."""
    if source is None:
        source = storages.UntypedStorage(0, self._device)
        size = (0,)
    if isinstance(source, Tensor):
        if source._dtype is not self._dtype:
            raise RuntimeError(
                f"Could not set tensor of type {source._dtype.name} to a tensor of type {self._dtype.name}"
            )
        self._array, self._device = source._array, source._device
    else:
        store = source.untyped() if isinstance(source, storages.TypedStorage) else source
        shape = (store.nbytes() // self._dtype.itemsize - storage_offset,) if size is None else tuple(size)
        steps = tuple(stride) or contiguous_strides(shape)
        self._array, self._device = store.array(self._dtype, shape, steps, storage_offset), store.device
    self._version[0] += 1
    return self


# ---------------------------------------------------------------- as_strided
def _restrided(shape: Shape, strides: Shape, offset: int, *, of: tuple, to: tuple) -> tuple:
    if tuple(shape) != of[0] or not _same_steps(shape, strides, of[1]):
        raise RuntimeError(
            f"as_strided: the history of this view was recorded for sizes {list(of[0])} and strides {list(of[1])}, and "
            f"cannot be followed through {list(shape)} with strides {list(strides)}. clone() the tensor first"
        )
    size, steps, shift = to
    return size, steps, offset + shift


def _same_steps(shape: Shape, one: Sequence[int], other: Sequence[int]) -> bool:
    return 0 in shape or all(n == 1 or a == b for n, a, b in zip(shape, one, other, strict=True))


@view(geometry=_restrided, grad=lambda g, of, to: _restride_back(g, of, to))
def as_strided_op(input: np.ndarray, *, of: tuple, to: tuple) -> np.ndarray:
    """The storage of `input`, of geometry `of`, seen with another; offsets count from the first element of `input`."""
    _, _, offset = _restrided(input.shape, storages.stride(input), storages.storage_offset(input), of=of, to=to)
    from naiad.core.dtype import FROM_NUMPY

    return storage_of(input).array(FROM_NUMPY[input.dtype], to[0], to[1], offset)


def _places(geometry: tuple) -> np.ndarray:
    size, steps, shift = geometry
    places = np.full(size, shift, np.int64)
    for dim, (n, step) in enumerate(zip(size, steps, strict=True)):
        places += (np.arange(n) * step).reshape((n,) + (1,) * (len(size) - dim - 1))
    return places


@primitive(
    rule=lambda input, *, of, to: (to[0], input._dtype),
    kernel="elements.restride",
    parts="each",
    grad=(lambda g, of, to: restride_op(g, of=to, to=of),),
)
def restride_op(input: np.ndarray, *, of: tuple, to: tuple) -> np.ndarray:
    """Sum the elements of `input` into a storage with the geometry `of`, and read that with the geometry `to`."""
    source, target = _places(of), _places(to)
    low = min(source.min(initial=0), target.min(initial=0))
    memory = np.zeros(max(source.max(initial=0), target.max(initial=0)) - low + 1, input.dtype)
    np.add.at(memory, (source - low).reshape(-1), np.ascontiguousarray(input).reshape(-1))
    return np.asarray(memory[target - low])


def _restride_back(g: Tensor, of: tuple, to: tuple) -> Tensor:
    back = restride_op(g, of=to, to=of)
    if any(step == 0 and n > 1 for n, step in zip(of[0], of[1], strict=True)):
        from naiad.ops.creation import full_op

        ones = full_op(shape=of[0], value=1, dtype=g._dtype, device=g._device)
        back = back / restride_op(ones, of=of, to=of)
    return back


@public("naiad", "Tensor")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the storage with any sizes, strides and offset (counted in elements; default: the tensor's own).

    Raises RuntimeError where it would reach outside of the storage.
    """
    own = storages.storage_offset(input._array)
    sizes, steps = flat_args((tuple(size),)), flat_args((tuple(stride),))
    start = own if storage_offset is None else as_int(storage_offset)
    numel = untyped_storage(input).nbytes() // input._dtype.itemsize
    storages.check_geometry(numel, input._dtype.itemsize, sizes, steps, start)
    of = (tuple(input._array.shape), storages.stride(input._array), 0)
    return as_strided_op(input, of=of, to=(sizes, steps, start - own))


# ---------------------------------------------------------------- unfold
def _unfolded(shape: Shape, strides: Shape, offset: int, *, dim: int, size: int, step: int) -> tuple:
    if not shape:
        return (size,), (1,), offset
    windows = (shape[dim] - size) // step + 1
    sizes = (*shape[:dim], windows, *shape[dim + 1 :], size)
    return sizes, (*strides[:dim], strides[dim] * step, *strides[dim + 1 :], strides[dim]), offset


@view(
    geometry=_unfolded,
    grad=lambda g, input_shape, dim, size, step: _folded(g, input_shape, dim, size, step),
)
def windows_op(input: np.ndarray, *, dim: int, size: int, step: int) -> np.ndarray:
    """Windows of `size` positions along `dim`, `step` apart; positions within a window are the last dimension."""
    shape, strides, _ = _unfolded(input.shape, input.strides, 0, dim=dim, size=size, step=step)
    return np.lib.stride_tricks.as_strided(input, shape, strides)


@primitive(
    rule=lambda input, *, shape, dim, size, step: (shape, input._dtype),
    kernel="windows.fold_windows",
    parts="each",
    grad=(lambda g, dim, size, step: apply(windows_op.op, (g,), {"dim": dim, "size": size, "step": step}),),
)
def fold_windows(input: np.ndarray, *, shape: Shape, dim: int, size: int, step: int) -> np.ndarray:
    """The sum of windows in their places: the derivative of `windows_op`."""
    out = np.zeros(shape, input.dtype)
    if not shape:
        return np.asarray(input.reshape(()))
    windows = input.shape[dim]
    lead: tuple[Any, ...] = (slice(None),) * dim
    if size <= windows:
        for i in range(size):  # one position of all windows at a time: these do not overlap
            out[(*lead, slice(i, i + step * windows, step))] += input[..., i]
        return out
    turned = np.moveaxis(input, -1, dim + 1)
    for i in range(windows):
        out[(*lead, slice(i * step, i * step + size))] += turned[(*lead, i)]
    return out


def _folded(g: Tensor, shape: Shape, dim: int, size: int, step: int) -> Tensor:
    """`fold_windows`; on cuda one position of all windows at a time."""
    if g._device.kind != CUDA or not shape or not size:
        return fold_windows(g, shape=shape, dim=dim, size=size, step=step)
    total: Any = None
    reach = g._array.shape[dim] * step
    for i in range(size):
        index = (slice(None),) * dim + (slice(i, i + reach, step),)
        part = embed(slice_op(g, index=(..., i)), slice_op, shape, index=index)
        total = part if total is None else total + part
    return total


@public(
    "Tensor",
    samples=lambda s: [s.call(s(7), 0, 3, 1), s.call(s(2, 7), 1, 2, 3), s.call(s(7, 2), 0, 5, 2), s.call(s(), 0, 1, 1)],
)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` along `dimension`, `step` apart, whose positions are a new last dimension."""
    dim = normalize_dim(dimension, self.ndim)
    length = self._array.shape[dim] if self.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > length:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {length} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return windows_op(self, dim=dim, size=size, step=step)
