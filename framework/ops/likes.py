"""Tensors like another one, uninitialized ones, and tensors from other people's data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CPU_DEVICE, device
from naiad.core.dispatch import deliver
from naiad.core.dtype import dtype
from naiad.core.layout import preserve_format
from naiad.core.op import public
from naiad.core.state import current, default_dtype
from naiad.core.strided import DeviceArray, contiguous_strides
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import cast, clone_op, fit, transfer
from naiad.ops.creation import finish, from_numpy, full_op, home, listed, shape_from, tensor


def uninitialized(shape: tuple[int, ...], of: dtype, where: device) -> Tensor:
    """Memory as it comes."""
    array: Any = np.empty(shape, of.np) if where.kind == CPU_DEVICE.kind else backend.empty(shape, of, where)
    return wrap(array, of, where, current().inference)


@public("naiad")
def empty(
    *sizes: Any,
    size: Any = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor of a size whose values are whatever was in memory."""
    made = _formatted(uninitialized(shape_from(sizes, size), dtype or default_dtype(), home(device)), memory_format)
    return finish(made, requires_grad) if out is None else deliver(made, out)


def _formatted(made: Tensor, order: Any) -> Tensor:
    """A new tensor in the order of a memory format, if one was asked for."""
    return made if order is None or order is preserve_format else made.contiguous(memory_format=order)


def _strided(size: Sequence[int], stride: Sequence[int], of: dtype, where: device) -> Tensor:
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride):
        raise RuntimeError(f"empty_strided: mismatch in length of strides and shape: {stride} and {size}")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"empty_strided: Storage offset and strides must not be negative, got {stride}")
    extent = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if prod(size) else 0
    if where.kind == CPU_DEVICE.kind:
        memory = np.empty(extent, of.np)
        seen: Any = np.ndarray(size, of.np, memory.data, 0, tuple(s * of.itemsize for s in stride))
    else:
        flat = backend.empty((extent,), of, where)
        seen = DeviceArray(flat.buffer, size, stride, flat.offset, of.np)
    return wrap(seen, of, where, current().inference)


