"""How tensors are shown: repr, str and f-strings."""

from __future__ import annotations

from typing import Any

from naiad.core import backend
from naiad.core.device import CPU
from naiad.core.op import PUBLIC
from naiad.core.printing import format_tensor, tensor_str
from naiad.core.state import default_device, default_dtype
from naiad.core.tensor import Tensor

_META = "meta"


def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    """The values with what is not the default: device, dtype, history."""
    home = self._device
    if home.type == _META:
        array = None
    else:
        array = self._array if home.kind == CPU else backend.download(self._array)
    shown = home.type != "cpu" or default_device().type not in ("cpu", _META)
    return tensor_str(
        array,
        self._dtype,
        default_dtype=default_dtype(),
        device=str(home) if shown else None,
        requires_grad=self._needs_grad,
        grad_fn_name=None if self._node is None else self._node.name(),
        name="tensor" if type(self) is Tensor or type(self).__name__ == "Parameter" else type(self).__name__,
        shape=self._array.shape,
    )


def __format__(self: Tensor, spec: str) -> str:
    """A 0-d tensor as its number, any other as its repr."""
    return format_tensor(self, spec, plain=type(self) is Tensor)


PUBLIC["Tensor"].update({"__repr__": __repr__, "__format__": __format__})
