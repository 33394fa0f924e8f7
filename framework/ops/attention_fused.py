"""Attention as one op without a buffer of queries x keys, for devices whose kernels can do it."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from naiad.core.dtype import bool as bool_
from naiad.core.dtype import float32
from naiad.core.op import PUBLIC
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import where_op
from naiad.ops.linear import matmul, transposed
from naiad.ops.movement import reshape
from naiad.ops.softmax import softmax_backward, softmax_op

ndarray = np.ndarray
WIDEST = 256  # elements of a head that a kernel keeps


# ---------------------------------------------------------------- NumPy
def _weights(q: ndarray, k: ndarray, mask: ndarray | None, scale: float, causal: bool) -> tuple[ndarray, ndarray]:
    """softmax of the scores, 0 in rows where all is masked, and the logarithm of each row's sum of exponentials."""
    scores = np.matmul(q, np.swapaxes(_spread(k, q), -1, -2)) * q.dtype.type(scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + mask
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, -np.inf)
    top = np.maximum.reduce(scores, -1, keepdims=True, initial=-np.inf)
    top = np.where(top == -np.inf, 0, top)
    p = np.exp(scores - top)
    total = np.add.reduce(p, -1, keepdims=True)
    seen = total > 0
    total = np.where(seen, total, 1)
    return (p / total).astype(q.dtype), np.where(seen, np.log(total) + top, 0)[..., 0].astype(np.float32)


