"""Moving a Module between devices and dtypes. Parameters keep their identity, so optimizers keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import naiad
from naiad.core.dtype import FROM_PYTHON
from naiad.core.tensor import Tensor
from naiad.nn.modules._tables import Tables
from naiad.nn.parameter import Parameter, is_lazy

Self = TypeVar("Self", bound="Conversion")


class Conversion(Tables):
    """The part of Module that converts tensors in place."""

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every parameter, gradient and buffer by ``fn`` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = _converted(parameter, fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = _lazily_converted(buffer, fn) if is_lazy(buffer) else fn(buffer)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(tensor)`` or ``to(memory_format=...)``.

        Only floating-point and complex tensors change dtype; all change device.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Tensor) -> Tensor:
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            if memory_format is not None and t.dim() in (4, 5):
                return t.to(device, wanted, non_blocking, memory_format=memory_format)
            if device is None:
                return t if wanted is None else t.to(wanted, non_blocking)
            return t.to(device, wanted, non_blocking)

        return self._apply(convert)

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Move to a device without copying values: storage there is left unset."""
        return self._apply(lambda t: naiad.empty_like(t, device=device), recurse=recurse)

    def cpu(self: Self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self: Self, device: Any = None) -> Self:
        """Move to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def type(self: Self, dst_type: Any) -> Self:
        """Cast every parameter and buffer, integer ones too."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self: Self) -> Self:
        """Cast floating-point tensors to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self: Self) -> Self:
        """Cast floating-point tensors to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self: Self) -> Self:
        """Cast floating-point tensors to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self: Self) -> Self:
        """Cast floating-point tensors to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)


def _converted(parameter: Parameter, fn: Callable[[Tensor], Tensor]) -> Parameter:
    """``parameter`` with its data (and gradient) replaced by ``fn`` of it."""
    if is_lazy(parameter):
        return _lazily_converted(parameter, fn)
    with naiad.no_grad():
        data = fn(parameter.data)
        grad = None if parameter.grad is None else fn(parameter.grad.data)
    if (data.device.type == "meta") != (parameter.device.type == "meta"):
        # Storage appears or vanishes: the old Parameter keeps what it had, as in PyTorch.
        moved = type(parameter)(data, parameter.requires_grad)
        moved.grad = grad
        return moved
    held = parameter.grad
    if held is not None and grad is not None:
        parameter.grad = None  # a gradient must match its parameter while either is being swapped
        parameter.data = data
        held.data = grad
        parameter.grad = held
    else:
        parameter.data = data
    return parameter


def _lazily_converted(tensor: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    """What has no memory yet only changes the dtype and device that it will have."""
    with naiad.no_grad():
        tensor.data = fn(tensor.data)
    return tensor


def _parse_to(
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
    tensor: Tensor | None = None,
) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) from the argument forms that ``to`` takes."""
    del copy  # accepted and without effect, as in PyTorch
    rest: list[Any] = [FROM_PYTHON.get(a, a) if isinstance(a, type) else a for a in args]
    dtype = FROM_PYTHON.get(dtype, dtype) if isinstance(dtype, type) else dtype
    if rest and isinstance(rest[0], Tensor):
        tensor = rest.pop(0)
    elif rest and isinstance(rest[0], naiad.dtype):
        dtype = rest.pop(0)
    elif rest:
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], naiad.dtype)):
            dtype = rest.pop(0)
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    if rest and isinstance(rest[0], bool):
        non_blocking = rest.pop(0)
        rest = rest[1:] if rest and isinstance(rest[0], bool) else rest
    if rest:
        raise TypeError(f"to() received an invalid combination of arguments: {args!r}")
    return None if device is None else naiad.device(device), dtype, non_blocking, memory_format
