"""What losses share: the reduction at the end, and PyTorch's older way of asking for one."""

from __future__ import annotations

from naiad.core.caution import warn
from naiad.core.op import PUBLIC
from naiad.core.tensor import Tensor
from naiad.ops.reduction import sum_dims

REDUCTIONS = ("none", "mean", "sum")


def legacy_reduction(
    size_average: bool | None, reduce: bool | None, reduction: str, words: tuple[str, ...] = REDUCTIONS
) -> str:
    """`reduction`, or what the deprecated flags mean by it. Raises ValueError for a word that is none."""
    if size_average is None and reduce is None:
        if reduction not in words:
            raise ValueError(f"{reduction} is not a valid value for reduction: one of {', '.join(words)}")
        return reduction
    chosen = "none" if reduce is False else "sum" if size_average is False else "mean"
    warn(f"size_average and reduce args will be deprecated, please use reduction='{chosen}' instead.")
    return chosen


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses as they are ("none"), their "mean" or their "sum". Raises ValueError for another word."""
    if reduction == "mean":
        return PUBLIC["naiad"]["mean"](loss)
    if reduction == "sum":
        return sum_dims(loss, dim=tuple(range(loss._array.ndim)), keepdim=False)
    if reduction != "none":
        raise ValueError(f"{reduction} is not a valid value for reduction: one of none, mean, sum")
    return loss


def warn_of_shapes(name: str, input: Tensor, target: Tensor) -> None:
    """Warn where a loss is about to broadcast, which is seldom meant."""
    if input._array.shape != target._array.shape:
        warn(
            f"{name}: using a target size ({list(target.shape)}) that is different to the input size "
            f"({list(input.shape)}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size."
        )
