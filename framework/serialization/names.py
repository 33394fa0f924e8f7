"""The names that checkpoints use, PyTorch's, and what they are here."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from naiad.core import dtype as dtypes
from naiad.core.device import device
from naiad.core.dtype import dtype
from naiad.core.tensor import Size, Tensor
from naiad.serialization import rebuild

# Storage classes carry the dtype of the tensors over them.
STORAGE_NAMES = {
    dtypes.bool: "BoolStorage",
    dtypes.uint8: "ByteStorage",
    dtypes.int8: "CharStorage",
    dtypes.int16: "ShortStorage",
    dtypes.int32: "IntStorage",
    dtypes.int64: "LongStorage",
    dtypes.float16: "HalfStorage",
    dtypes.bfloat16: "BFloat16Storage",
    dtypes.float32: "FloatStorage",
    dtypes.float64: "DoubleStorage",
    dtypes.complex64: "ComplexFloatStorage",
    dtypes.complex128: "ComplexDoubleStorage",
}


class Known(NamedTuple):
    """What a name stands for, and what calling it may do (None: it is no callable, or only a class to mention)."""

    value: Any
    call: Callable | None = None


class GlobalName:
    """A name to be written into a checkpoint as it is, whether or not it can be imported here."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise TypeError(f"{self.module}.{self.name} is a name in a checkpoint, not a function")


TENSOR_V2 = GlobalName("torch._utils", "_rebuild_tensor_v2")
TENSOR_V3 = GlobalName("torch._utils", "_rebuild_tensor_v3")
META_TENSOR = GlobalName("torch._utils", "_rebuild_meta_tensor_no_storage")
PARAMETER = GlobalName("torch._utils", "_rebuild_parameter")
PARAMETER_WITH_STATE = GlobalName("torch._utils", "_rebuild_parameter_with_state")
FROM_TYPE = GlobalName("torch._tensor", "_rebuild_from_type_v2")
DEVICE = GlobalName("torch", "device")
SIZE = GlobalName("torch", "Size")
UNTYPED_STORAGE = GlobalName("torch.storage", "UntypedStorage")
STORAGES = {kind: GlobalName("torch", name) for kind, name in STORAGE_NAMES.items()}
DTYPES = {kind: GlobalName("torch", kind.name) for kind in dtypes.ALL}


@cache
def class_names() -> dict[type, GlobalName]:
    """naiad's classes that have the name of PyTorch's in a checkpoint."""
    from naiad.nn.parameter import Parameter

    return {
        Tensor: GlobalName("torch", "Tensor"),
        Parameter: GlobalName("torch.nn.parameter", "Parameter"),
        Size: SIZE,
        device: DEVICE,
        dtype: GlobalName("torch", "dtype"),
    }


@cache
def known_names() -> dict[str, Known]:
    """All that a file may name: data and the checked constructors, and no other callable."""
    constructors: dict[GlobalName, Callable] = {
        TENSOR_V2: rebuild.tensor_v2,
        TENSOR_V3: rebuild.tensor_v3,
        GlobalName("torch._utils", "_rebuild_tensor"): rebuild.tensor_v1,
        META_TENSOR: rebuild.meta_tensor,
        PARAMETER: rebuild.parameter,
        PARAMETER_WITH_STATE: rebuild.parameter_with_state,
        FROM_TYPE: rebuild.from_type_v2,
        GlobalName("_codecs", "encode"): rebuild.encode,
    }
    classes = class_names()
    known = {f"{name.module}.{name.name}": Known(function, function) for name, function in constructors.items()}
    known |= {f"{name.module}.{name.name}": Known(kind) for kind, name in classes.items()}
    known["torch.Size"] = Known(known["torch.Size"].value, rebuild.size)
    known["torch.device"] = Known(device, rebuild.saved_device)
    known |= {
        "collections.OrderedDict": Known(OrderedDict, rebuild.ordered_dict),
        "collections.Counter": Known(Counter, rebuild.counter),
        "builtins.set": Known(set, rebuild.plain_set),
        "builtins.frozenset": Known(frozenset, rebuild.plain_frozenset),
        "builtins.bytearray": Known(bytearray, rebuild.byte_array),
        "builtins.complex": Known(complex, rebuild.number),
    }
    known |= {f"torch.{kind.name}": Known(kind) for kind in dtypes.ALL}
    for kind, name in STORAGE_NAMES.items():
        known[f"torch.{name}"] = Known(rebuild.StorageType(kind))
    for module in ("torch", "torch.storage"):
        known[f"{module}.UntypedStorage"] = Known(rebuild.StorageType(None))
    return known
