"""Softmax, its logarithm, and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT, dtype
from naiad.core.elementwise import elementwise
from naiad.core.op import public
from naiad.core.primitive import primitive, same_as
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import cast
from naiad.ops.random import draw_uniform
from naiad.ops.reduction import converted, sum_dims
from naiad.ops.rows import maxima, sums

BLOCK = 1 << 16  # elements


def _float_like(input: Tensor, **attrs: Any) -> tuple:
    if input._dtype.kind != FLOAT:
        raise NotImplementedError(
            f"\"softmax\" not implemented for '{input._dtype.name}': convert first, with dtype=naiad.float32"
        )
    return input._array.shape, input._dtype


def _total(x: Tensor, dim: int) -> Tensor:
    return sum_dims(x, dim=(dim,) if x._array.ndim else (), keepdim=True)


# backward(grad, y) = y * (grad - sum(grad * y)): in grad it is its own transpose, in y the product rule applies.
@primitive(
    rule=same_as(),
    kernel="softmax.softmax_backward",
    grad=(
        lambda g, y, dim: softmax_backward(g, y, dim=dim),
        lambda g, grad, y, dim: g * (grad - _total(grad * y, dim)) - grad * _total(g * y, dim),
    ),
)
def softmax_backward(grad: np.ndarray, y: np.ndarray, *, dim: int) -> np.ndarray:
    """y * (grad - sum(grad * y)): the gradient of softmax given its output y."""
    if not y.ndim:
        return np.zeros_like(y)
    out = np.multiply(grad, y, order="C")
    np.subtract(grad, sums(out, dim), out=out)
    np.multiply(out, y, out=out)
    return out


@primitive(
    rule=_float_like,
    kernel="softmax.softmax",
    grad=(lambda g, out, dim: softmax_backward(g, out, dim=dim),),
    autocast={"cuda": "float32"},
)
def softmax_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """exp(x - max) / sum(exp(x - max))."""
    if input.size > BLOCK and dim == input.ndim - 1 and input.dtype.kind == "f":
        return _softmax_rows(input)
    out = _shifted(input, dim)
    np.exp(out, out=out)
    if out.ndim:
        out /= sums(out, dim)
    return out


def _softmax_rows(input: np.ndarray) -> np.ndarray:
    """The same over the last dimension, some rows at a time, so that what is worked on stays in cache."""
    out = np.empty(input.shape, input.dtype)
    n = input.shape[-1]
    rows, to = input.reshape(-1, n), out.reshape(-1, n)
    step = max(1, BLOCK // n)
    for start in range(0, len(rows), step):
        part, x = to[start : start + step], rows[start : start + step]
        np.subtract(x, maxima(x, 1), out=part)
        np.exp(part, out=part)
        part *= 1 / sums(part, 1)
    return out


def _shifted(input: np.ndarray, dim: int) -> np.ndarray:
    """input - its maximum over dim, as a fresh array."""
    if input.dtype.kind != "f":
        raise TypeError("softmax of integers")
    if not input.ndim:
        return np.asarray(input - input)
    if not input.size:
        return np.array(input, order="C")
    return np.subtract(input, maxima(input, dim), order="C")


# backward(grad, y) = grad - exp(y) * sum(grad).
@primitive(
    rule=same_as(),
    kernel="softmax.log_softmax_backward",
    grad=(
        lambda g, y, dim: g - _total(g * y.exp(), dim),
        lambda g, grad, y, dim: -g * y.exp() * _total(grad, dim),
    ),
)
def log_softmax_backward(grad: np.ndarray, y: np.ndarray, *, dim: int) -> np.ndarray:
    """grad - exp(y) * sum(grad): the gradient of log_softmax given its output y."""
    if not y.ndim:
        return np.zeros_like(y)
    out = np.exp(y, order="C")
    out *= np.add.reduce(grad, dim, keepdims=True)
    np.subtract(grad, out, out=out)
    return out


@primitive(
    rule=_float_like,
    kernel="softmax.log_softmax",
    grad=(lambda g, out, dim: log_softmax_backward(g, out, dim=dim),),
    autocast={"cuda": "float32"},
)
def log_softmax_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """x - max - log(sum(exp(x - max)))."""
    out = _shifted(input, dim)
    if out.ndim:
        out -= np.log(np.add.reduce(np.exp(out), dim, keepdims=True))
    return out


SAMPLES: dict[str, Any] = dict(
    samples=lambda s: [s.call(s(2, 5), dim=1), s.call(s(3, 4, 2), dim=0), s.call(s(4), dim=-1), s.call(s(), dim=0)]
)


def _prepared(input: Tensor, dim: Any, of: dtype | None, name: str) -> tuple[Tensor, int]:
    if dim is None:
        raise TypeError(
            f"{name}(): name the dimension to normalize over, e.g. dim=-1, for a shape of {list(input.shape)}"
        )
    if of is not None and of is not input._dtype:
        input = cast(input, dtype=of)
    return input, normalize_dim(dim, input._array.ndim)


def _implicit(input: Tensor, dim: int | None, name: str) -> int:
    """PyTorch's old default of `nn.functional`: 0 for 0, 1 and 3 dimensions, else 1."""
    if dim is not None:
        return dim
    warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.")
    return 0 if input._array.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int, dtype: dtype | None = None, *, out: Tensor | None = None) -> Tensor:
    """exp(input) / sum(exp(input)) over `dim`. `dtype`: convert first."""
    input, dim = _prepared(input, dim, dtype, "softmax")
    result = converted(softmax_op(input, dim=dim), dtype)
    return result if out is None else deliver(result, out)


