"""Conversions by name (`t.float()`, `t.type("torch.LongTensor")`) and the typed constructors of old scripts."""

from __future__ import annotations

from typing import Any

from naiad.core import dtype as dtypes
from naiad.core.device import CPU, CUDA
from naiad.core.dtype import dtype
from naiad.core.op import PUBLIC, public
from naiad.core.state import set_default_dtype
from naiad.core.tensor import Tensor
from naiad.ops.convert import cast, transfer
from naiad.ops.creation import home, legacy_tensor

_METHODS = {
    "bool": dtypes.bool,
    "byte": dtypes.uint8,
    "char": dtypes.int8,
    "short": dtypes.int16,
    "int": dtypes.int32,
    "long": dtypes.int64,
    "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16,
    "float": dtypes.float32,
    "double": dtypes.float64,
    "cfloat": dtypes.complex64,
    "cdouble": dtypes.complex128,
}
_CONVERTED: Any = lambda s: [s.call(s.fixed([1.6, -2.3])), s.call(s.ints(3)), s.call(s.bools(2))]  # noqa: E731


def _conversion(name: str, of: dtype) -> None:
    def call(self: Tensor, memory_format: Any = None) -> Tensor:
        return self if self._dtype is of else cast(self, dtype=of)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The tensor as {of.name}: itself where it is that already."
    public("Tensor", name=name, samples=_CONVERTED)(call)


for _name, _of in _METHODS.items():
    _conversion(_name, _of)


@public("Tensor", samples=lambda s: [s.call(s.fixed([1.6, -2.3]), s.ints(2)), s.call(s.ints(2), s(2, 3))])
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype, and on the device, of another."""
    return self.to(other._device, other._dtype)


# ---------------------------------------------------------------- constructors
class _TypedConstructor(type):
    """`FloatTensor(2, 3)` makes a tensor, `isinstance(t, FloatTensor)` asks for its dtype and device."""

    dtype: dtype
    device_kind: int

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        where = "cuda" if device is None and cls.device_kind == CUDA else device
        if len(args) == 1 and isinstance(args[0], Tensor):
            if args[0]._dtype is not cls.dtype:
                raise TypeError(f"expected {cls.dtype!r} (got {args[0].dtype!r}): convert it with .to(dtype)")
            return transfer(args[0], home(where)).detach()
        return legacy_tensor(Tensor, *args, dtype=cls.dtype, device=where)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x._dtype is cls.dtype and x._device.kind == cls.device_kind


_TYPES = {
    "BoolTensor": dtypes.bool,
    "ByteTensor": dtypes.uint8,
    "CharTensor": dtypes.int8,
    "ShortTensor": dtypes.int16,
    "IntTensor": dtypes.int32,
    "LongTensor": dtypes.int64,
    "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16,
    "FloatTensor": dtypes.float32,
    "DoubleTensor": dtypes.float64,
}
_TYPE_NAMES = {of: name for name, of in _TYPES.items()}
CUDA_TYPES: dict[str, Any] = {}  # for naiad.cuda

for _name, _of in _TYPES.items():
    for _kind, _space, _module in ((CPU, PUBLIC["naiad"], "naiad"), (CUDA, CUDA_TYPES, "naiad.cuda")):
        _facts = {"dtype": _of, "device_kind": _kind, "__module__": _module, "__doc__": f"Tensors of {_of.name}."}
        _space[_name] = _TypedConstructor(_name, (), _facts)


def _parse_type(wanted: Any) -> tuple[dtype, int | None]:
    """The dtype and device kind that `type()` was asked for: a dtype, "torch.FloatTensor" or the constructor."""
    if isinstance(wanted, dtype):
        return wanted, None
    if isinstance(wanted, _TypedConstructor):
        return wanted.dtype, wanted.device_kind
    if wanted is Tensor:
        return dtypes.float32, CPU
    if isinstance(wanted, str):
        *space, name = wanted.split(".")
        if name in _TYPES and space[:1] in (["torch"], ["naiad"]) and space[1:] in ([], ["cuda"]):
            return _TYPES[name], CUDA if space[1:] else CPU
    raise ValueError(
        f"type(): invalid type: {wanted!r}. Use a dtype, such as float32, or a name such as 'torch.FloatTensor'"
    )


@public("Tensor")
def type(self: Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
    """Without an argument the type's name in PyTorch, such as 'torch.FloatTensor'; else the tensor converted to it."""
    if dtype is None:
        name = _TYPE_NAMES.get(self._dtype) or f"Complex{'Double' if self._dtype.itemsize == 16 else 'Float'}Tensor"
        return f"torch.{'cuda.' if self._device.kind == CUDA else ''}{name}"
    of, kind = _parse_type(dtype)
    moved = self if kind in (None, self._device.kind) else transfer(self, home("cuda" if kind == CUDA else "cpu"))
    return moved if moved._dtype is of else cast(moved, dtype=of)


@public("naiad")
def set_default_tensor_type(t: Any) -> None:
    """Make a floating-point type the default dtype; see set_default_dtype."""
    of, kind = _parse_type(t)
    if kind == CUDA:
        raise RuntimeError("set_default_tensor_type: use set_default_device('cuda') for tensors on cuda by default")
    set_default_dtype(of)
