"""Losses that ask for a margin: ranking, hinge, triplet, multi-class and multi-label ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.distance import cosine_similarity, pairwise_distance
from naiad.ops.loss import F
from naiad.ops.loss_tools import legacy_reduction, reduced


@elementwise(namespaces=(), name="margin_ranking", kinds=(2,))
def margin_ranking_op(m: Any, input1: Any, input2: Any, target: Any, margin: Any) -> Any:
    """max(0, margin - target * (input1 - input2))."""
    return m.maximum(margin - target * (input1 - input2), 0.0)


def _signs(s: Any, *shape: int) -> Any:
    return s.fixed(s.random.choice([-1, 1], shape))


@public(
    F,
    samples=lambda s: [
        s.call(s(4), s(4), s.fixed([1, -1, 1, -1])),
        s.call(s(2, 3), s(2, 3), _signs(s, 2, 3), margin=0.7, reduction="none"),
    ],
    autocast="float32",
)
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)), with targets 1 and -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)}"
        )
    return reduced(margin_ranking_op(input1, input2, target, margin), reduction)


@elementwise(namespaces=(), name="hinge_embedding", kinds=(2,))
def hinge_embedding_op(m: Any, input: Any, target: Any, margin: Any) -> Any:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    return m.where(target == -1, m.maximum(margin - input, 0.0), 0.0) + m.where(target == 1, input, 0.0)


@public(
    F,
    samples=lambda s: [s.call(s(2, 3), _signs(s, 2, 3)), s.call(s(4), _signs(s, 4), 0.5, reduction="none")],
    autocast="float32",
)
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return reduced(hinge_embedding_op(input, target, margin), reduction)


@elementwise(namespaces=(), name="soft_margin", kinds=(2,))
def soft_margin_op(m: Any, input: Any, target: Any) -> Any:
    """log(1 + exp(-target * input))."""
    z = -target * input
    return m.where(z > 0, z, 0.0) + m.log1p(m.exp(m.where(z > 0, -z, z)))


@public(
    F,
    samples=lambda s: [s.call(s(2, 3), _signs(s, 2, 3)), s.call(s(4), _signs(s, 4), reduction="sum")],
    autocast="float32",
)
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)), with targets 1 and -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return reduced(soft_margin_op(input, target), reduction)


@elementwise(namespaces=(), name="cosine_embedding", kinds=(2,))
def cosine_embedding_op(m: Any, cosine: Any, target: Any, margin: Any) -> Any:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1."""
    return m.where(target == 1, 1 - cosine, m.where(target == -1, m.maximum(cosine - margin, 0.0), 0.0))


@public(
    F,
    samples=lambda s: [
        s.call(s(4, 3), s(4, 3), s.fixed([1, -1, 1, -1])),
        s.call(s(3), s(3), s.fixed(-1), 0.1, reduction="none"),
    ],
    autocast="float32",
)
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1. Inputs (N, D) or (D,)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if target.ndim not in (0, 1) or input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    cosine = cosine_similarity(input1, input2, target.ndim, 1e-8)
    return reduced(cosine_embedding_op(cosine, target, margin), reduction)


@elementwise(namespaces=(), name="hinge", kinds=(2,))
def hinge_op(m: Any, margin: Any, near: Any, far: Any) -> Any:
    """max(0, margin + near - far)."""
    return m.maximum(margin + near - far, 0.0)


def _triplet(
    distance: Callable, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, swap: bool, reduction: str
) -> Tensor:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced(hinge_op(float(margin), near, far), reduction)


def _triples(s: Any) -> list:
    call = [s.call(s(3, 4), s(3, 4), s(3, 4)), s.call(s(4), s(4), s(4), margin=3.0)]
    return [*call, s.call(s(3, 4), s(3, 4), s(3, 4), swap=True, reduction="none")]


@public(F, samples=_triples, autocast="float32")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + |anchor - positive| - |anchor - negative|) in p-norms; inputs (N, D) or (D,).

    swap: where the positive is nearer to the negative than the anchor is, that distance counts.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet(distance, anchor, positive, negative, margin, swap, reduction)


@public(F, samples=_triples)
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance of two tensors (default: pairwise_distance)."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(distance_function or pairwise_distance, anchor, positive, negative, margin, swap, reduction)


@public(
    F,
    samples=lambda s: [
        s.call(s(3, 4), s.ints(3, high=4)),
        s.call(s(4), s.ints(high=4), p=2),
        s.call(s(3, 4), s.ints(3, high=4), margin=0.6, reduction="none"),
    ],
    autocast="float32",
)
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum_j max(0, margin - input[t] + input[j]) ** p / C over classes j other than t; input (N, C) or (C,)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"weight must be one-dimensional, got {list(weight.shape)}")
    classes = input._array.shape[-1]
    own = target.unsqueeze(-1)
    terms = hinge_op(float(margin), input, input.gather(-1, own))
    if p == 2:
        terms = terms * terms
    if weight is not None:
        terms = terms * weight[target].unsqueeze(-1)
    others = PUBLIC[F]["one_hot"](target, classes) == 0
    return reduced((terms * others).sum(-1) / classes, reduction)


@public(
    F,
    samples=lambda s: [
        s.call(s(2, 4), s.fixed([[1, 3, -1, 0], [0, -1, 2, 2]])),
        s.call(s(4), s.fixed([2, 0, -1, 1]), reduction="none"),
    ],
    autocast="float32",
)
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over labels t and all classes j that are none of max(0, 1 - input[t] + input[j]) / C.

    target: int64 of the input's shape (N, C) or (C,); the labels of a row end at its first -1.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if target._array.shape != input._array.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    classes = input._array.shape[-1]
    given = (target >= 0).to(target._dtype).cumprod(-1)
    chosen = target * given
    hot = PUBLIC[F]["one_hot"](chosen, classes) * given.unsqueeze(-1)
    labels = hot.sum(-2) > 0
    terms = hinge_op(1.0, input.unsqueeze(-2), input.gather(-1, chosen).unsqueeze(-1))
    counted = (given.unsqueeze(-1) > 0) & ~labels.unsqueeze(-2)
    return reduced((terms * counted).sum((-2, -1)) / classes, reduction)


@public(
    F,
    samples=lambda s: [
        s.call(s(3, 4), s(3, 4, low=0, high=1)),
        s.call(s(3, 4), s(3, 4, low=0, high=1), weight=s.fixed([4, 1, 2, 3]), reduction="none"),
    ],
    autocast={"cpu": "keep", "cuda": "float32"},
)
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """binary_cross_entropy_with_logits, averaged over the last dimension."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    terms = PUBLIC[F]["binary_cross_entropy_with_logits"](input, target, reduction="none")
    if weight is not None:
        terms = terms * weight
    return reduced(terms.mean(-1), reduction)