def log_softmax(input: Tensor, dim: int, dtype: dtype | None = None, *, out: Tensor | None = None) -> Tensor:
    """log(softmax(input)) over `dim`, without overflow. `dtype`: convert first."""
    input, dim = _prepared(input, dim, dtype, "log_softmax")
    result = converted(log_softmax_op(input, dim=dim), dtype)
    return result if out is None else deliver(result, out)


public("naiad", "Tensor", name="softmax", **SAMPLES)(softmax)
public("naiad", "Tensor", name="log_softmax", **SAMPLES)(log_softmax)


@public("nn.functional", name="softmax", **SAMPLES)
def functional_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """exp(input) / sum(exp(input)) over `dim`. `dtype`: convert first."""
    input, dim = _prepared(input, _implicit(input, dim, "softmax"), dtype, "softmax")
    return converted(softmax_op(input, dim=dim), dtype)


@public("nn.functional", name="log_softmax", **SAMPLES)
def functional_log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """log(softmax(input)) over `dim`, without overflow. `dtype`: convert first."""
    input, dim = _prepared(input, _implicit(input, dim, "log_softmax"), dtype, "log_softmax")
    return converted(log_softmax_op(input, dim=dim), dtype)


@public("nn.functional", **SAMPLES)
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    """softmax(-input) over `dim`."""
    input, dim = _prepared(input, _implicit(input, dim, "softmin"), dtype, "softmin")
    return converted(softmax_op(-input, dim=dim), dtype)


@elementwise(namespaces=(), kinds=(2,))
def gumbel_perturbed(m: Any, input: Any, uniform: Any, tau: Any) -> Any:
    """(input + Gumbel noise) / tau, the noise made of uniforms in [0, 1)."""
    return (input - m.log(-m.log1p(-uniform))) / tau


@public("nn.functional")
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-softmax distribution.

    hard: the result is one-hot, with the gradient of the soft sample. Source: Jang et al., 2016.
    """
    uniform = draw_uniform(logits._array.shape, logits._dtype, logits._device, 1e-20)
    dim = normalize_dim(dim, logits.ndim)
    soft = softmax_op(gumbel_perturbed(logits, uniform, tau), dim=dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    chosen = (soft.detach() * 0).scatter_(dim, index, 1.0)
    return chosen - soft.detach() + soft
