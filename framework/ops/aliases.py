"""Functions that PyTorch also has as methods, or the other way round, and a few small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.guard import check_tensor
from naiad.core.op import PUBLIC, public
from naiad.core.state import no_grad
from naiad.core.tensor import Tensor
from naiad.ops.creation import legacy_tensor

_METHODS = PUBLIC["Tensor"]

for _name in ("fill_", "zero_", "round_", "conj_physical_", "addmv_", "ldexp_"):
    if _name not in PUBLIC["naiad"]:
        PUBLIC["naiad"][_name] = _METHODS[_name]


@public("naiad")
def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


@public("naiad")
def detach_(input: Tensor) -> Tensor:
    """Forget a tensor's history."""
    return input.detach_()


@public("naiad", samples=lambda s: [s.call(s(2)), s.call(s.ints(2)), s.call(s.bools(2))])
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input._dtype.is_signed


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2))])
def is_neg(input: Tensor) -> bool:
    """False: negatives are computed at once here."""
    check_tensor("is_neg", input)
    return False


@public("naiad")
def get_device(input: Tensor) -> int:
    """The index of a tensor's cuda device, -1 for the CPU."""
    return input.get_device()


@public("naiad")
def typename(obj: Any) -> str:
    """The name of a tensor's type, such as 'torch.FloatTensor', or of any object's class."""
    if isinstance(obj, Tensor):
        return obj.type()
    of = obj if isinstance(obj, type) else type(obj)
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


@public("naiad", samples=lambda s: [s.call(s(2, 3), s(3)), s.call(s(3), 2.0, alpha=3)])
def rsub(input: Tensor, other: Tensor | complex, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return other - (input if alpha == 1 else input * alpha)


@public("Tensor")
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal; `wrap`: again below it in tall matrices. All sizes equal past two dims."""
    shape = self._array.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise RuntimeError(f"fill_diagonal_: dimensions must be of equal length (2 or more of them), got {list(shape)}")
    if len(shape) == 2 and wrap and shape[0] > shape[1]:
        keep = np.zeros(shape, np.bool_)
        np.fill_diagonal(keep, True, wrap=True)
        rows, columns = np.nonzero(keep)
    else:
        index = np.arange(min(shape))
        rows, columns = index, index
    places = (rows, columns) if len(shape) == 2 else (rows,) * len(shape)
    self[tuple(PUBLIC["naiad"]["from_numpy"](i.astype(np.int64)) for i in places)] = fill_value
    return self


@public("Tensor")
def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by `callable(element)`, one by one on the CPU. Not recorded: for scripts' odd corners."""
    if self._device.type != "cpu":
        raise TypeError("apply_ is only implemented on CPU tensors")
    if self._needs_grad:
        raise RuntimeError("Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead.")
    with no_grad():
        flat = [callable(v) for v in self._array.reshape(-1).tolist()]
        return self.copy_(PUBLIC["naiad"]["tensor"](flat, dtype=self._dtype).reshape(self._array.shape))


@public("Tensor")
def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this one's dtype, made as `Tensor(...)` makes one."""
    return legacy_tensor(Tensor, *args, dtype=self._dtype, device=self._device if device is None else device)
