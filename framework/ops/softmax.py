"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.dtype import dtype
from naiad.core.op import public
from naiad.core.primitive import primitive, same_as
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import cast


# backward(grad, y) = y * (grad - sum(grad * y)): in grad it is its own transpose, in y the product rule applies.
@primitive(
    rule=same_as(),
    kernel="softmax.softmax_backward",
    grad=(
        lambda g, y, dim: softmax_backward(g, y, dim=dim),
        lambda g, grad, y, dim: g * (grad - (grad * y).sum(dim, keepdim=True)) - grad * (g * y).sum(dim, keepdim=True),
    ),
)
def softmax_backward(grad: np.ndarray, y: np.ndarray, *, dim: int) -> np.ndarray:
    """y * (grad - sum(grad * y)): the gradient of softmax given its output y."""
    out = grad * y
    total = out.sum(dim, keepdims=True)
    np.subtract(out, y * total, out=out)
    return out


@primitive(rule=same_as(), kernel="softmax.softmax", grad=(lambda g, out, dim: softmax_backward(g, out, dim=dim),))
def softmax_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """exp(x - max) / sum(exp(x - max))."""
    out = input - input.max(dim, keepdims=True) if input.size else input.copy()
    np.exp(out, out=out)
    out /= out.sum(dim, keepdims=True)
    return out


SAMPLES = dict(samples=lambda s: [s.call(s(2, 5), dim=1), s.call(s(3, 4, 2), dim=0), s.call(s(4), dim=-1)])


@public("nn.functional", "naiad", "Tensor", **SAMPLES)
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    """exp(input) / sum(exp(input)) over `dim`. `dtype`: convert first."""
    if dtype is not None and dtype is not input._dtype:
        input = cast(input, dtype=dtype)
    return softmax_op(input, dim=normalize_dim(_checked(dim, input), input.ndim))


def _checked(dim: Any, input: Tensor) -> int:
    if dim is None:
        raise TypeError(
            f"softmax(): name the dimension to normalize over, e.g. dim=-1, for a shape of {list(input.shape)}"
        )
    return dim
