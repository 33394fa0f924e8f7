"""Making tensors from numbers, sizes and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CPU_DEVICE, device
from naiad.core.dispatch import deliver, number_dtype
from naiad.core.dtype import FLOAT, FROM_NUMPY, FROM_PYTHON, INT, dtype, int64, promote_types
from naiad.core.dtype import bool as bool_
from naiad.core.dtype import dtype as DType
from naiad.core.dtype import from_numpy as dtype_of
from naiad.core.op import public
from naiad.core.primitive import factory
from naiad.core.quiet import quietly
from naiad.core.state import current, default_device, default_dtype
from naiad.core.tensor import Size, Tensor, wrap
from naiad.ops.convert import fit, transfer


@factory(kernel="copy.fill", parts="whole", name="full_op")
def full_op(*, shape: tuple[int, ...], value: Any, dtype: dtype, device: device) -> np.ndarray:
    """A tensor filled with one number."""
    return np.full(shape, value, dtype.np)


def home(target: Any) -> device:
    """The device for a new tensor."""
    return backend.resolve(default_device() if target is None else device(target))


def finish(tensor: Tensor, requires_grad: bool) -> Tensor:
    """Set what every creation function takes as `requires_grad`."""
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def shape_from(size: tuple, named: Any = None) -> tuple[int, ...]:
    """Sizes given as numbers, as one sequence, or as `size=`."""
    if named is not None:
        if size:
            raise TypeError("the size was given twice: by position and as size=")
        size = (named,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    result = tuple([whole(s, "size") for s in size])
    if result and min(result) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension in size {list(result)}")
    return result


def listed(name: str, size: Any) -> tuple[int, ...]:
    """Sizes that must come as a sequence. Raises TypeError for a number."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"{name}(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    return shape_from((size,))


def whole(value: Any, what: str) -> int:
    """An int, or what Python takes for one: NumPy's ints, tensors of one. Raises TypeError for floats and all else."""
    try:
        return index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"argument '{what}' must be int or a tuple of ints, not {kind}: {value!r:.40}") from None


def _filled(
    value: int, sizes: tuple, size: Any, out: Tensor | None, of: dtype | None, target: Any, requires_grad: bool
) -> Tensor:
    if out is not None and of is None:
        of = out._dtype
    if not sizes and size is None:
        raise TypeError(f'{"ones" if value else "zeros"}() missing 1 required positional arguments: "size"')
    shape, of = shape_from(sizes, size), of or default_dtype()
    state = current()
    if target is None and default_device() is CPU_DEVICE and not state.modes:  # the usual case, without detours
        array = np.zeros(shape, of.np) if value == 0 else np.full(shape, value, of.np)
        made = wrap(array, of, CPU_DEVICE, state.inference)
    else:
        made = full_op(shape=shape, value=value, dtype=of, device=home(target))
    return finish(made, requires_grad) if out is None else deliver(made, out)


