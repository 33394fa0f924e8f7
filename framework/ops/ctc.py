"""Connectionist temporal classification. Source: Graves et al., 2006, section 4.1 (the forward variables)."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import where_op
from naiad.ops.creation import from_numpy
from naiad.ops.loss_tools import reduced

_NEVER = -1e30  # the logarithm of an impossible path: finite, so that no gradient is inf - inf
_IMPOSSIBLE = 1e29


@elementwise(namespaces=(), name="log_add_three", kinds=(2,))
def log_add_three(m: Any, a: Any, b: Any, c: Any) -> Any:
    """log(exp(a) + exp(b) + exp(c))."""
    top = m.maximum(m.maximum(a, b), c)
    return top + m.log(m.exp(a - top) + m.exp(b - top) + m.exp(c - top))


def _numbers(lengths: Any) -> np.ndarray:
    found = lengths.cpu().numpy() if isinstance(lengths, Tensor) else np.asarray(lengths)
    return found.reshape(-1).astype(np.int64)


def _padded_targets(targets: Tensor, lengths: np.ndarray, batch: int) -> np.ndarray:
    """Targets as (N, longest), from (N, S) or one after the other in (sum of lengths,)."""
    values = targets.cpu().numpy()
    longest = int(lengths.max(initial=0))
    if values.ndim == 2:
        if values.shape[0] != batch or values.shape[1] < longest:
            raise RuntimeError(
                f"ctc_loss: Expected targets to be of shape ({batch}, at least {longest}), got {list(values.shape)}"
            )
        return values[:, :longest]
    if (values.size != lengths.sum() and batch > 1) or values.size < lengths.sum():
        raise RuntimeError(
            f"ctc_loss: 1-D targets must have {lengths.sum()} elements, the sum of lengths; got {values.size}"
        )
    out = np.zeros((batch, longest), values.dtype)
    for row, start, length in zip(out, np.cumsum(lengths) - lengths, lengths, strict=True):
        row[:length] = values[start : start + length]
    return out


def _check(log_probs: Tensor, inputs: np.ndarray, lengths: np.ndarray, blank: int) -> None:
    steps, batch, classes = log_probs._array.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be in label range, 0 to {classes - 1}, got {blank}")
    if inputs.size != batch or lengths.size != batch:
        raise RuntimeError(
            f"ctc_loss: input_lengths and target_lengths must be of size {batch}, got {inputs.size} and {lengths.size}"
        )
    if inputs.size and (inputs.max() > steps or inputs.min() < 0):
        raise RuntimeError(f"ctc_loss: Expected input_lengths to be between 0 and {steps}, got {inputs.tolist()}")
    if lengths.size and lengths.min() < 0:
        raise RuntimeError(f"ctc_loss: Expected target_lengths to be at least 0, got {lengths.tolist()}")


@public("nn.functional", "naiad")
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that the labels, with blanks and repetitions taken out, are the target's.

    log_probs: (T, N, C) or (T, C). targets: (N, S), or all in one row. Lengths: (N,), tensors or sequences.
    "mean" divides each loss by its target's length first. zero_infinity: impossible targets count 0.
    """
    if isinstance(reduction, int):
        reduction = ("none", "mean", "sum")[reduction]
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
    inputs, lengths = _numbers(input_lengths), _numbers(target_lengths)
    _check(log_probs, inputs, lengths, blank)
    losses = _losses(log_probs, _padded_targets(targets, lengths, log_probs._array.shape[1]), inputs, lengths, blank)
    if zero_infinity:
        losses = where_op(losses == float("inf"), 0.0, losses)
    if reduction == "mean":
        per = from_numpy(np.maximum(lengths, 1)).to(losses._device, losses._dtype)
        return (losses / per).mean()
    return reduced(losses[0] if single and reduction == "none" else losses, reduction)


def _losses(log_probs: Tensor, targets: np.ndarray, inputs: np.ndarray, lengths: np.ndarray, blank: int) -> Tensor:
    """The loss of every sample (N,)."""
    steps, batch, _ = log_probs._array.shape
    home, of = log_probs._device, log_probs._dtype
    # States: the labels with a blank before, between and after them.
    states = np.full((batch, 2 * targets.shape[1] + 1), blank, np.int64)
    states[:, 1::2] = targets
    skips = np.zeros(states.shape, np.bool_)
    skips[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])

    def tensor(array: np.ndarray) -> Tensor:
        return from_numpy(np.ascontiguousarray(array)).to(home)

    index = tensor(np.broadcast_to(states, (steps, *states.shape)))
    scores = log_probs.gather(2, index)
    allowed = tensor(skips)
    pad = PUBLIC["nn.functional"]["pad"]
    first = np.full(states.shape, _NEVER)
    first[:, :2] = 0
    if not steps:
        raise RuntimeError(f"ctc_loss: log_probs must have at least one step, got shape {list(log_probs.shape)}")
    alpha = scores[0] + tensor(first).to(of)
    for t in range(1, steps):
        one = pad(alpha, (1, -1), value=_NEVER)
        two = where_op(allowed, pad(alpha, (2, -2), value=_NEVER) if states.shape[1] > 1 else one, _NEVER)
        alpha = where_op(tensor((t < inputs)[:, None]), log_add_three(alpha, one, two) + scores[t], alpha)
    ends = np.stack([2 * lengths, np.maximum(2 * lengths - 1, 0)], 1)
    last = alpha.gather(1, tensor(ends))
    other = where_op(tensor(lengths > 0), last[:, 1], _NEVER)
    total = -log_add_three(last[:, 0], other, _NEVER)
    return where_op(total > _IMPOSSIBLE, float("inf"), total)
