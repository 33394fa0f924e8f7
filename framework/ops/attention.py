"""Scaled dot product attention."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, dtype
from naiad.core.dtype import bool as bool_
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor
from naiad.ops.attention_fused import fused
from naiad.ops.dropout import draw_noise
from naiad.ops.linear import matmul, transposed
from naiad.ops.rows import maxima, sums
from naiad.ops.softmax import softmax_backward

ndarray = np.ndarray


def _masked(scores: ndarray, mask: ndarray | None, causal: bool) -> None:
    """Add a mask to scores in place: floats are added, where bools are False the score becomes -inf."""
    if mask is not None:
        if mask.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~mask)
        else:
            np.add(scores, mask, out=scores)
    if causal:
        length, keys = scores.shape[-2:]
        np.copyto(scores, -np.inf, where=~np.tri(length, keys, dtype=np.bool_))


def _rule(scores: Tensor, mask: Tensor | None = None, **_: Any) -> tuple:
    shape = scores._array.shape
    if mask is not None and np.broadcast_shapes(mask._array.shape, shape) != shape:
        raise RuntimeError(
            f"scaled_dot_product_attention: attn_mask of shape {list(mask.shape)} does not broadcast to {list(shape)}"
        )
    return shape, scores._dtype


def _unmasked_gradient(g: Tensor, out: Tensor, scale: float) -> Tensor:
    return softmax_backward(g, out, dim=out._array.ndim - 1) * scale


def _mask_gradient(g: Tensor, out: Tensor, mask_dtype: dtype) -> Tensor | None:
    if mask_dtype is bool_:
        return None
    return softmax_backward(g, out, dim=out._array.ndim - 1)


@primitive(rule=_rule, kernel="attention_weights.attention_weights", grad=(_unmasked_gradient, _mask_gradient))
def attention_weights(scores: ndarray, mask: ndarray | None = None, *, scale: float, causal: bool) -> ndarray:
    """softmax(scores * scale + mask) over the last dimension; 0 in rows where everything is masked."""
    out = np.multiply(scores, scores.dtype.type(scale), order="C")
    _masked(out, mask, causal)
    if not out.size:
        return out
    largest = maxima(out, -1)
    hidden = largest == -np.inf if mask is not None else None
    if hidden is not None and hidden.any():
        largest[hidden] = 0
    else:
        hidden = None
    out -= largest
    np.exp(out, out=out)
    total = sums(out, -1)
    if hidden is not None:
        total[hidden] = 1
    out /= total
    return out


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, dropout_p: float) -> None:
    name = "scaled_dot_product_attention"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise RuntimeError(
            f"{name}: Expected query, key, and value to all be at least 2 dimensional, but got {query.ndim}, "
            f"{key.ndim}, {value.ndim} dimensions"
        )
    if not query._dtype is key._dtype is value._dtype:
        raise RuntimeError(
            f"{name}: Expected query, key, and value to have the same dtype, but got query.dtype: {query._dtype.name}, "
            f"key.dtype: {key._dtype.name}, and value.dtype: {value._dtype.name}"
        )
    if query._dtype.kind != FLOAT:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{query._dtype.name}': it takes floating-point tensors"
        )
    if mask is not None and is_causal:
        raise RuntimeError(f"{name}: Explicit attn_mask should not be set when is_causal=True")
    if mask is not None and mask._dtype is not bool_ and mask._dtype is not query._dtype:
        raise RuntimeError(
            f"{name}: Expected attn_mask dtype to be bool or to match query dtype, but got attn_mask.dtype: "
            f"{mask._dtype.name} and query.dtype: {query._dtype.name}"
        )
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {dropout_p}")


def _shared_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Grouped queries: each head of key and value repeated for the query heads that share it."""
    heads = query._array.shape[-3]
    repeated = []
    for x in (key, value):
        have = x._array.shape[-3]
        if heads % have:
            raise RuntimeError(
                "scaled_dot_product_attention: Number of heads in key and value must divide the number of heads in "
                f"query, got {have} and {heads}"
            )
        repeated.append(x.repeat_interleave(heads // have, -3))
    return repeated[0], repeated[1]


def _samples(s: Any) -> list:
    def qkv(*lead: int) -> tuple:
        return s(*lead, 4, 6), s(*lead, 5, 6), s(*lead, 5, 3)

    mask = [[True, True, False, True, False], [True] * 5, [False, True, True, True, True], [True, False] * 2 + [True]]
    return [
        s.call(*qkv(2, 3)),
        s.call(*qkv(2), is_causal=True),
        s.call(*qkv(), s.fixed(mask)),
        s.call(*qkv(2, 1), s(4, 5), scale=0.3),
        s.call(s(2, 4, 5, 6), s(2, 2, 3, 6), s(2, 2, 3, 6), enable_gqa=True),
    ]


@public("nn.functional", samples=_samples, autocast="lower")
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key^T * scale + mask) @ value.

    query (..., L, E), key (..., S, E), value (..., S, Ev): (..., L, Ev). scale: 1 / sqrt(E) by default.
    attn_mask: broadcasts to (..., L, S); bool (True takes part) or floats, which are added to the scores.
    enable_gqa: key and value may have fewer heads (dimension -3), which query heads share.
    """
    _check(query, key, value, attn_mask, is_causal, dropout_p)
    factor = (1 / sqrt(query._array.shape[-1]) if query._array.shape[-1] else inf) if scale is None else scale
    if query.is_cuda:
        found = fused(query, key, value, attn_mask, is_causal, factor, dropout_p, enable_gqa)
        if found is not None:
            return found
    if enable_gqa:
        key, value = _shared_heads(query, key, value)
    scores = matmul(query, transposed(key))
    weights = attention_weights(scores, attn_mask, scale=factor, causal=is_causal)
    if dropout_p:
        weights = weights * draw_noise(weights._array.shape, weights, dropout_p, 1 / (1 - dropout_p or inf))
    return matmul(weights, value)
