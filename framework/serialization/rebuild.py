"""What the names in a checkpoint stand for: constructors that check what a file says before they build anything.

Their arguments come from a file that may be damaged or hostile. Each raises pickle.UnpicklingError for arguments that
no honest file has, and makes nothing larger than what it was given.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from pickle import UnpicklingError
from types import MemberDescriptorType
from typing import Any

import numpy as np

from naiad.core.copying import retype
from naiad.core.device import device
from naiad.core.dtype import dtype
from naiad.core.storage import TypedStorage, UntypedStorage
from naiad.core.tensor import Size, Tensor, wrap


class StorageType:
    """What the name of a storage class in a file stands for; without a dtype, bytes."""

    __slots__ = ("dtype", "itemsize")

    def __init__(self, dtype: dtype | None) -> None:
        self.dtype = dtype
        self.itemsize = 1 if dtype is None else dtype.itemsize


def refuse(condition: object, message: str) -> None:
    """Raise pickle.UnpicklingError with the message if the condition holds."""
    if condition:
        raise UnpicklingError(message)


def tensor_v2(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor over a typed storage. Saved hooks are ignored, as PyTorch saves none."""
    refuse(type(storage) is not TypedStorage, f"_rebuild_tensor: expected a storage, got {_kind(storage)}")
    return _tensor(storage.untyped(), storage.dtype, storage_offset, size, stride, requires_grad, metadata)


