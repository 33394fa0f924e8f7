"""Losses of one element each, then reduced: squared and absolute errors, binary cross entropy, divergences."""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.device import CPU
from naiad.core.elementwise import elementwise
from naiad.core.op import public
from naiad.core.tensor import Tensor
from naiad.ops.loss_tools import REDUCTIONS, legacy_reduction, reduced, warn_of_shapes

F = "nn.functional"


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str, normalize: bool = False) -> Tensor:
    if weight is None:
        return reduced(loss, reduction)
    loss = loss * weight
    if normalize and reduction == "mean":
        return loss.sum() / weight.expand(loss.shape).sum()
    return reduced(loss, reduction)


def _pairs(**more: Any) -> Callable:
    def samples(s: Any) -> list:
        calls = [s.call(s(2, 3), s(2, 3), **more), s.call(s(4), s(4), reduction="none", **more)]
        return [*calls, s.call(s(2, 2), s(2, 2), reduction="sum", **more)]

    return samples


# ---------------------------------------------------------------- errors
@elementwise(namespaces=(), name="squared_error")
def squared_error(m: Any, input: Any, target: Any) -> Any:
    """(input - target) ** 2."""
    difference = input - target
    return difference * difference


@public(F, samples=_pairs(), autocast="float32")
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target) ** 2. weight: of each element; the mean is then the weighted one."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    warn_of_shapes("mse_loss", input, target)
    return _weighted(squared_error(input, target), weight, reduction, normalize=True)


@elementwise(namespaces=(), name="absolute_error", result="real")
def absolute_error(m: Any, input: Any, target: Any) -> Any:
    """|input - target|."""
    return m.abs(input - target)


@public(F, samples=_pairs(), autocast="float32")
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|. weight: of each element; the mean is then the weighted one."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    warn_of_shapes("l1_loss", input, target)
    return _weighted(absolute_error(input, target), weight, reduction, normalize=True)


def _between(m: Any, error: Any, width: Any) -> Any:
    """The error, cut to [-width, width]: written out, so that the gradient of an infinite one is finite."""
    return m.where(error > width, width, m.where(error < -width, -width, error))


@elementwise(
    namespaces=(),
    name="smooth_l1",
    kinds=(2,),
    grad={
        "input": lambda m, g, input, target, beta: g * (_between(m, input - target, beta) / beta),
        "target": lambda m, g, input, target, beta: -g * (_between(m, input - target, beta) / beta),
    },
)
def smooth_l1_op(m: Any, input: Any, target: Any, beta: Any) -> Any:
    """The absolute error less beta / 2, and quadratic below beta."""
    error = m.abs(input - target)
    return m.where(error < beta, 0.5 * error * error / beta, error - 0.5 * beta)


@public(F, samples=lambda s: [*_pairs()(s), s.call(s(3, 4), s(3, 4), beta=0.3)], autocast="float32")
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """|d| - beta / 2 where |d| >= beta, else d ** 2 / (2 * beta), with d = input - target."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    warn_of_shapes("smooth_l1_loss", input, target)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}.")
    loss = smooth_l1_op(input, target, float(beta)) if beta else absolute_error(input, target)
    return reduced(loss, reduction)


@elementwise(
    namespaces=(),
    name="huber",
    kinds=(2,),
    grad={
        "input": lambda m, g, input, target, delta: g * _between(m, input - target, delta),
        "target": lambda m, g, input, target, delta: -g * _between(m, input - target, delta),
    },
)
def huber_op(m: Any, input: Any, target: Any, delta: Any) -> Any:
    """Half the squared error, and linear past delta."""
    error = m.abs(input - target)
    return m.where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))


@public(F, samples=lambda s: [*_pairs()(s), s.call(s(3, 4), s(3, 4), delta=0.4)], autocast="float32")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d ** 2 / 2 where |d| <= delta, else delta * (|d| - delta / 2), with d = input - target."""
    warn_of_shapes("huber_loss", input, target)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}.")
    return _weighted(huber_op(input, target, float(delta)), weight, reduction, normalize=True)


# ---------------------------------------------------------------- binary cross entropy
def _bce_slope(m: Any, g: Any, input: Any, target: Any) -> Any:
    return g * (input - target) / m.maximum((1 - input) * input, 1e-12)


