"""Gradients kept within bounds. ``foreach`` is accepted for PyTorch's sake; there is one way here."""

from __future__ import annotations

from collections.abc import Iterable

import naiad
from naiad.core.tables import one_walk, scale_all, square_sum
from naiad.core.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all tensors seen as one vector, a 0-d tensor."""
    tensors = _listed(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return naiad.tensor(0.0)
    if norm_type == 2.0 and one_walk(tensors) and not _recorded(tensors):
        total = square_sum(tensors).sqrt().to(tensors[0].dtype)
    else:
        total = _norm_of_norms(tensors, norm_type)
    if error_if_nonfinite and not bool(naiad.isfinite(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def _norm_of_norms(tensors: list[Tensor], norm_type: float) -> Tensor:
    first = tensors[0].device
    return naiad.norm(naiad.stack([naiad.norm(tensor, norm_type).to(first) for tensor in tensors]), norm_type)


def _recorded(tensors: list[Tensor]) -> bool:
    return naiad.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients in place by max_norm / total_norm where that is below 1."""
    with naiad.no_grad():
        factor: Tensor = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
        gradients = _gradients(parameters)
        if gradients and one_walk(gradients) and factor.device == gradients[0].device:
            scale_all(gradients, factor)
            return
        for grad in gradients:
            grad.mul_(factor.to(grad.device))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients in place so that their norm, as one vector, is at most ``max_norm``; returns what it was."""
    parameters = _listed(parameters)
    with naiad.no_grad():
        total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
        clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every gradient's elements to [-clip_value, clip_value] in place."""
    clip_value = float(clip_value)
    with naiad.no_grad():
        for grad in _gradients(parameters):
            grad.clamp_(min=-clip_value, max=clip_value)


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [parameter.grad for parameter in _listed(parameters) if parameter.grad is not None]
