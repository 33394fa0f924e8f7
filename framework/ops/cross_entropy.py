"""Cross entropy and the negative log likelihood.

For a sample i with class t, weights w and smoothing e, over classes c:
    q_ic = w_c * ((1 - e) * [c == t] + e / C)       (0 where t is ignore_index)
    nll_i = -sum_c q_ic * x_ic,    cross_entropy_i = nll_i of log_softmax(x)
and "mean" divides the sum by the sum of w_t. nll is linear in x, and its gradient is linear in g.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, int64, uint8
from naiad.core.op import as_one, public
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.loss_tools import legacy_reduction, reduced
from naiad.ops.rows import maxima, sums
from naiad.ops.softmax import log_softmax_backward, log_softmax_op

ndarray = np.ndarray


# ---------------------------------------------------------------- shapes and errors
def _rule(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore: int, reduction: str, smoothing: float
) -> Any:
    x, t = input._array.shape, target._array.shape
    if input._dtype.kind != FLOAT:
        raise RuntimeError(f"cross_entropy: expected floating-point scores, got {input._dtype.name}")
    if not x:
        raise RuntimeError("cross_entropy: input must have at least one dimension, got a 0-d tensor")
    wanted = x[:1] + x[2:] if len(x) > 1 else ()
    if len(x) > 1 and t and x[0] != t[0]:
        raise ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size ({t[0]}).")
    if t != wanted:
        raise RuntimeError(
            f"cross_entropy: for scores of shape {list(x)}, class numbers must be of shape {list(wanted)}, "
            f"got {list(t)}. (Class probabilities are floats of the scores' shape)"
        )
    if target._dtype is not int64 and target._dtype is not uint8:
        raise RuntimeError(
            f"cross_entropy: expected scalar type Long for class numbers but found {target._dtype.name}. "
            "Convert the target with .long()"
        )
    classes = x[1] if len(x) > 1 else x[0]
    if weight is not None and weight._array.shape != (classes,):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got "
            f"weight tensor of shape: {list(weight._array.shape)}"
        )
    if weight is not None and weight._dtype is not input._dtype:
        raise RuntimeError(
            f"cross_entropy: expected scalar type {input._dtype.name} for the class weights but found "
            f"{weight._dtype.name}"
        )
    numbers = target._array
    if isinstance(numbers, ndarray):
        wrong = numbers[((numbers < 0) | (numbers >= classes)) & (numbers != ignore)]
        if wrong.size:
            raise IndexError(f"Target {wrong[0]} is out of bounds. There are {classes} classes, 0 to {classes - 1}")
    return (wanted if reduction == "none" else ()), input._dtype


def _fused_rule(*xs: Any, **attrs: Any) -> list:
    facts = _rule(*xs, **attrs)
    return [facts, (xs[0]._array.shape, xs[0]._dtype)]


# ---------------------------------------------------------------- NumPy
class Classes:
    """The targets of a batch, checked: the class of every sample (0 where ignored), which count, and their weights."""

    def __init__(self, scores: ndarray, target: ndarray, weight: ndarray | None, ignore: int, smoothing: float) -> None:
        if scores.dtype.kind != "f" or not scores.ndim or (target.dtype != np.int64 and target.dtype != np.uint8):
            raise TypeError("operands")
        self.shape = scores.shape
        self.axis = 1 if scores.ndim > 1 else 0
        if target.shape != scores.shape[: self.axis] + scores.shape[self.axis + 1 :]:
            raise TypeError("shapes")
        classes = scores.shape[self.axis]
        if weight is not None and (weight.shape != (classes,) or weight.dtype != scores.dtype):
            raise TypeError("weight")
        self.counts: ndarray | None = None
        lowest, highest = (int(target.min()), int(target.max())) if target.size else (0, -1)
        if lowest < 0 or highest >= classes or lowest <= ignore <= highest:
            self.counts = target != ignore
            target = np.where(self.counts, target, 0)
            if target.size and (target.min() < 0 or target.max() >= classes):
                raise IndexError("class")
        self.target, self.weight, self.smoothing, self.classes = target, weight, smoothing, classes
        self.of_sample = self._of_sample(scores.dtype)

    def _of_sample(self, of: np.dtype) -> ndarray | None:
        """w_t of every sample, 0 where ignored; None: all are 1."""
        if self.weight is None:
            return None if self.counts is None else self.counts.astype(of)
        chosen = self.weight[self.target]
        return chosen if self.counts is None else chosen * self.counts

    def total(self, of: np.dtype) -> Any:
        """The sum of w_t: what "mean" divides by."""
        return of.type(self.target.size) if self.of_sample is None else np.add.reduce(self.of_sample, None)

    def index(self) -> tuple:
        """Where the scores of the samples' own classes stand."""
        if self.axis == 0:
            return (self.target,)
        grid = np.ogrid[tuple(slice(n) for n in self.target.shape)]
        return (grid[0], self.target, *grid[1:])

    def spread_weight(self) -> ndarray:
        """weight in the scores' rank."""
        assert self.weight is not None
        return self.weight.reshape((-1,) + (1,) * (len(self.shape) - 1 - self.axis))

    def smooth(self, of: np.dtype) -> ndarray:
        """q, in full."""
        share = of.type(self.smoothing / self.classes)
        q = np.full(self.shape, share, of)
        q[self.index()] += of.type(1 - self.smoothing)
        if self.weight is not None:
            q *= self.spread_weight()
        if self.counts is not None:
            q *= np.expand_dims(self.counts, self.axis)
        return q