@elementwise(namespaces=(), name="binary_cross_entropy", kinds=(2,), grad={"input": _bce_slope})
def bce_op(m: Any, input: Any, target: Any) -> Any:
    """-target * log(input) - (1 - target) * log(1 - input), each logarithm at least -100."""
    return (target - 1) * m.maximum(m.log1p(-input), -100.0) - target * m.maximum(m.log(input), -100.0)


def _chances(s: Any) -> list:
    def pair(*shape: int) -> tuple:
        return s(*shape, low=0.05, high=0.95), s(*shape, low=0.05, high=0.95)

    return [s.call(*pair(2, 3)), s.call(*pair(4), reduction="none"), s.call(*pair(4), reduction="sum")]


@public(F, samples=_chances, autocast={"cpu": "float32", "cuda": "unsafe"})
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-target * log(input) - (1 - target) * log(1 - input); input are probabilities.

    Raises ValueError for two shapes, RuntimeError for an input outside of [0, 1].
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise ValueError(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}) is "
            "deprecated. Please ensure they have the same size."
        )
    if target._dtype is not input._dtype:
        raise RuntimeError(
            f"binary_cross_entropy: Found dtype {target._dtype.name} for target but expected {input._dtype.name}"
        )
    if input._device.kind == CPU and input.numel():
        low, high = np.min(input._array), np.max(input._array)
        if low < 0 or high > 1:
            raise RuntimeError(
                f"binary_cross_entropy: all elements of input should be between 0 and 1, they go from {low} to {high}. "
                "For scores use binary_cross_entropy_with_logits"
            )
    return _weighted(bce_op(input, target), weight, reduction)


def _logits_slope(m: Any, g: Any, input: Any, target: Any) -> Any:
    return g * (m.sigmoid(input) - target)


def _log_sigmoid(m: Any, x: Any) -> Any:
    return m.minimum(x, 0.0) - m.log1p(m.exp(-m.abs(x)))


@elementwise(namespaces=(), name="bce_with_logits", kinds=(2,), grad={"input": _logits_slope})
def bce_logits_op(m: Any, input: Any, target: Any) -> Any:
    """Binary cross entropy of sigmoid(input)."""
    return (1 - target) * input - _log_sigmoid(m, input)


def _weighted_logits_slope(m: Any, g: Any, input: Any, target: Any, pos_weight: Any) -> Any:
    return g * ((1 - target) - (1 + (pos_weight - 1) * target) * m.sigmoid(-input))


@elementwise(namespaces=(), name="bce_with_logits_weighted", kinds=(2,), grad={"input": _weighted_logits_slope})
def bce_logits_weighted_op(m: Any, input: Any, target: Any, pos_weight: Any) -> Any:
    """Binary cross entropy of sigmoid(input), where a positive example counts pos_weight times."""
    return (1 - target) * input - (1 + (pos_weight - 1) * target) * _log_sigmoid(m, input)


def _logit_samples(s: Any) -> list:
    weighted = s.call(s(2, 3), s(2, 3, low=0, high=1), pos_weight=s.fixed([4, 1, 2]))
    far = s.fixed([-90.0, 0.0, 90.0], "f8", True)
    return [*_pairs()(s), weighted, s.call(s(2, 3), s(2, 3), s.fixed([4, 1, 2])), s.call(far, s(3))]


@public(F, samples=_logit_samples, autocast="float32")
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow. pos_weight: how much a positive example counts."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise ValueError(f"Target size ({list(target.shape)}) must be the same as input size ({list(input.shape)})")
    if pos_weight is None:
        return _weighted(bce_logits_op(input, target), weight, reduction)
    return _weighted(bce_logits_weighted_op(input, target, pos_weight.detach()), weight, reduction)


# ---------------------------------------------------------------- divergences and likelihoods
@elementwise(namespaces=(), name="kl_div_op", kinds=(2,))
def kl_div_op(m: Any, input: Any, target: Any) -> Any:
    """target * (log(target) - input), where 0 * log(0) is 0."""
    return m.where(target == 0, 0.0, target * m.log(m.where(target == 0, 1.0, target))) - target * input


@elementwise(namespaces=(), name="kl_div_log_op", kinds=(2,))
def kl_div_log_op(m: Any, input: Any, target: Any) -> Any:
    """exp(target) * (target - input)."""
    return m.exp(target) * (target - input)


