"""Copies and conversions: dtype, device, clone, copy_, and the ways to and from NumPy and Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_dtypes import finfo

from naiad.autograd.record import record
from naiad.core import backend
from naiad.core.device import CPU, CUDA, device
from naiad.core.dispatch import apply
from naiad.core.dtype import ALL, BOOL, COMPLEX, FLOAT, FROM_PYTHON, INT, dtype
from naiad.core.inplace import inplace_call
from naiad.core.op import Op, public
from naiad.core.primitive import primitive, same_as
from naiad.core.state import State
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor, wrap


@primitive(
    rule=lambda input, *, dtype: (input._array.shape, dtype),
    kernel="copy.copy",
    parts="whole",
    widen=False,
    grad=(lambda g, input_dtype: cast(g, dtype=input_dtype),),
)
def cast(input: np.ndarray, *, dtype: dtype) -> np.ndarray:
    """The values in another dtype."""
    if input.dtype.kind == "c" and dtype.kind in (INT, FLOAT):
        input = input.real
    return input.astype(dtype.np)


@primitive(rule=same_as(), kernel="copy.copy", parts="whole", widen=False, grad=(lambda g: g,))
def clone_op(input: np.ndarray) -> np.ndarray:
    """A contiguous copy."""
    return np.array(input, order="C")


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s())])
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with a history: gradients flow to `input`."""
    return clone_op(input) if memory_format is None else _ordered(clone_op(input), memory_format)


def _ordered(x: Tensor, order: Any) -> Tensor:
    """The elements in the order of a memory format; `preserve_format` leaves them as they are."""
    from naiad.core.layout import preserve_format

    return x if order is preserve_format else x.contiguous(memory_format=order)


def apply_zeros(g: Tensor) -> Tensor:
    """Zeros like a gradient."""
    from naiad.core.elementwise import zero_of

    return zero_of.call(g)


def _copied_into(input: np.ndarray, source: np.ndarray) -> None:
    if source.dtype.kind == "c" and input.dtype.kind not in "bc":
        source = source.real
    np.copyto(input, source, casting="unsafe")


def _copy_rule(input: Tensor, source: Tensor) -> tuple:
    shape = broadcast_shapes([input._array.shape, source._array.shape])
    return shape, input._dtype


@primitive(
    rule=_copy_rule,
    kernel="copy.overwritten",
    parts="whole",
    widen=False,
    into=_copied_into,
    grad=(apply_zeros, lambda g, source_dtype: cast(g, dtype=source_dtype)),
)
def copy(input: np.ndarray, source: np.ndarray) -> np.ndarray:
    """`source` in the shape and dtype of `input`."""
    out = np.empty_like(input)
    _copied_into(out, source)
    return out


_copy_into = inplace_call(copy.op)


@public("Tensor")
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the values of `src` into this tensor: broadcast, converted to its dtype and moved to its device."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'src' must be a Tensor, not {type(src).__name__}")
    if src._device is not self._device:
        # To the host it is waited for: what comes is read at once.
        src = transfer(src, self._device, non_blocking and self._device.kind == CUDA)
    if self._device.kind == CUDA and src._array.shape != self._array.shape:
        src = src.expand(self._array.shape)
    return _copy_into(self, src)


@primitive(
    name="fill_op",
    rule=lambda input, *, value: (input._array.shape, input._dtype),
    kernel="copy.refilled",
    parts="whole",
    widen=False,
    into=lambda input, *, value: input.fill(value),
    grad=(apply_zeros,),
)
def fill_op(input: np.ndarray, *, value: Any) -> np.ndarray:
    """One number everywhere."""
    return np.full(input.shape, value, input.dtype)


_LARGEST = {of: float(finfo(of.np).max) for of in ALL if of.kind == FLOAT}


def fit(of: dtype, value: Any) -> Any:
    """A Python number as one of a dtype: True or False, a whole number, or as it is.

    Raises RuntimeError where it does not fit (infinities do, in floats), TypeError for what is no number.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (int, float, complex)):
        raise TypeError(f"expected a number to make {of.name} of, not {type(value).__name__}: {value!r:.40}")
    if of.kind == BOOL:
        return bool(value)
    if isinstance(value, complex) and of.kind < COMPLEX:
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {of.name} without overflow: it is {value}")
        value = value.real
    if of.kind == INT:
        return _whole(of, value)
    if of.kind == FLOAT and abs(value) > _LARGEST[of] and value - value == 0:
        raise RuntimeError(f"value cannot be converted to type {of.name} without overflow: it is {value}")
    return value


def _whole(of: dtype, value: Any) -> int:
    info = np.iinfo(of.np)
    if value - value == 0:  # neither infinite nor NaN
        value = int(value)
        if info.min <= value <= info.max:
            return value
        if info.min == 0 and -info.max <= value < 0:  # unsigned numbers wrap
            return value + info.max + 1
    raise RuntimeError(f"value cannot be converted to type {of.name} without overflow: it is {value}")


def fitting(x: Tensor, value: Any) -> Any:
    """A Python number as one of the dtype of `x`, see `fit`."""
    return fit(x._dtype, value)


_fill_into = inplace_call(fill_op.op)


@public("Tensor")
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number, or the value of a 0-d tensor, everywhere."""
    if isinstance(value, Tensor):
        if value._array.shape:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions"
            )
        return copy_(self, value)
    return _fill_into(self, value=fitting(self, value))