def _spread(x: ndarray, q: ndarray) -> ndarray:
    """Heads of key or value as often as queries share them."""
    return x if x.shape[1] == q.shape[1] else np.repeat(x, q.shape[1] // x.shape[1], 1)


def _gathered(x: ndarray, like: ndarray) -> ndarray:
    """The transpose of `_spread`."""
    if x.shape[1] == like.shape[1]:
        return x
    return x.reshape(x.shape[0], like.shape[1], -1, *x.shape[2:]).sum(2)


def _score_gradient(g: ndarray, p: ndarray, q: ndarray, v: ndarray, scale: float) -> ndarray:
    dp = np.matmul(g, np.swapaxes(_spread(v, q), -1, -2))
    return p * (dp - np.add.reduce(dp * p, -1, keepdims=True)) * q.dtype.type(scale)


# ---------------------------------------------------------------- the op
def _rule(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **_: Any) -> list:
    b, h, length, _e = q._array.shape
    shape = (b, h, length, k._array.shape[2])
    if mask is not None and np.broadcast_shapes(mask._array.shape, shape) != shape:
        raise RuntimeError(
            f"scaled_dot_product_attention: attn_mask of shape {list(mask.shape)} does not broadcast to {list(shape)}"
        )
    return [((b, h, length, v._array.shape[3]), q._dtype), ((b, h, length), float32)]


def _gradient(which: str) -> Any:
    """The formula of one operand: a kernel, or where the gradient is to be differentiated, ops that can be."""

    def formula(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, out1: Tensor, scale: float,
        causal: bool,
    ) -> Tensor:  # fmt: skip
        if not current().grad:
            return _KERNELS[which](g, out, out1, q, k, v, mask, scale=scale, causal=causal)
        return _differentiable(which, g, q, k, v, mask, scale, causal)

    return formula


def _differentiable(
    which: str, g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    shared = q._array.shape[1] // k._array.shape[1]
    keys, values = (x.repeat_interleave(shared, 1) if shared > 1 else x for x in (k, v))
    p = composed_weights(matmul(q, transposed(keys)), mask, causal, scale)
    if which == "v":
        return _of_heads(matmul(transposed(p), g), v)
    ds = softmax_backward(matmul(g, transposed(values)), p, dim=3) * scale
    return matmul(ds, keys) if which == "q" else _of_heads(matmul(transposed(ds), q), k)


def _of_heads(x: Tensor, like: Tensor) -> Tensor:
    b, h, length, width = like._array.shape
    return x if x._array.shape[1] == h else reshape(x, (b, h, -1, length, width)).sum(2)


def composed_weights(scores: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """softmax(scores * scale + mask), 0 in rows where all is masked, in differentiable ops."""
    scores = scores * scale
    if causal:
        shape = scores._array.shape[-2:]
        mask = PUBLIC["naiad"]["ones"](shape, dtype=bool_, device=scores._device).tril()
    if mask is not None:
        scores = where_op(mask, scores, -inf) if mask._dtype is bool_ else scores + mask
    weights = softmax_op(scores, dim=scores._array.ndim - 1)
    return where_op(weights == weights, weights, 0.0) if mask is not None else weights


@primitive(
    rule=_rule, kernel="attention.attention", outputs=2, grad=(_gradient("q"), _gradient("k"), _gradient("v"), None)
)
def attention_op(
    q: ndarray, k: ndarray, v: ndarray, mask: ndarray | None = None, *, scale: float, causal: bool
) -> tuple:
    """softmax(q k^T * scale + mask) v, and the logarithm of the sum of exponentials of each row of scores.

    q (B, H, L, E), k (B, H / shared, S, E), v (B, H / shared, S, Ev). The mask gets no gradient.
    """
    p, lse = _weights(q, k, mask, scale, causal)
    return np.matmul(p, _spread(v, q)), lse


def _query_grad(g, out, lse, q, k, v, mask=None, *, scale, causal):
    """The gradient of the queries."""
    p, _ = _weights(q, k, mask, scale, causal)
    return np.matmul(_score_gradient(g, p, q, v, scale), _spread(k, q))


def _key_grad(g, out, lse, q, k, v, mask=None, *, scale, causal):
    """The gradient of the keys, summed over the heads that share them."""
    p, _ = _weights(q, k, mask, scale, causal)
    return _gathered(np.matmul(np.swapaxes(_score_gradient(g, p, q, v, scale), -1, -2), q), k)


def _value_grad(g, out, lse, q, k, v, mask=None, *, scale, causal):
    """The gradient of the values, summed over the heads that share them."""
    p, _ = _weights(q, k, mask, scale, causal)
    return _gathered(np.matmul(np.swapaxes(p, -1, -2), g), v)


def _like(operand: int) -> Any:
    return lambda *xs, **attrs: (xs[operand]._array.shape, xs[operand]._dtype)


_KERNELS = {
    "q": primitive(name="attention_query_grad", rule=_like(3), kernel="attention.query_grad")(_query_grad),
    "k": primitive(name="attention_key_grad", rule=_like(4), kernel="attention.key_grad")(_key_grad),
    "v": primitive(name="attention_value_grad", rule=_like(5), kernel="attention.value_grad")(_value_grad),
}


# ---------------------------------------------------------------- when
def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor | None:
    """The attention, or None where the fused op does not apply: other batches, wide heads, a mask that learns."""
    a, b, c = q._array.shape, k._array.shape, v._array.shape
    if q._dtype.itemsize == 8 or max(a[-1], c[-1]) > WIDEST or not len(a) == len(b) == len(c):
        return None
    if a[:-3] != b[:-3] or b[:-1] != c[:-1] or a[-1] != b[-1] or (len(a) > 2 and (not b[-3] or a[-3] % b[-3])):
        return None
    if mask is not None and (mask._needs_grad and current().grad):
        return None
    lead = (prod(a[:-3]), a[-3]) if len(a) > 2 else (1, 1)
    shared = (lead[0], b[-3]) if len(a) > 2 else (1, 1)
    if mask is not None and len(a) > 4:
        mask = mask.expand(*a[:-1], b[-2]).reshape(*lead, a[-2], b[-2])
    q, k, v = (_seen(x, (*n, *x._array.shape[-2:])) for x, n in ((q, lead), (k, shared), (v, shared)))
    out, _ = attention_op(q, k, v, mask, scale=scale, causal=causal)
    return _seen(out, (*a[:-1], c[-1]))


def _seen(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x._array.shape == shape else reshape(x, shape)
