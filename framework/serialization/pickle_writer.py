"""Writes the pickle inside a checkpoint: PyTorch's names for what both libraries have, plain pickling for the rest."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

from naiad.core.copying import located
from naiad.core.device import device
from naiad.core.dtype import dtype, uint8
from naiad.core.storage import TypedStorage, UntypedStorage, stride
from naiad.core.tensor import Tensor
from naiad.serialization import names
from naiad.serialization.names import GlobalName, class_names

# Python's pickler written in Python; typeshed does not show what a subclass needs of it.
_PythonPickler: Any = pickle._Pickler


class CheckpointPickler(_PythonPickler):
    """Pickles one object; `storages` holds afterwards what its tensors lie in, by the key of its record.

    The pickler is Python's own in Python (not the faster one in C), because only that one can be taught to write a
    name, such as ``torch._utils._rebuild_tensor_v2``, that cannot be imported here.
    """

    def __init__(self, protocol: int = 2) -> None:
        self._output = io.BytesIO()
        super().__init__(self._output, protocol)
        self.storages: dict[str, UntypedStorage] = {}
        self._keys: dict[int, tuple[str, dtype]] = {}

    def pickled(self, obj: Any) -> bytes:
        """The pickle of the object."""
        self.dump(obj)
        return self._output.getvalue()

    def persistent_id(self, obj: Any) -> tuple | None:
        """The id under which a storage is written as a record of its own; None for anything else."""
        if type(obj) is TypedStorage:
            return self._storage_id(obj.untyped(), obj.dtype, names.STORAGES[obj.dtype], obj.size())
        if type(obj) is UntypedStorage:
            return self._storage_id(obj, uint8, names.UNTYPED_STORAGE, obj.nbytes())
        return None

    def _storage_id(self, storage: UntypedStorage, kind: dtype, name: GlobalName, count: int) -> tuple:
        known = self._keys.get(id(storage))
        if known is None:
            known = self._keys[id(storage)] = (str(len(self._keys)), kind)
            self.storages[known[0]] = storage
        elif known[1] is not kind:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{known[1]!r} and {kind!r}; save a clone() of one of them"
            )
        return ("storage", name, known[0], str(storage.device), count)

    def reducer_override(self, obj: Any) -> Any:
        """PyTorch's form for tensors, sizes and devices; everything else pickles as it always does."""
        if isinstance(obj, Tensor):
            return self._reduce_tensor(obj)
        kind = type(obj)
        if kind is device:
            return names.DEVICE, (obj.type,) if obj.index is None else (obj.type, obj.index)
        if isinstance(obj, tuple) and class_names().get(kind) is names.SIZE:
            return names.SIZE, (tuple(obj),)
        return NotImplemented

    def _reduce_tensor(self, tensor: Tensor) -> tuple:
        names_of = class_names()
        state = attributes(tensor)
        if names_of.get(type(tensor)) is names_of[Tensor]:
            function, arguments = self._plain(tensor)
        elif type(tensor) in names_of:
            function, arguments = names.PARAMETER, (tensor.data, tensor.requires_grad, OrderedDict())
            if state:
                return names.PARAMETER_WITH_STATE, (*arguments, state)
        else:  # a user's subclass
            function, arguments = self._plain(tensor)
            return names.FROM_TYPE, (function, type(tensor), arguments, state)
        return (names.FROM_TYPE, (function, type(tensor), arguments, state)) if state else (function, arguments)

    def _plain(self, tensor: Tensor) -> tuple:
        array, size = tensor._array, tuple(tensor.shape)
        if tensor.device.type == "meta":
            return names.META_TENSOR, (tensor.dtype, size, stride(array), tensor.requires_grad)
        array, storage, offset = located(tensor)
        typed = TypedStorage(storage, tensor.dtype)
        return names.TENSOR_V2, (typed, offset, size, stride(array), tensor.requires_grad, OrderedDict())

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write a class or function as its name: PyTorch's for the classes that both libraries have."""
        known = class_names().get(obj) if isinstance(obj, type) else None
        if known is None:
            super().save_global(obj, name)
        else:
            self._save_name(known)

    def _save_name(self, name: GlobalName) -> None:
        if id(name) in self.memo:
            self.write(self.get(self.memo[id(name)][0]))
            return
        self.write(pickle.GLOBAL + f"{name.module}\n{name.name}\n".encode("ascii"))
        self.memoize(name)

    def _save_dtype(self, kind: dtype) -> None:
        self._save_name(names.DTYPES[kind])

    dispatch = {
        **_PythonPickler.dispatch,
        GlobalName: _save_name,
        dtype: _save_dtype,
    }


def attributes(tensor: Tensor) -> dict[str, Any]:
    """The attributes that somebody has set on this very tensor."""
    return dict(getattr(tensor, "__dict__", None) or {})
