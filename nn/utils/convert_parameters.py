"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import naiad
from naiad.core.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flattened into one 1-D tensor."""
    return naiad.cat([parameter.reshape(-1) for parameter in _on_one_device(parameters)])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make the parameters views of consecutive parts of ``vec``."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in _on_one_device(parameters):
        end = start + parameter.numel()
        parameter.data = vec[start:end].view_as(parameter).data
        start = end


def _on_one_device(parameters: Iterable[Tensor]) -> list[Tensor]:
    listed = list(parameters)
    if len({parameter.device for parameter in listed}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return listed