def _reduce(losses: ndarray, classes: Classes, reduction: str) -> Any:
    if reduction == "none":
        return np.asarray(losses, order="C")
    total = np.add.reduce(losses, None)
    return total / classes.total(losses.dtype) if reduction == "mean" else total


def _losses(x: ndarray, classes: Classes) -> ndarray:
    """-sum_c q_ic * x_ic."""
    if classes.smoothing:
        return -np.add.reduce(classes.smooth(x.dtype) * x, classes.axis)
    losses = -x[classes.index()]
    return losses if classes.of_sample is None else np.where(classes.of_sample == 0, 0, losses * classes.of_sample)


def _per_sample(grad: ndarray, classes: Classes, reduction: str) -> Any:
    """What each sample's loss is multiplied by."""
    return grad / classes.total(grad.dtype) if reduction == "mean" else grad


# ---------------------------------------------------------------- negative log likelihood
@primitive(
    rule=_rule,
    kernel="cross_entropy.nll",
    grad=(
        lambda g, target, weight, input_shape, ignore, reduction, smoothing: nll_grad(
            g, target, weight, shape=input_shape, ignore=ignore, reduction=reduction, smoothing=smoothing
        ),
        None,
        None,
    ),
    autocast="float32",
)
def nll_op(
    input: ndarray, target: ndarray, weight: ndarray | None = None, *, ignore: int, reduction: str, smoothing: float
) -> Any:
    """The negative log likelihood of classes under log-probabilities input (N, C, ...)."""
    classes = Classes(input, target, weight, ignore, smoothing)
    return _reduce(_losses(input, classes), classes, reduction)


@primitive(
    rule=lambda grad, target, weight=None, *, shape, **attrs: (shape, grad._dtype),
    kernel="cross_entropy.nll_grad",
    grad=(
        lambda g, target, weight, ignore, reduction, smoothing: nll_op(
            g, target, weight, ignore=ignore, reduction=reduction, smoothing=smoothing
        ),
        None,
        None,
    ),
)
def nll_grad(
    grad: ndarray,
    target: ndarray,
    weight: ndarray | None = None,
    *,
    shape: tuple[int, ...],
    ignore: int,
    reduction: str,
    smoothing: float,
) -> ndarray:
    """-g_i * q_ic: the gradient of nll."""
    classes = Classes(np.broadcast_to(grad.dtype.type(0), shape), target, weight, ignore, smoothing)
    g = -_per_sample(grad, classes, reduction)
    if smoothing:
        q = classes.smooth(grad.dtype)
        q *= np.expand_dims(g, classes.axis) if g.ndim else g
        return q
    out = np.zeros(shape, grad.dtype)
    out[classes.index()] = (
        g if classes.of_sample is None else np.where(classes.of_sample == 0, 0, g * classes.of_sample)
    )
    return out


