"""What Python and NumPy ask of a tensor: conversions to numbers and arrays, iteration, membership."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from naiad.core.op import PUBLIC
from naiad.core.tensor import Tensor
from naiad.ops.creation import from_numpy

_METHODS = PUBLIC["Tensor"]


def _one(self: Tensor, what: str) -> Any:
    value = self.item()
    if isinstance(value, complex) and what != "complex":
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {what} without overflow: {value}")
        value = value.real
    return value


def _to_number(kind: Callable) -> Callable:
    name = kind.__name__

    def convert(self: Tensor) -> Any:
        if self.numel() != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars: {name}() of shape {list(self.shape)}"
            )
        return kind(_one(self, name))

    convert.__name__ = f"__{name}__"
    convert.__doc__ = f"The value of a tensor with one element, as {name}."
    return convert


def __index__(self: Tensor) -> int:
    """The value of an integer tensor with one element, where Python wants an index."""
    if self.numel() != 1 or self._dtype.kind > 1:
        raise TypeError(
            "only integer tensors of a single element can be converted to an index, not "
            f"{self.dtype} of shape {list(self.shape)}"
        )
    return int(self.item())


def __iter__(self: Tensor) -> Iterator[Tensor]:
    """Views of the slices along the first dimension."""
    if not self._array.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(_METHODS["unbind"](self, 0))


def __reversed__(self: Tensor) -> Tensor:
    """Flipped along the first dimension."""
    return _METHODS["flip"](self, 0) if self._array.shape else self


def __contains__(self: Tensor, element: Any) -> bool:
    """Whether any element equals `element`, a number or a tensor."""
    if not isinstance(element, (Tensor, int, float, complex)):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool((self == element).any())


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The values as an ndarray, sharing memory unless `dtype` or `copy` ask for another."""
    array = _METHODS["numpy"](self)
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(f"__array__: {self.dtype} as {np.dtype(dtype)} needs a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def __array_wrap__(self: Tensor, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Tensor:
    """What NumPy computed from a tensor, as a tensor."""
    array = np.asarray(array)
    return from_numpy(array)


for _kind in (float, int, complex):
    _METHODS[f"__{_kind.__name__}__"] = _to_number(_kind)
for _function in (__index__, __iter__, __reversed__, __contains__, __array__, __array_wrap__):
    _METHODS[_function.__name__] = _function
