"""Parameter and Buffer: tensors that a Module keeps."""

from __future__ import annotations

from typing import Any

import naiad
from naiad.core.tensor import Tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


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


_UNSET = (
    "Attempted to use an uninitialized parameter. This error happens when you are using a `LazyModule` or explicitly "
    "manipulating `naiad.nn.parameter.UninitializedParameter` objects. When using LazyModules Call `forward` with a "
    "dummy batch to initialize the parameters before calling naiad functions"
)


class _Uninitialized(Tensor):
    """What has a dtype and a device and will get its shape and memory from ``materialize``."""

    __slots__ = ()
    _becomes: type[Tensor]

    @property
    def _array(self) -> Any:  # where the memory would be: every operation asks for it
        raise ValueError(_UNSET)

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call "
            "`forward` to initialize the parameters before accessing their attributes."
        )

    @property
    def data(self) -> Tensor:
        """An empty tensor of this dtype on this device; assigning one takes over its dtype and device."""
        return naiad.empty(0, dtype=self._dtype, device=self._device)

    @data.setter
    def data(self, value: Tensor) -> None:
        self._dtype, self._device = value.dtype, value.device

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary parameter or buffer of this shape, with unset values."""
        data = naiad.empty(shape, device=device or self._device, dtype=dtype or self._dtype)
        me: Any = self
        me.__class__ = self._becomes
        me._array, me._dtype, me._device = data._array, data._dtype, data._device

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild_uninitialized, (type(self), self._needs_grad, self._device, self._dtype)

    def __deepcopy__(self, memo: dict) -> Any:
        if id(self) not in memo:
            memo[id(self)] = _rebuild_uninitialized(type(self), self._needs_grad, self._device, self._dtype)
        return memo[id(self)]


def _rebuild_uninitialized(cls: type[Tensor], requires_grad: bool, device: Any, dtype: Any) -> Any:
    """A fresh one; ``requires_grad`` is set as it was, since a buffer and a parameter differ in the default."""
    made = object.__new__(cls)
    place = naiad.empty(0, dtype=dtype, device=device)
    made._dtype, made._device, made._version = place._dtype, place._device, [0, None]
    made._grad = made._node = made._base = made._hooks = None
    made._needs_grad = requires_grad
    return made


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known yet: any operation on it but ``materialize`` is an error."""

    __slots__ = ()
    _becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _rebuild_uninitialized(cls, requires_grad, device, dtype)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape is not known yet: any operation on it but ``materialize`` is an error."""

    __slots__ = ()
    _becomes = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        made = _rebuild_uninitialized(cls, requires_grad, device, dtype)
        made.persistent, made._is_buffer = persistent, True
        return made


def is_lazy(param: Any) -> bool:
    """Whether this is a parameter or buffer that has no shape yet."""
    return isinstance(param, _Uninitialized)