@public("naiad")
def empty_strided(
    size: Sequence[int],
    stride: Sequence[int],
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Uninitialized memory seen with these strides, which count elements."""
    return finish(_strided(size, stride, dtype or default_dtype(), home(device)), requires_grad)


@public("naiad")
def empty_permuted(
    size: Sequence[int],
    physical_layout: Sequence[int],
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Uninitialized memory whose dimensions lie in the order of `physical_layout`, outermost first."""
    if sorted(physical_layout) != list(range(len(size))):
        raise RuntimeError(f"empty_permuted: {list(physical_layout)} is no permutation of {len(size)} dimensions")
    strides = contiguous_strides([size[d] for d in physical_layout])
    stride = [strides[list(physical_layout).index(d)] for d in range(len(size))]
    return finish(_strided(size, stride, dtype or default_dtype(), home(device)), requires_grad)


# ---------------------------------------------------------------- like another tensor
def _like(name: str, make: Callable, doc: str, samples: Any) -> Callable:
    def call(
        input: Tensor,
        *,
        dtype: dtype | None = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        memory_format: Any = None,
    ) -> Tensor:
        made = make(input._array.shape, dtype or input._dtype, input._device if device is None else home(device))
        return finish(_formatted(made, memory_format), requires_grad)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return public("naiad", name=name, samples=samples)(call)


def _constant(value: int) -> Callable:
    def make(shape: tuple[int, ...], of: dtype, where: device) -> Tensor:
        state = current()
        if where is CPU_DEVICE and not state.modes:
            array = np.zeros(shape, of.np) if value == 0 else np.full(shape, value, of.np)
            return wrap(array, of, where, state.inference)
        return full_op(shape=shape, value=value, dtype=of, device=where)

    return make


_ALIKE: Any = lambda s: [s.call(s.ints(2, 3)), s.call(s.fixed([1.5])), s.call(s.bools())]  # noqa: E731
zeros_like = _like("zeros_like", _constant(0), "Zeros with the size, dtype and device of `input`.", _ALIKE)
ones_like = _like("ones_like", _constant(1), "Ones with the size, dtype and device of `input`.", _ALIKE)
empty_like = _like("empty_like", uninitialized, "Uninitialized, with the size, dtype and device of `input`.", None)


@public("naiad", samples=lambda s: [s.call(s.ints(2, 3), 7), s.call(s.fixed([1.5]), 2), s.call(s.bools(2), True)])
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One number everywhere, with the size, dtype and device of `input`."""
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    where = input._device if device is None else home(device)
    of = dtype or input._dtype
    made = full_op(shape=input._array.shape, value=fit(of, value), dtype=of, device=where)
    return finish(_formatted(made, memory_format), requires_grad)


def _new(name: str, make: Callable, doc: str, samples: Any = None) -> None:
    def call(
        self: Tensor,
        *sizes: Any,
        size: Any = None,
        dtype: dtype | None = None,
        device: Any = None,
        requires_grad: bool = False,
        layout: Any = None,
        pin_memory: bool = False,
    ) -> Tensor:
        where = self._device if device is None else home(device)
        return finish(make(shape_from(sizes, size), dtype or self._dtype, where), requires_grad)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    public("Tensor", name=name, samples=samples)(call)


_SIZED: Any = lambda s: [s.call(s.ints(2), 2, 3), s.call(s.fixed([1.5]), (2,)), s.call(s.bools(2), [])]  # noqa: E731
_new("new_zeros", _constant(0), "Zeros of a size, with this tensor's dtype and device.", _SIZED)
_new("new_ones", _constant(1), "Ones of a size, with this tensor's dtype and device.", _SIZED)
_new("new_empty", uninitialized, "Uninitialized memory of a size, with this tensor's dtype and device.")


@public("Tensor", samples=lambda s: [s.call(s.ints(2), (2, 3), 5), s.call(s.fixed([1.5]), (2,), 7)])
def new_full(
    self: Tensor,
    size: Sequence[int],
    fill_value: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """One number everywhere, with this tensor's dtype and device."""
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    where = self._device if device is None else home(device)
    of = dtype or self._dtype
    made = full_op(shape=listed("new_full", size), value=fit(of, value), dtype=of, device=where)
    return finish(made, requires_grad)


@public("Tensor")
def new_empty_strided(
    self: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """Uninitialized memory seen with these strides, with this tensor's dtype and device."""
    where = self._device if device is None else home(device)
    return finish(_strided(size, stride, dtype or self._dtype, where), requires_grad)


@public("Tensor", samples=lambda s: [s.call(s.fixed([1.5]), [1, 2]), s.call(s.ints(2), 3)])
def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A copy of `data` as a tensor of this one's dtype and device."""
    where = self._device if device is None else device
    return tensor(data, dtype=dtype or self._dtype, device=where, requires_grad=requires_grad)


# ---------------------------------------------------------------- from data
@public("naiad", samples=lambda s: [s.call(2.5), s.call(3), s.call(True)])
def scalar_tensor(
    s: Any,
    *,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor with one number, in the default dtype unless told otherwise."""
    of = dtype or default_dtype()
    made = full_op(shape=(), value=fit(of, s.item() if isinstance(s, Tensor) else s), dtype=of, device=home(device))
    return finish(made, requires_grad)


def _as_it_is(data: Any) -> Tensor | None:
    """A tensor on the memory of `data`, if it has any that can be shared."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return from_numpy(data)
    return None


@public("naiad", samples=lambda s: [s.call([[1, 2], [3, 4]]), s.call(2.5), s.call([True])])
def as_tensor(data: Any, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """`data` as a tensor: a Tensor or ndarray itself where dtype and device fit, else a copy."""
    shared = _as_it_is(data)
    if shared is None:
        return tensor(data, dtype=dtype, device=device)
    if dtype is not None and dtype is not shared._dtype:
        shared = cast(shared, dtype=dtype)
    return shared if device is None else transfer(shared, home(device))


@public("naiad", samples=lambda s: [s.call([[1, 2], [3, 4]]), s.call(2.5)])
def asarray(
    obj: Any, *, dtype: dtype | None = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj` as a tensor. copy: True always, None only where needed, False never (ValueError where one is needed)."""
    shared = _as_it_is(obj)
    if shared is None and isinstance(obj, (bytes, bytearray, memoryview)):
        shared = frombuffer(obj, dtype=dtype or default_dtype())
    made = as_tensor(obj if shared is None else shared, dtype, device)
    if copy is False and made is not shared:
        raise ValueError(f"asarray(): can't alias arbitrary data of type {type(obj).__name__}; allow a copy")
    if copy and made is shared:
        made = clone_op(made)
    if not requires_grad:
        return made.detach() if made is not obj and made._needs_grad else made
    return finish(made.detach(), True)


@public("naiad")
def frombuffer(buffer: Any, *, dtype: dtype, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-D tensor on the memory of an object that has the buffer protocol. Writing to it writes there."""
    return finish(from_numpy(np.frombuffer(buffer, dtype.np, count, offset)), requires_grad)