def tensor_v1(storage: Any, storage_offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor over a typed storage, as the oldest files have it."""
    return tensor_v2(storage, storage_offset, size, stride, False, None)


def tensor_v3(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    kind: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor over an untyped storage, for dtypes that have no storage class."""
    refuse(
        type(storage) is not UntypedStorage or type(kind) is not dtype,
        f"_rebuild_tensor_v3: expected an untyped storage and a dtype, got {_kind(storage)} and {_kind(kind)}",
    )
    return _tensor(storage, kind, storage_offset, size, stride, requires_grad, metadata)


def meta_tensor(kind: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    """A tensor on meta, which has no data."""
    refuse(type(kind) is not dtype, f"_rebuild_meta_tensor_no_storage: expected a dtype, got {_kind(kind)}")
    storage = UntypedStorage(None, "meta", 2**62)
    return _tensor(storage, kind, 0, size, stride, requires_grad, None)


def parameter(data: Any, requires_grad: Any, backward_hooks: Any) -> Tensor:
    """An ``nn.Parameter`` around a tensor."""
    refuse(not isinstance(data, Tensor), f"_rebuild_parameter: expected a tensor, got {_kind(data)}")
    from naiad.nn.parameter import Parameter

    _check_requires_grad(data.dtype, requires_grad)
    return Parameter(data, requires_grad)


def parameter_with_state(data: Any, requires_grad: Any, backward_hooks: Any, state: Any) -> Tensor:
    """An ``nn.Parameter`` with attributes of its own."""
    return set_attributes(parameter(data, requires_grad, backward_hooks), state)


def from_type_v2(function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor of a subclass or with attributes of its own; `function` builds the plain tensor."""
    refuse(
        not any(function is plain for plain in _PLAIN) or type(arguments) is not tuple,
        f"_rebuild_from_type_v2: {_kind(function)} does not rebuild tensors",
    )
    tensor = function(*arguments)
    if kind is not type(tensor):
        refuse(
            not (isinstance(kind, type) and issubclass(kind, Tensor)),
            f"_rebuild_from_type_v2: {_kind(kind)} is not a class of tensors",
        )
        tensor = retype(tensor, kind, tensor.requires_grad)
    return set_attributes(tensor, state)


def set_attributes(tensor: Tensor, state: Any) -> Tensor:
    """Give a tensor the attributes that were saved with it, without calling any setter.

    `state` is a dict, or a tuple of it and a dict of slots. A name that Tensor has itself is refused.
    """
    plain, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
    for part in (plain, slots):
        refuse(
            part is not None and type(part) is not dict, f"attributes of a tensor: expected a dict, got {_kind(part)}"
        )
        for name, value in (part or {}).items():
            refuse(
                type(name) is not str or name.startswith("__") or hasattr(Tensor, name),
                f"attributes of a tensor: {name!r:.100} is not a name that a file may set",
            )
            if part is plain:
                tensor.__dict__[name] = value
            else:
                slot = getattr(type(tensor), name, None)
                refuse(
                    type(slot) is not MemberDescriptorType, f"attributes of a tensor: there is no slot {name!r:.100}"
                )
                setattr(tensor, name, value)
    return tensor


_PLAIN = (tensor_v2, tensor_v3, parameter)


def size(sizes: Any = ()) -> Any:
    """A ``naiad.Size``."""
    refuse(
        type(sizes) not in (tuple, list) or any(type(n) is not int or not 0 <= n < 2**63 for n in sizes),
        "torch.Size: expected a tuple of sizes",
    )
    return Size(sizes)


def saved_device(kind: Any, index: Any = None) -> device:
    """A ``naiad.device``."""
    refuse(
        type(kind) is not str or not (index is None or (type(index) is int and 0 <= index < 2**15)),
        "torch.device: expected a type and an index",
    )
    try:
        return device(kind, index)
    except RuntimeError as error:
        raise UnpicklingError(f"the file has a device of a kind that naiad has not: {error}") from None


def encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, which pickles of protocol 2 hold as text."""
    refuse(
        type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"),
        "_codecs.encode: expected text and 'latin1'",
    )
    return text.encode("latin1")


def byte_array(*arguments: Any) -> bytearray:
    """A bytearray from bytes or from latin-1 text: never from a number, which would ask for that much memory."""
    if not arguments:
        return bytearray()
    if len(arguments) == 2:
        return bytearray(encode(*arguments))
    refuse(len(arguments) != 1 or type(arguments[0]) is not bytes, "bytearray: expected bytes")
    return bytearray(arguments[0])


def number(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    """A complex number."""
    refuse(type(real) not in (int, float) or type(imaginary) not in (int, float), "complex: expected two numbers")
    return complex(real, imaginary)


def plain_set(items: Any = ()) -> set:
    """A set."""
    refuse(type(items) not in (list, tuple), "set: expected a list")
    return set(items)


def plain_frozenset(items: Any = ()) -> frozenset:
    """A frozenset."""
    refuse(type(items) not in (list, tuple), "frozenset: expected a list")
    return frozenset(items)


def ordered_dict(items: Any = ()) -> OrderedDict:
    """An OrderedDict, empty or from pairs (as Python 2 saved it)."""
    refuse(
        type(items) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in items),
        "collections.OrderedDict: expected pairs",
    )
    return OrderedDict(items)


def counter(items: Any = None) -> Counter:
    """A Counter."""
    refuse(items is not None and type(items) is not dict, "collections.Counter: expected a dict")
    return Counter(items)


def _tensor(
    storage: UntypedStorage, kind: dtype, offset: Any, shape: Any, stride: Any, requires_grad: Any, metadata: Any
) -> Tensor:
    for part in (shape, stride):
        refuse(
            (type(part) not in (tuple, list) and not isinstance(part, tuple)) or any(type(n) is not int for n in part),
            f"_rebuild_tensor: expected a tuple of integers, got {_kind(part)}",
        )
    refuse(type(offset) is not int, f"_rebuild_tensor: the storage offset must be an integer, got {_kind(offset)}")
    _check_requires_grad(kind, requires_grad)
    try:
        array = storage.array(kind, tuple(shape), tuple(stride), offset)
    except RuntimeError as error:
        raise UnpicklingError(str(error)) from None
    if metadata is not None:
        array = _with_metadata(storage, array, metadata)
    tensor = wrap(array, kind, storage.device)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _with_metadata(storage: UntypedStorage, array: Any, metadata: Any) -> Any:
    """PyTorch saves a lazy conjugate or negative as its operand and a bit; here it becomes an array of its own."""
    refuse(
        type(metadata) is not dict
        or any(type(name) is not str or name not in ("conj", "neg") for name in metadata)
        or any(type(bit) is not bool for bit in metadata.values()),
        "_rebuild_tensor: the metadata of a tensor can only say whether 'conj' and 'neg'",
    )
    if not any(metadata.values()):
        return array
    refuse(
        not isinstance(array, np.ndarray) or array.nbytes > storage.nbytes(),
        "_rebuild_tensor: a conjugate of overlapping elements, or not on cpu, cannot be loaded",
    )
    if metadata.get("conj"):
        array = np.conjugate(array, out=np.empty_like(array))
    if metadata.get("neg"):
        array = np.negative(array, out=np.empty_like(array))
    return array


def _check_requires_grad(kind: dtype, requires_grad: Any) -> None:
    refuse(type(requires_grad) is not bool, f"requires_grad must be a bool, got {_kind(requires_grad)}")
    refuse(
        requires_grad and kind.kind < 2,
        f"only Tensors of floating point and complex dtype can require gradients, and the file asks it of {kind.name}",
    )


def _kind(value: Any) -> str:
    return type(value).__name__
