"""Questions about dtypes: what operands promote to, what can be cast to what."""

from __future__ import annotations

from typing import Any

from naiad.core.dispatch import number_dtype
from naiad.core.dtype import combine, dtype, promote_types
from naiad.core.op import public
from naiad.core.tensor import Tensor


@public("naiad")
def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype in which an op of two operands (tensors or numbers) computes."""
    found: list[dtype | None] = [None, None, None]
    for x in (tensor1, tensor2):
        place = (0 if x.ndim else 1) if isinstance(x, Tensor) else 2
        of = x._dtype if isinstance(x, Tensor) else number_dtype(x)
        before = found[place]
        found[place] = of if before is None else promote_types(before, of)
    return combine(*found)


@public("naiad")
def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether PyTorch's rules let a value of one dtype be written into another: not to a lower kind."""
    return from_.kind <= to.kind


@public("naiad", samples=lambda s: [s.call(s(2)), s.call(s.ints(2))])
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is floating point."""
    return input._dtype.kind == 2


@public("naiad", samples=lambda s: [s.call(s(2)), s.call(s.complex(2))])
def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input._dtype.kind == 3


@public("naiad", samples=lambda s: [s.call(s(2, 3)), s.call(s())])
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(2, 3)), s.call(s(2), s(3))])
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return input._array.shape == other._array.shape