def _divergences(s: Any) -> list:
    def call(**more: Any) -> Any:
        return s.call(s(3, 4), s(3, 4, low=0.1, high=1), **more)

    return [call(reduction="batchmean"), call(reduction="sum"), call(reduction="none", log_target=True)]


@public(F, samples=_divergences, autocast="float32")
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input): input are log-probabilities, target probabilities or (log_target) logarithms.

    reduction "batchmean": the sum divided by the size of the first dimension, which is the divergence per sample.
    """
    reduction = legacy_reduction(size_average, reduce, reduction, (*REDUCTIONS, "batchmean"))
    loss = (kl_div_log_op if log_target else kl_div_op)(input, target)
    if reduction == "batchmean":
        return reduced(loss, "sum") / (input._array.shape[0] if input.ndim else 1)
    if reduction == "mean":
        warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
        )
    return reduced(loss, reduction)


@elementwise(namespaces=(), name="poisson_nll", kinds=(2,))
def poisson_nll_op(m: Any, input: Any, target: Any) -> Any:
    """exp(input) - target * input."""
    return m.exp(input) - target * input


@elementwise(namespaces=(), name="poisson_nll_rate", kinds=(2,))
def poisson_rate_op(m: Any, input: Any, target: Any, eps: Any) -> Any:
    """input - target * log(input + eps)."""
    return input - target * m.log(input + eps)


@elementwise(namespaces=(), name="stirling", promote="float")
def stirling_op(m: Any, target: Any) -> Any:
    """Stirling's approximation of log(target!), and 0 up to 1."""
    x = m.maximum(target, 1.0)
    return m.where(target <= 1, 0.0, x * m.log(x) - x + 0.5 * m.log(2 * pi * x))


@public(
    F,
    samples=lambda s: [
        s.call(s(3, 4), s(3, 4, low=0, high=4), full=True),
        s.call(s(3), s(3), reduction="sum"),
        s.call(s(3, low=0.1, high=2), s(3), log_input=False, reduction="none"),
    ],
    autocast="float32",
)
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target * input, or input - target * log(input + eps); full: with log(target!) after Stirling."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = poisson_nll_op(input, target) if log_input else poisson_rate_op(input, target, eps)
    return reduced(loss + stirling_op(target) if full else loss, reduction)


@elementwise(namespaces=(), name="gaussian_nll", kinds=(2,))
def gaussian_nll_op(m: Any, input: Any, target: Any, var: Any) -> Any:
    """(log(var) + (input - target) ** 2 / var) / 2."""
    difference = input - target
    return 0.5 * (m.log(var) + difference * difference / var)


# PyTorch clamps the variance without telling autograd: below eps the gradient is that at eps.
@elementwise(namespaces=(), name="floored", kinds=(2,), grad={"input": lambda m, g: g})
def floored(m: Any, input: Any, eps: Any) -> Any:
    """max(input, eps), with the gradient of the identity."""
    return m.maximum(input, eps)


@public(
    F,
    samples=lambda s: [
        s.call(s(3, 4), s(3, 4), s(3, 4, low=0.1, high=2)),
        s.call(s(3, 4), s(3, 4), s(3, low=0.1, high=2), full=True, reduction="none"),
        s.call(s(3, 4), s(3, 4), s(3, 1, low=0.1, high=2), reduction="sum"),
        s.call(s(3, 4), s(3, 4), 0.5),
    ],
    autocast={"cuda": "float32"},
)
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log(var) + (input - target) ** 2 / var) / 2, with var at least eps; full: plus log(2 * pi) / 2.

    var: a number, or of the input's shape, or with 1 for (or without) its last dimension.
    """
    if isinstance(var, (int, float)):
        var = input.new_full((1,) * input.ndim, var) * input.detach().new_ones(input.shape)
    elif var._array.shape != input._array.shape:
        if input._array.shape[:-1] == var._array.shape:
            var = var.unsqueeze(-1)
        elif input._array.shape[:-1] != var._array.shape[:-1] or var._array.shape[-1] != 1:
            raise ValueError(f"var is of incorrect size: {list(var.shape)} for an input of {list(input.shape)}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    if (var < 0).any():
        raise ValueError("var has negative entry/entries")
    loss = gaussian_nll_op(input, target, floored(var, eps))
    return reduced(loss + 0.5 * log(2 * pi) if full else loss, reduction)