@public("Tensor")
def zero_(self: Tensor) -> Tensor:
    """Write zeros."""
    return _fill_into(self, value=0)


# ---------------------------------------------------------------- devices
class Transfer(Op):
    """A copy to another device."""

    def __init__(self) -> None:
        super().__init__("transfer", ("input",), ("target", "source", "wait"))
        self.set_formulas((lambda g, source, target: transfer(g, source),))

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        return xs[0]._array.shape, xs[0]._dtype

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Tensor:
        assert attrs is not None
        x, target = xs[0], attrs["target"]
        if target.kind == CPU:
            wait = attrs.get("wait", True)
            into = None if wait else backend.pinned_empty(x._array.shape, x._array.dtype)
            array: Any = backend.download(x._array, wait, into)
        elif x._device.kind == CPU:
            array = backend.upload(x._array, x._dtype, target, attrs.get("wait", True))
        elif target.kind == CUDA and x._device.kind == CUDA:
            array = backend.across(x._array, x._dtype, target)
        else:
            array = backend.empty(x._array.shape, x._dtype, target)
        out = wrap(array, x._dtype, target, state.inference)
        if x._needs_grad and state.grad:
            record(self, xs, 1, out, attrs)
        return out


TRANSFER = Transfer()


def transfer(x: Tensor, target: device, non_blocking: bool = False) -> Tensor:
    """The tensor on another device (a copy), or itself if it is there.

    non_blocking: a copy between host and cuda is made later, in the order of the device's stream. What is copied to
    cuda must then not be written to before.
    """
    if x._device is target:
        return x
    attrs: dict[str, Any] = {"target": target, "source": x._device}
    if non_blocking and {target.kind, x._device.kind} == {CPU, CUDA}:
        attrs["wait"] = False
    return apply(TRANSFER, (x,), attrs)


@public("Tensor")
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Convert: ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``, with non_blocking, copy.

    Returns `self` when nothing changes and `copy` is false.
    """
    target, of, always, non_blocking = _parse_to(args, kwargs)
    out = self
    if target is not None:
        out = transfer(out, backend.resolve(target), non_blocking)
    if of is not None and of is not out._dtype:
        out = cast(out, dtype=of)
    if always and out is self:
        out = clone_op(out)
    order = kwargs.get("memory_format")
    return out if order is None else _ordered(out, order)


def _parse_to(args: tuple, kwargs: dict) -> tuple[device | None, dtype | None, bool, bool]:
    target, of, flags = kwargs.get("device"), kwargs.get("dtype"), []
    for arg in args:
        if isinstance(arg, dtype):
            of = arg
        elif isinstance(arg, type) and arg in FROM_PYTHON:
            of = FROM_PYTHON[arg]
        elif isinstance(arg, Tensor):
            target, of = arg._device, arg._dtype
        elif isinstance(arg, bool):
            flags.append(arg)
        elif isinstance(arg, (device, str, int)):
            target = arg
        elif arg is not None:
            raise TypeError(f"to() received an invalid argument {arg!r}: pass a dtype, a device or a Tensor")
    unknown = set(kwargs) - {"device", "dtype", "non_blocking", "copy", "memory_format", "other"}
    if unknown:
        raise TypeError(f"to() got unexpected keyword arguments {sorted(unknown)}")
    other = kwargs.get("other")
    if other is not None:
        target, of = other._device, other._dtype
    if isinstance(of, type):
        of = FROM_PYTHON.get(of, of)
    if of is not None and not isinstance(of, dtype):
        raise TypeError(f"to(): argument 'dtype' must be dtype, not {type(of).__name__}: {of!r:.40}")
    always = kwargs.get("copy", flags[1] if len(flags) > 1 else False)
    non_blocking = kwargs.get("non_blocking", flags[0] if flags else False)
    return (device(target) if target is not None else None), of, bool(always), bool(non_blocking)


@public("Tensor")
def cpu(self: Tensor) -> Tensor:
    """The tensor in host memory."""
    return transfer(self, device("cpu"))


@public("Tensor")
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a cuda device."""
    return self.to("cuda" if device is None else device, non_blocking=non_blocking)


# ---------------------------------------------------------------- to NumPy and Python
@public("Tensor")
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """The values as an ndarray that shares memory. `force`: detach and copy to the host first where needed."""
    if force:
        return self.detach().cpu()._array
    if self._needs_grad:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead, or numpy(force=True)"
        )
    if self._device.kind != CPU:
        raise TypeError(
            f"can't convert {self._device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )
    return self._array


@public("Tensor")
def item(self: Tensor) -> Any:
    """The value of a tensor with one element as a Python number."""
    if self.numel() != 1:
        raise RuntimeError(
            f"a Tensor with {self.numel()} elements cannot be converted to Scalar (shape {list(self.shape)})"
        )
    array = self._array if self._device.kind == CPU else backend.download(self._array)
    value = array.item()
    return float(value) if self._dtype.kind == 2 else value


@public("Tensor")
def tolist(self: Tensor) -> Any:
    """The values as nested lists of Python numbers; a 0-d tensor as a number."""
    array = self._array if self._device.kind == CPU else backend.download(self._array)
    if array.dtype.kind not in "biufc":
        array = array.astype(np.float32)
    return array.tolist()
