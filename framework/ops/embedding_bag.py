"""embedding_bag: sums, means and maxima over bags of rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import where_op
from naiad.ops.creation import from_numpy, full_op
from naiad.ops.embedding import embedding
from naiad.ops.indexing import index_add_op, zeros_like_gradient
from naiad.ops.movement import reshape
from naiad.ops.ranges import arange
from naiad.ops.scatter_public import scatter_amax_op
from naiad.ops.sets import searchsorted

MODES = ("sum", "mean", "max")


def _starts(input: Tensor, offsets: Tensor | None, include_last: bool) -> np.ndarray | None:
    """Where each bag begins in a flat input, and where the last one ends; None on cuda, which nobody waits for."""
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "embedding_bag: if input is 2D, then offsets has to be None, as input is treated as a mini-batch of "
                f"fixed length sequences. However, found offsets of type {type(offsets).__name__}"
            )
        return None if input.is_cuda else np.arange(input.shape[0] + 1) * input.shape[1]
    if input.ndim != 1:
        raise ValueError(f"embedding_bag: input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if offsets is None:
        raise ValueError("embedding_bag: offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError(f"embedding_bag: offsets has to be a 1D Tensor, got {offsets.ndim}D")
    if input.is_cuda:
        return None
    starts = offsets.cpu().numpy().astype(np.int64)
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "embedding_bag: offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {starts[0]}"
        )
    if starts.size and (starts[-1] > input.numel() or (np.diff(starts) < 0).any()):
        raise RuntimeError(
            f"embedding_bag: offsets must grow up to at most {input.numel()}, the input's length, got {starts.tolist()}"
        )
    return starts if include_last else np.append(starts, input.numel())


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, int]:
    """On cuda: which bag each element of the flat input is in, from `count` on none, and `count`; without a look at it.

    What offsets hold is not checked there, as in PyTorch.
    """
    places = arange(input.numel(), device=input._device)
    if offsets is None:
        return places // max(input._array.shape[1], 1), input._array.shape[0]
    found = searchsorted(offsets.to(input._device).long(), places, right=True) - 1
    return found, offsets.numel() - include_last


def _reduced(rows: Tensor, bag: Tensor, count: int, counted: Tensor, mode: str) -> Tensor:
    """On cuda: (count, D) of rows (n, D), those that are `counted`."""
    shape = (count, rows._array.shape[1])
    bag, mask = bag.clamp(max=count - 1), counted.unsqueeze(1)
    if mode == "max":
        nothing = full_op(shape=shape, value=-np.inf, dtype=rows._dtype, device=rows._device)
        largest = scatter_amax_op(
            nothing, bag.unsqueeze(1).expand(rows._array.shape), where_op(mask, rows, -np.inf), dim=0
        )
        return where_op(largest == -np.inf, 0.0, largest)
    total = index_add_op(zeros_like_gradient(rows, shape), bag, where_op(mask, rows, 0.0), dim=0)
    if mode == "sum":
        return total
    real = rows._dtype.to_real()
    nothing = full_op(shape=(count, 1), value=0.0, dtype=real, device=rows._device)
    counts = index_add_op(nothing, bag, mask.to(real), dim=0)
    return total / counts.clamp(min=1)


def _pick(rows: Tensor, places: np.ndarray) -> Tensor:
    """The rows (n, ...) at places (bags, longest): (bags, longest, ...)."""
    index = from_numpy(places.reshape(-1)).to(rows._device)
    return reshape(rows.index_select(0, index), (*places.shape, *rows._array.shape[1:]))


def _samples(s: Any) -> list:
    index = s.fixed([1, 0, 4, 2, 2, 3])
    offsets = s.fixed([0, 2, 2, 5])
    return [
        s.call(s.ints(2, 3), s(5, 4)),
        s.call(index, s(5, 4), offsets, mode="sum"),
        s.call(index, s(5, 4), offsets, mode="mean", padding_idx=2),
        s.call(index, s(5, 4), offsets, mode="max"),
        s.call(s.ints(2, 3), s(5, 4), mode="sum", per_sample_weights=s(2, 3)),
        s.call(index, s(5, 4), s.fixed([0, 3, 6]), mode="sum", include_last_offset=True),
    ]


@public("nn.functional", samples=_samples, autocast={"cuda": "keep"})
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of weight (V, D) in each bag: (bags, D); empty bags give 0.

    input: (bags, n), or flat (n,) with offsets (bags,), where each bag begins (include_last_offset: and the last ends).
    per_sample_weights: of the input's shape, for mode "sum". padding_idx: a row that does not count.
    """
    if mode not in MODES:
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}')."
        )
    if per_sample_weights is not None and per_sample_weights._array.shape != input._array.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must have "
            f"the same shape as the input ({list(input.shape)})"
        )
    if scale_grad_by_freq and mode == "max":
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    starts = _starts(input, offsets, include_last_offset)
    flat = reshape(input, (-1,))
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if starts is None:
        bag, count = _bags(input, offsets, include_last_offset)
        taken = bag < count
        if padding_idx is not None:
            taken = taken & (flat != padding_idx % weight._array.shape[0])
        if per_sample_weights is not None:
            rows = rows * reshape(per_sample_weights, (-1, 1))
        return _reduced(rows, bag, count, taken, mode)
    lengths = np.diff(starts)
    bags, longest = len(lengths), int(lengths.max(initial=0))
    if not longest:
        return rows.sum(0).expand(bags, weight._array.shape[1]).clone()
    counted = np.arange(longest) < lengths[:, None]
    places = np.where(counted, starts[:-1, None] + np.arange(longest), 0)
    if padding_idx is not None:
        counted &= flat.cpu().numpy()[places] != padding_idx % weight._array.shape[0]
    mask = from_numpy(counted[:, :, None]).to(weight._device)
    picked = _pick(rows, places)
    if mode == "max":
        largest = where_op(mask, picked, -np.inf).max(1)[0]
        return where_op(from_numpy(np.any(counted, 1, keepdims=True)).to(weight._device), largest, 0.0)
    if per_sample_weights is not None:
        picked = picked * _pick(reshape(per_sample_weights, (-1, 1)), places)
    total = where_op(mask, picked, 0.0).sum(1)
    if mode == "sum":
        return total
    counts = np.maximum(counted.sum(1), 1)[:, None]
    return total / from_numpy(counts).to(weight._device, weight._dtype)


@public("nn.functional", samples=lambda s: [s.call(s(4, 3), s(5, 3), s.ints(4))])
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
) -> Tensor:
    """cross_entropy of linear(input, linear_weight, linear_bias) and target."""
    functions = PUBLIC["nn.functional"]
    scores = functions["linear"](input, linear_weight, linear_bias)
    return functions["cross_entropy"](
        scores,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
