"""Parameter and Buffer: tensors that a Module keeps."""

from __future__ import annotations

from typing import Any

import naiad
from naiad.core.tensor import Tensor

__all__ = ["Buffer", "Parameter"]


class Parameter(Tensor):
    """A tensor that becomes a parameter of the Module it is assigned to.

    Shares memory with ``data``; a leaf, and unless told otherwise it requires grad.
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        data = naiad.empty(0) if data is None else data
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter expects a Tensor, got {type(data).__name__}: wrap it with naiad.tensor")
        parameter = object.__new__(cls)
        parameter._array, parameter._dtype, parameter._device = data._array, data._dtype, data._device
        parameter._version = data._version
        parameter._grad = parameter._node = parameter._base = parameter._hooks = None
        parameter._needs_grad = False
        parameter.requires_grad = requires_grad
        return parameter

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> tuple:
        state = (self.__dict__,) if self.__dict__ else ()
        return _rebuild_parameter, (type(self), self.data, self.requires_grad), *state


def _rebuild_parameter(cls: type[Parameter], data: Tensor, requires_grad: bool) -> Parameter:
    """What pickle calls to make a parameter again."""
    return cls(data, requires_grad)


class _BufferType(type):
    """``isinstance(tensor, Buffer)`` asks for the mark that Buffer leaves on the tensors it makes."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(metaclass=_BufferType):
    """A tensor that becomes a buffer of the Module it is assigned to.

    It is a Tensor, marked, that shares memory with ``data``; the state_dict holds it if ``persistent``.
    """

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        data = naiad.empty(0) if data is None else data
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer
