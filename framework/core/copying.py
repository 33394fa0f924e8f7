"""What `pickle` and `copy.deepcopy` do with tensors.

Tensors that share memory share it afterwards: their storage is one object, and pickle and deepcopy treat an object
that they meet again as the same.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from naiad.core import storage as storages
from naiad.core.device import CPU
from naiad.core.dtype import dtype
from naiad.core.storage import UntypedStorage
from naiad.core.tensor import Tensor, wrap


def reduce_ex(self: Tensor, protocol: Any) -> tuple:
    """The parts of a tensor for pickle: its storage, the geometry over it, and the attributes set on it."""
    array, place, offset = located(self)
    parts = (type(self), place, self._dtype, tuple(array.shape), storages.stride(array), offset, self._needs_grad)
    return (rebuild, parts, self.__dict__) if self.__dict__ else (rebuild, parts)


def located(tensor: Tensor) -> tuple[Any, UntypedStorage, int]:
    """An array with the elements of a tensor, its storage, and its offset there in elements."""
    array = tensor._array
    place = storages.storage_of(array, tensor._device)
    offset = storages.storage_offset(array)
    inside = storages.address(array) - place.data_ptr() if tensor._device.kind == CPU and array.size else None
    if inside is None or inside == offset * array.itemsize:
        return array, place, offset
    # Not a whole number of elements into the memory: a field of a structured array.
    array = array.copy()
    return array, storages.storage_of(array), 0


def rebuild(
    cls: type[Tensor],
    place: UntypedStorage,
    kind: dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    requires_grad: bool,
) -> Any:
    """What pickle calls to make a tensor again."""
    return retype(wrap(place.array(kind, shape, strides, offset), kind, place.device), cls, requires_grad)


def retype(tensor: Tensor, cls: type[Tensor], requires_grad: bool = False) -> Any:
    """A leaf of the class `cls` over the same memory as `tensor`."""
    out = tensor
    if cls is not Tensor:
        out = object.__new__(cls)
        out._array, out._dtype, out._device = tensor._array, tensor._dtype, tensor._device
        out._version = tensor._version
        out._grad = out._node = out._base = out._hooks = None
    out._needs_grad = requires_grad
    return out


def deep_copy(self: Tensor, memo: dict) -> Tensor:
    """A leaf with memory of its own, its gradient and attributes copied with it; tensors that share still share.

    Raises RuntimeError for a tensor that was computed by a recorded operation.
    """
    found = memo.get(id(self))
    if found is not None:
        return found
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. "
            f"This one, of shape {list(self.shape)}, is the result of an operation: copy a detach() of it."
        )
    array, place, offset = located(self)
    copied = memo.get(id(place))
    if copied is None:
        copied = memo[id(place)] = place.clone()
        # The original must live as long as memo, or its id might pass to another object.
        memo.setdefault(id(memo), []).append(place)
    array = copied.array(self._dtype, tuple(array.shape), storages.stride(array), offset)
    out = retype(wrap(array, self._dtype, self._device), type(self), self._needs_grad)
    memo[id(self)] = out
    if self._grad is not None:
        out._grad = deepcopy(self._grad, memo)
    if self.__dict__:
        out.__dict__.update(deepcopy(self.__dict__, memo))
    return out


METHODS = {"__reduce_ex__": reduce_ex, "__deepcopy__": deep_copy}
