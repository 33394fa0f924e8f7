"""Attention as one op without a buffer of queries x keys, for devices whose kernels can do it."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CPU_DEVICE, device
from naiad.core.dtype import FROM_NUMPY, dtype, float32
from naiad.core.dtype import bool as bool_
from naiad.core.op import PUBLIC
from naiad.core.primitive import primitive
from naiad.core.random import generator_for
from naiad.core.state import current
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import where_op
from naiad.ops.dropout import dropout_noise
from naiad.ops.linear import matmul, transposed
from naiad.ops.movement import reshape, sum_to
from naiad.ops.softmax import softmax_backward, softmax_op

ndarray = np.ndarray
WIDEST = 256  # elements of a head that a kernel keeps
Drop = tuple[float, int, int] | None


# ---------------------------------------------------------------- NumPy
def _noise(p: ndarray, drop: Drop) -> ndarray | float:
    """What dropout multiplies weights with."""
    return (
        1.0 if drop is None else dropout_noise.op.body(**_noise_facts(p.shape, FROM_NUMPY[p.dtype], CPU_DEVICE, drop))
    )


def _noise_facts(shape: tuple[int, ...], of: dtype, where: device, drop: tuple[float, int, int]) -> dict[str, Any]:
    p, seed, offset = drop
    facts = {"shape": shape, "dtype": of, "device": where, "seed": seed, "offset": offset, "p": p}
    return facts | {"scale": 0.0 if p == 1 else 1 / (1 - p)}


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


def _score_gradient(g: ndarray, p: ndarray, q: ndarray, v: ndarray, drop: Drop) -> ndarray:
    dp = np.matmul(g, np.swapaxes(_spread(v, q), -1, -2)) * _noise(p, drop)
    return p * (dp - np.add.reduce(dp * p, -1, keepdims=True))


# ---------------------------------------------------------------- the op
def _rule(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **_: Any) -> list:
    b, h, length, _e = q._array.shape
    shape = (b, h, length, k._array.shape[2])
    if mask is not None and not _fits(mask._array.shape, shape):
        raise RuntimeError(
            f"scaled_dot_product_attention: attn_mask of shape {list(mask.shape)} does not broadcast to {list(shape)}"
        )
    return [((b, h, length, v._array.shape[3]), q._dtype), ((b, h, length), float32)]


def _fits(mask: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a mask broadcasts to a shape."""
    return len(mask) <= len(shape) and all(m in (1, n) for m, n in zip(mask[::-1], shape[::-1], strict=False))


def _gradient(which: str) -> Any:
    """The formula of one operand: a kernel, or where the gradient is to be differentiated, ops that can be."""

    def formula(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, out1: Tensor, scale: float,
        causal: bool, drop: Drop,
    ) -> Tensor | None:  # fmt: skip
        if which == "mask" and mask._dtype is bool_:  # type: ignore[union-attr]
            return None
        if not current().grad:
            kernel = _GRADIENTS[which][drop is not None]
            return kernel(g, out, out1, q, k, v, mask, scale=scale, causal=causal, drop=drop)
        return _differentiable(which, g, q, k, v, mask, scale, causal, drop)

    return formula


def _differentiable(
    which: str, g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool, drop: Drop
) -> Tensor:
    shared = q._array.shape[1] // k._array.shape[1]
    keys, values = (x.repeat_interleave(shared, 1) if shared > 1 else x for x in (k, v))
    p = composed_weights(matmul(q, transposed(keys)), mask, causal, scale)
    noise = None if drop is None else dropout_noise(**_noise_facts(p._array.shape, p._dtype, p._device, drop))
    if which == "v":
        return _of_heads(matmul(transposed(p if noise is None else p * noise), g), v)
    dp = matmul(g, transposed(values))
    ds = softmax_backward(dp if noise is None else dp * noise, p, dim=3)
    if which == "mask":
        return sum_to(ds, mask._array.shape)  # type: ignore[union-attr]
    ds = ds * scale
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


def _attention(
    q: ndarray, k: ndarray, v: ndarray, mask: ndarray | None = None, *, scale: float, causal: bool, drop: Drop
) -> tuple:
    """softmax(q k^T * scale + mask) v, and the logarithm of the sum of exponentials of each row of scores.

    q (B, H, L, E), k (B, H / shared, S, E), v (B, H / shared, S, Ev). drop: the probability with which a weight is
    left out, the seed, and the place in its stream.
    """
    p, lse = _weights(q, k, mask, scale, causal)
    return np.matmul(p * _noise(p, drop), _spread(v, q)).astype(q.dtype, copy=False), lse


def _query_grad(g, out, lse, q, k, v, mask=None, *, scale, causal, drop):
    """The gradient of the queries."""
    p, _ = _weights(q, k, mask, scale, causal)
    return np.matmul(_score_gradient(g, p, q, v, drop), _spread(k, q)) * q.dtype.type(scale)


def _key_grad(g, out, lse, q, k, v, mask=None, *, scale, causal, drop):
    """The gradient of the keys, summed over the heads that share them."""
    p, _ = _weights(q, k, mask, scale, causal)
    return _gathered(np.matmul(np.swapaxes(_score_gradient(g, p, q, v, drop), -1, -2), q), k) * q.dtype.type(scale)


