"""`Variable`, the name that old programs give a tensor."""

from __future__ import annotations

from typing import Any

from naiad.core.caution import warn
from naiad.core.tensor import Tensor


class _VariableType(type):
    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> Tensor:
        if volatile is not None:
            warn("volatile was removed and now has no effect. Use `with torch.no_grad():` instead.", UserWarning)
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor)


class Variable(metaclass=_VariableType):
    """What a tensor that records its history was once called: every tensor is one.

    ``Variable(data, requires_grad=False)``: a leaf that shares the data. Raises TypeError where that is no tensor.
    """