def placed(array: np.ndarray, target: Any, requires_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """A new tensor with the values of a fresh ndarray, on the device that a creation function was asked for."""
    made = transfer(wrap(array, FROM_NUMPY[array.dtype], CPU_DEVICE, current().inference), home(target))
    return finish(made, requires_grad) if out is None else deliver(made, out)


@public("naiad", samples=lambda s: [s.call((2, 3), 1.5), s.call((2,), 7), s.call((), True), s.call((0, 2), 1)])
def full(
    size: Any,
    fill_value: Any,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of `size` filled with `fill_value`; the dtype follows the number."""
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    if not isinstance(value, (int, float, complex)):
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(value).__name__}")
    if dtype is None:
        dtype = number_dtype(value)
    made = full_op(
        shape=listed("full", size),
        value=fit(dtype, value),
        dtype=dtype,
        device=home(device),
    )
    return finish(made, requires_grad) if out is None else deliver(made, out)


@public("naiad", samples=lambda s: [s.call(2, 3), s.call((2, 3)), s.call([0, 2]), s.call(()), s.call(size=(2, 1))])
def zeros(
    *sizes: Any,
    size: Any = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Zeros of a size."""
    return _filled(0, sizes, size, out, dtype, device, requires_grad)


@public("naiad", samples=lambda s: [s.call(2, 3), s.call((2, 3)), s.call([0, 2]), s.call(())])
def ones(
    *sizes: Any,
    size: Any = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Ones of a size."""
    return _filled(1, sizes, size, out, dtype, device, requires_grad)


@public("naiad")
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares memory with an ndarray.

    Raises TypeError for dtypes without a counterpart, ValueError for negative strides or foreign byte order.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    of = dtype_of(ndarray.dtype)
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Use .astype to convert"
        )
    if any(s < 0 for s in ndarray.strides):
        raise ValueError("At least one stride in the given numpy array is negative. Copy it first: array.copy()")
    return wrap(ndarray, of, CPU_DEVICE, current().inference)


@public("naiad")
def tensor(
    data: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor with a copy of `data`: nested sequences, numbers, an ndarray or a Tensor (copied, detached)."""
    if dtype is not None and not isinstance(dtype, DType):
        dtype = FROM_PYTHON.get(dtype) if isinstance(dtype, type) else dtype
        if not isinstance(dtype, DType):
            raise TypeError(f"tensor(): argument 'dtype' must be dtype, not {type(dtype).__name__}")
    array = array_from(data, dtype)
    fresh = wrap(array, FROM_NUMPY[array.dtype], CPU_DEVICE, current().inference)
    target = home(device) if device is not None or not isinstance(data, Tensor) else data._device
    return finish(fresh.to(target), requires_grad)


def array_from(data: Any, of: dtype | None) -> np.ndarray:
    """A fresh C-ordered ndarray with the values of `data`, in `of` or the dtype that PyTorch would infer."""
    if isinstance(data, Tensor):
        data = data.detach().cpu()._array
    if isinstance(data, (np.ndarray, np.generic)):
        chosen = of or dtype_of(data.dtype)
        return quietly(np.array, data, chosen.np, order="C")
    kinds: dict[Any, Any] = {}
    unpacked = _unpack(data, kinds)
    try:
        array = np.array(unpacked)
    except ValueError as error:
        raise ValueError(f"tensor(): the nested sequences have different lengths: {error}") from None
    if of is None or array.dtype.kind in "US":
        of = _inferred(data, kinds)
    if array.dtype == object:
        if not _all_ints(unpacked):
            raise TypeError(f"tensor(): could not make numbers of {data!r:.80}")
        raise ValueError("Overflow when unpacking long long: an integer does not fit int64")
    if of.kind == INT and array.dtype != of.np and array.size and array.dtype.kind in "iuf":
        _check_fits(array, of)
    if array.dtype.kind == "c" and of.kind in (INT, FLOAT):
        raise TypeError(f"tensor(): must be real number, not complex, for {of.name}")
    return quietly(np.asarray, array, of.np, order="C")


def _check_fits(array: np.ndarray, of: dtype) -> None:
    if of is int64 and array.dtype.kind != "f":
        raise ValueError("Overflow when unpacking long long: an integer does not fit int64")
    info = np.iinfo(of.np)
    low = info.min or -info.max  # unsigned numbers wrap
    if not (array.min() >= low and array.max() <= info.max):
        raise RuntimeError(f"tensor(): a value cannot be converted to type {of.name} without overflow")


def _all_ints(data: Any) -> bool:
    return all(_all_ints(d) for d in data) if isinstance(data, (list, tuple)) else isinstance(data, int)


_PYTHON = frozenset((int, float, bool, complex))


def _unpack(data: Any, kinds: dict[Any, Any]) -> Any:
    """Sequences with tensors and arrays in them as sequences of numbers; `kinds` gets each kind, with one of it.

    A tensor of one element among them is a number, whatever its dimensions. Raises ValueError for larger ones.
    """
    if isinstance(data, (list, tuple, range)):
        types = set(map(type, data))
        if types <= _PYTHON or all([kind in _PYTHON or issubclass(kind, np.generic) for kind in types]):
            for kind in types:
                kinds[kind] = kind
            return data
        return [_unpack(d, kinds) for d in data]
    if isinstance(data, Tensor):
        kinds[data._dtype] = data
        if data.numel() != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, got shape {list(data.shape)}: "
                "join larger ones with stack() or cat()"
            )
        return data.item()
    if hasattr(data, "__array__") and not isinstance(data, (np.ndarray, np.generic)):
        data = np.asarray(data)
    elif isinstance(data, Sequence) and not isinstance(data, str):
        return _unpack(list(data), kinds)
    kinds[data.dtype if isinstance(data, np.ndarray) else type(data)] = data
    return data


def _inferred(data: Any, kinds: dict[Any, Any]) -> dtype:
    """Python floats have the default dtype, ints int64, all else its own; the dtype that all of them promote to."""
    found: dtype | None = None
    for kind, example in kinds.items():
        of = _dtype_of_kind(kind, example, data)
        found = of if found is None else promote_types(found, of)
    return default_dtype() if found is None else found


def _dtype_of_kind(kind: Any, example: Any, data: Any) -> dtype:
    if isinstance(kind, dtype):
        return kind
    if isinstance(kind, np.dtype):
        return dtype_of(kind)
    if issubclass(kind, np.generic):
        return dtype_of(np.dtype(kind))
    if issubclass(kind, bool):
        return bool_
    if issubclass(kind, int):
        return int64
    if issubclass(kind, float):
        return default_dtype()
    if issubclass(kind, complex):
        return default_dtype().to_complex()
    if issubclass(kind, str):
        first = data
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        if first is not data and isinstance(first, str):
            raise ValueError("too many dimensions 'str': tensor() is made of numbers")
        raise TypeError(f"new(): invalid data type 'str': tensor() is made of numbers, got {example!r:.40}")
    raise RuntimeError(f"Could not infer dtype of {kind.__name__}: tensor() is made of numbers, got {example!r:.40}")


def legacy_tensor(cls: type, *args: Any, device: Any = None, dtype: dtype | None = None) -> Tensor:
    """`Tensor(2, 3)` (uninitialized), `Tensor([1, 2])`, `Tensor(other)`: the constructor of old scripts."""
    of = dtype or default_dtype()
    if not args:
        made = zeros(0, dtype=of, device=device)
    elif len(args) == 1 and isinstance(args[0], Tensor):
        made = args[0].detach()
    elif all(isinstance(a, int) for a in args) or isinstance(args[0], Size):
        made = zeros(*args, dtype=of, device=device)
    elif len(args) == 1:
        if isinstance(args[0], (float, complex)):
            raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
        made = tensor(args[0], dtype=of, device=device)
    else:
        raise TypeError(f"Tensor(): expected sizes, a sequence or a Tensor, got {args!r:.80}")
    return made if cls is Tensor else as_subclass(made, cls)


def as_subclass(tensor: Tensor, cls: type) -> Any:
    """The same tensor as an instance of a subclass of Tensor."""
    out: Any = object.__new__(cls)
    for slot in ("_array", "_dtype", "_device", "_needs_grad", "_version", "_grad", "_node", "_base", "_hooks"):
        setattr(out, slot, getattr(tensor, slot))
    return out


def as_tensor_operand(value: Any, like: Tensor) -> Tensor:
    """A number or sequence as a tensor beside another one, on its device."""
    return tensor(value, device=like._device)