def _value_grad(g, out, lse, q, k, v, mask=None, *, scale, causal, drop):
    """The gradient of the values, summed over the heads that share them."""
    p, _ = _weights(q, k, mask, scale, causal)
    return _gathered(np.matmul(np.swapaxes(p * _noise(p, drop), -1, -2), g), v)


def _key_value_grad(g, out, lse, q, k, v, mask=None, *, scale, causal, drop):
    """Both, with the weights computed once."""
    facts = dict(scale=scale, causal=causal, drop=drop)
    return _key_grad(g, out, lse, q, k, v, mask, **facts), _value_grad(g, out, lse, q, k, v, mask, **facts)


def _mask_grad(g, out, lse, q, k, v, mask, *, scale, causal, drop):
    """The gradient of an added mask, summed over what it was added to."""
    p, _ = _weights(q, k, mask, scale, causal)
    ds = _score_gradient(g, p, q, v, drop)
    shape = (1,) * (4 - mask.ndim) + mask.shape
    return np.add.reduce(ds, tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(mask.shape)


def _like(operand: int) -> Any:
    return lambda *xs, **attrs: (xs[operand]._array.shape, xs[operand]._dtype)


def _both(name: str, body: Any, kernel: str, **facts: Any) -> tuple[Any, Any]:
    """An op without dropout and one with it.

    The second's attributes are others at each call, so its launches are not written down to be made again: that goes
    for kernels that are named, and this one is a function.
    """

    def launch(*xs: Any, **attrs: Any) -> None:
        backend.launcher(kernel, name)(*xs, **attrs)

    return (
        primitive(name=name, kernel=kernel, **facts)(body),
        primitive(name=f"{name}_dropout", kernel=launch, **facts)(body),
    )


_GRADIENTS = {
    "q": _both("attention_query_grad", _query_grad, "attention.query_grad", rule=_like(3)),
    "k": _both("attention_key_grad", _key_grad, "attention.key_grad", rule=_like(4)),
    "v": _both("attention_value_grad", _value_grad, "attention.value_grad", rule=_like(5)),
    "both": _both(
        "attention_key_value_grad",
        _key_value_grad,
        "attention.key_value_grad",
        outputs=2,
        rule=lambda *xs, **_: [(x._array.shape, x._dtype) for x in xs[4:6]],
    ),
    "mask": _both("attention_mask_grad", _mask_grad, "attention_mask.mask_grad", rule=_like(6)),
}
_ATTENTION = _both(
    "attention_op",
    _attention,
    "attention.attention",
    rule=_rule,
    outputs=2,
    grad=tuple(map(_gradient, ("q", "k", "v", "mask"))),
)


def _keys_and_values(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, out1: Tensor, scale: float,
    causal: bool, drop: Drop,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The gradients of keys and values in one launch; None where they are to be differentiated again."""
    if current().grad:
        return None
    return _GRADIENTS["both"][drop is not None](g, out, out1, q, k, v, mask, scale=scale, causal=causal, drop=drop)


for _op in _ATTENTION:
    _op.op.joint = ((1, 2), _keys_and_values)


# ---------------------------------------------------------------- when
def fused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, dropout: float, grouped: bool
) -> Tensor | None:
    """The attention, or None where the kernels do not apply: float64, wide heads, ranks or heads that do not fit."""
    a, b, c = q._array.shape, k._array.shape, v._array.shape
    if mask is not None and mask.ndim > len(a):
        return None
    if q._dtype.itemsize == 8 or max(a[-1], c[-1]) > WIDEST or a[-1] != b[-1] or b[-2] != c[-2]:
        return None
    if grouped:
        if not len(a) == len(b) == len(c) > 2 or b[:-2] != c[:-2] or a[:-3] != b[:-3] or not b[-3] or a[-3] % b[-3]:
            return None
        lead, shared = (prod(a[:-3]), a[-3]), (prod(a[:-3]), b[-3])
    else:
        try:
            common = broadcast_shapes([a[:-2], b[:-2], c[:-2]])
        except RuntimeError:
            return None  # the products will say it
        q, k, v = (x if x._array.shape[:-2] == common else x.expand(*common, *x._array.shape[-2:]) for x in (q, k, v))
        a, c = q._array.shape, v._array.shape
        lead = shared = (prod(common[:-1]), common[-1]) if common else (1, 1)
    drop = None
    if dropout:
        drop = (dropout, *generator_for(q._device).advance(prod((*lead, a[-2], b[-2]))))
    if mask is not None and len(a) > 4 and mask.ndim > 3:  # its batches have to be one dimension as well
        outer = mask._array.shape[:-3] if prod(mask._array.shape[:-3]) == 1 else a[:-3]
        mask = mask.expand(*outer, *mask._array.shape[-3:]).reshape(prod(outer), *mask._array.shape[-3:])
    q, k, v = (_seen(x, (*n, *x._array.shape[-2:])) for x, n in ((q, lead), (k, shared), (v, shared)))
    out, _ = _ATTENTION[drop is not None](q, k, v, mask, scale=scale, causal=causal, drop=drop)
    return _seen(out, (*a[:-1], c[-1]))


def _seen(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x._array.shape == shape else reshape(x, shape)
