"""Multi-head attention as a function, composed from projections and attention per head."""

from __future__ import annotations

import math
import warnings
from typing import Any

import naiad
from naiad.core.op import PUBLIC
from naiad.core.tensor import Tensor

_F = PUBLIC["nn.functional"]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of query (L, N, E) to key and value (S, N, ·): (L, N, E) and, if wanted, weights (N, L, S).

    A single sequence comes without N. ``static_k`` and ``static_v``, (N · heads, S, E / heads), stand for
    projected keys and values. Weights are per head, (N, heads, L, S), unless averaged.
    """
    batched = _is_batched(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _with_batch(query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    key_padding_mask = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # the hint says as much
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
        is_causal = is_causal and key_padding_mask is None
        attn_mask = _three_dimensional(attn_mask, (length, key.shape[0]), batch * num_heads)

    separate: Any = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias, separate)
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k = naiad.cat([k, bias_k.repeat(1, batch, 1)])
        v = naiad.cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _one_more_key(attn_mask, key_padding_mask)

    head_dim = width // num_heads
    q, k, v = (_heads(t, batch * num_heads, head_dim) for t in (q, k, v))
    k = k if static_k is None else static_k
    v = v if static_v is None else static_v
    if add_zero_attn:
        nothing = naiad.zeros((batch * num_heads, 1, head_dim), dtype=k.dtype, device=k.device)
        k, v = naiad.cat([k, nothing], dim=1), naiad.cat([v, nothing], dim=1)
        attn_mask, key_padding_mask = _one_more_key(attn_mask, key_padding_mask)
    mask = _merged(attn_mask, key_padding_mask, batch, num_heads, k.size(1))
    dropout_p = dropout_p if training else 0.0

    if need_weights:
        scores = naiad.bmm(q * math.sqrt(1.0 / head_dim), k.transpose(-2, -1))
        weights = _F["softmax"](scores if mask is None else scores + mask, dim=-1)
        weights = _F["dropout"](weights, p=dropout_p) if dropout_p > 0.0 else weights
        mixed = naiad.bmm(weights, v).view(batch, num_heads, length, head_dim)
        weights = weights.view(batch, num_heads, length, k.size(1))
        weights = weights.mean(dim=1) if average_attn_weights else weights
    else:
        if mask is not None:
            mask = mask.unsqueeze(0) if mask.size(0) == 1 else mask.view(batch, num_heads, -1, k.size(1))
        q, k, v = (t.view(batch, num_heads, -1, head_dim) for t in (q, k, v))
        mixed, weights = _F["scaled_dot_product_attention"](q, k, v, mask, dropout_p, is_causal), None
    joined = mixed.permute(2, 0, 1, 3).reshape(length, batch, width)
    output = _F["linear"](joined, out_proj_weight, out_proj_bias)
    if not batched:
        output = output.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return output, weights


def _with_batch(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of one; what was one tensor stays one."""
    q = query.unsqueeze(1)
    k = q if key is query else key.unsqueeze(1)
    return q, k, k if value is key else value.unsqueeze(1)


def _is_batched(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, num_heads: int
) -> bool:
    dim = query.dim()
    if dim not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {dim}-D query tensor")
    if key.dim() != dim or value.dim() != dim:
        raise AssertionError(
            f"key and value must be {dim}-D as query is, but are {key.dim()}-D and {value.dim()}-D respectively"
        )
    if padding is not None and padding.dim() != dim - 1:
        raise AssertionError(f"key_padding_mask must be {dim - 1}-D for a {dim}-D query, but is {padding.dim()}-D")
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(f"attn_mask must be None, 2-D or 3-D, but is {mask.dim()}-D")
        if dim == 2 and mask.dim() == 3 and mask.shape != (num_heads, query.shape[0], key.shape[0]):
            raise AssertionError(
                f"Expected attn_mask shape to be {(num_heads, query.shape[0], key.shape[0])} but got {mask.shape}"
            )
    return dim == 3


def _projected(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Any,
    bias: Tensor | None,
    separate: tuple[Tensor, Tensor, Tensor] | None,
) -> Any:
    """Queries, keys and values, each (length, N, E), in as few matrix products as the inputs allow."""
    linear = _F["linear"]
    if separate is None and key is query and value is key:
        return linear(query, weight, bias).chunk(3, dim=-1)
    width = query.size(-1)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    if separate is None and value is key:
        w_q, w_kv = weight.split([width, 2 * width])
        b_q, b_kv = (None, None) if bias is None else bias.split([width, 2 * width])
        return linear(query, w_q, b_q), *linear(key, w_kv, b_kv).chunk(2, dim=-1)
    weights = weight.chunk(3) if separate is None else separate
    return [linear(t, w, b) for t, w, b in zip((query, key, value), weights, biases, strict=True)]


def _heads(t: Tensor, count: int, head_dim: int) -> Tensor:
    """(length, N, E) to (N · heads, length, head_dim)."""
    return t.reshape(t.shape[0], count, head_dim).transpose(0, 1)


def _one_more_key(mask: Tensor | None, padding: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Masks that let everyone attend to one key more."""
    pad = _F["pad"]
    return None if mask is None else pad(mask, (0, 1)), None if padding is None else pad(padding, (0, 1))


def _three_dimensional(mask: Tensor | None, size: tuple[int, int], heads: int) -> Tensor | None:
    if mask is None:
        return None
    wanted = size if mask.dim() == 2 else (heads, *size)
    if tuple(mask.shape) != wanted:
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {wanted}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _merged(mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, keys: int) -> Tensor | None:
    """One additive mask (1 or N · heads, L or 1, S) of both."""
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, keys):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, keys)}, but got {padding.shape}")
    padding = padding.view(batch, 1, 1, keys).expand(-1, heads, -1, -1).reshape(batch * heads, 1, keys)
    return padding if mask is None else mask + padding


def _none_or_dtype(t: Tensor | None) -> Any:
    return None if t is None else t.dtype


def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask as numbers to add: -inf where a bool mask is True."""
    if mask is None:
        return None
    if mask.dtype != naiad.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return naiad.zeros(mask.shape, dtype=target_type, device=mask.device).masked_fill_(mask, float("-inf"))