# ---------------------------------------------------------------- cross entropy, fused
def _cross_entropy_gradient(
    g: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    out1: Tensor,
    ignore: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    facts = dict(ignore=ignore, reduction=reduction, smoothing=smoothing)
    if not current().grad:
        return cross_entropy_grad(g, out1, target, weight, **facts)
    through = nll_grad(g, target, weight, shape=input._array.shape, **facts)
    dim = 1 if input._array.ndim > 1 else 0
    return log_softmax_backward(through, log_softmax_op(input, dim=dim), dim=dim)


@primitive(
    rule=_fused_rule,
    kernel="cross_entropy.cross_entropy",
    outputs=2,
    grad=(_cross_entropy_gradient, None, None),
    autocast="float32",
)
def cross_entropy_op(
    input: ndarray, target: ndarray, weight: ndarray | None = None, *, ignore: int, reduction: str, smoothing: float
) -> tuple:
    """nll of log_softmax(input), and softmax(input) for the gradient."""
    classes = Classes(input, target, weight, ignore, smoothing)
    axis = classes.axis
    if not input.size:
        return _reduce(np.zeros(target.shape, input.dtype), classes, reduction), np.zeros(input.shape, input.dtype)
    x = np.subtract(input, maxima(input, axis), order="C")
    own = None if smoothing else x[classes.index()]
    if own is None:
        shifted = x
        x = np.exp(x)
    else:
        np.exp(x, out=x)
    total = sums(x, axis)
    logs = np.log(total)
    x /= total
    if own is None:
        return _reduce(_losses(shifted - logs, classes), classes, reduction), x
    losses = logs.reshape(target.shape) - own
    if classes.of_sample is not None:
        losses = np.where(classes.of_sample == 0, 0, losses * classes.of_sample)
    return _reduce(losses, classes, reduction), x


@primitive(
    rule=lambda grad, prob, *rest, **attrs: (prob._array.shape, prob._dtype),
    kernel="cross_entropy.cross_entropy_grad",
)
def cross_entropy_grad(
    grad: ndarray,
    prob: ndarray,
    target: ndarray,
    weight: ndarray | None = None,
    *,
    ignore: int,
    reduction: str,
    smoothing: float,
) -> ndarray:
    """g_i * (softmax_ic * sum_c q_ic - q_ic), given the softmax."""
    classes = Classes(prob, target, weight, ignore, smoothing)
    g = _per_sample(grad, classes, reduction)
    axis = classes.axis
    if smoothing:
        q = classes.smooth(prob.dtype)
        out = prob * np.add.reduce(q, axis, keepdims=True)
        out -= q
        out *= np.expand_dims(g, axis) if g.ndim else g
        return out
    if classes.of_sample is not None:
        g = np.where(classes.of_sample == 0, prob.dtype.type(0), g * classes.of_sample)
    out = prob * (np.expand_dims(g, axis) if g.ndim else g)
    out[classes.index()] -= g
    return out


# ---------------------------------------------------------------- public
def _class_samples(s: Any) -> list:
    return [
        s.call(s(4, 5), s.ints(4)),
        s.call(s(5), s.ints()),
        s.call(s(2, 5, 3), s.ints(2, 3), reduction="none"),
        s.call(s(2, 5, 3, 2), s.ints(2, 3, 2), reduction="sum"),
        s.call(s(6, 5), s.fixed([1, 0, 4, 1, 2, 1]), ignore_index=1),
        s.call(s(6, 5), s.fixed([1, -100, 4, 1, -100, 1]), reduction="none"),
    ]


@public("nn.functional", samples=_class_samples)
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[t] * input[t] for log-probabilities input (N, C, ...) and class numbers target (N, ...)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return nll_op(input, target, weight, ignore=ignore_index, reduction=reduction, smoothing=0.0)


def _all_samples(s: Any) -> list:
    smooth = [
        s.call(s(4, 5), s.ints(4), label_smoothing=0.1),
        s.call(s(2, 5, 3), s.fixed([[1, -100, 2], [0, 0, 4]]), label_smoothing=0.3),
        s.call(s(4, 5), s(4, 5, low=0, high=1)),
        s.call(s(4, 5, 2), s(4, 5, 2, low=0, high=1), label_smoothing=0.2, reduction="none"),
        s.call(s(5), s(5, low=0, high=1), reduction="sum"),
    ]
    return _class_samples(s) + smooth


@public("nn.functional", samples=_all_samples)
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy of scores input (N, C, ...) and classes.

    target: class numbers, int64 of shape (N, ...), or class probabilities of the input's shape and dtype.
    weight: (C,), how much each class counts. ignore_index: a class number that is left out.
    Raises IndexError for a class out of range, ValueError for another batch size, RuntimeError for other shapes.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target._array.shape == input._array.shape and target._array.ndim:
        return _probable(input, target, weight, reduction, label_smoothing)
    return cross_entropy_op(
        input, target, weight, ignore=ignore_index, reduction=reduction, smoothing=float(label_smoothing)
    )[0]


def _with_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    if target._dtype.kind != FLOAT:
        raise RuntimeError(
            "cross_entropy: Expected floating point type for target with class probabilities, got "
            f"{target._dtype.name}. Class numbers would have shape {list(input.shape[:1] + input.shape[2:])}"
        )
    shape = input._array.shape
    dim = 1 if len(shape) > 1 else 0
    if smoothing:
        target = target * (1 - smoothing) + smoothing / shape[dim]
    terms = log_softmax_op(input, dim=dim) * target
    if weight is not None:
        terms = terms * weight.reshape((-1,) + (1,) * (len(shape) - 1 - dim))
    if reduction == "mean":
        return -terms.sum() / (prod(shape) // shape[dim])
    return reduced(-terms.sum(dim), reduction)


_probable = as_one(_with_probabilities, "float32")
