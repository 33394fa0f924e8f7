"""Batches in page-locked memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import naiad
from naiad.utils.data._utils.collate import _like_mapping, _like_sequence


def should_pin(wanted: bool, device: str) -> bool:
    """Whether to pin: where it is wanted and there is an accelerator to copy to."""
    if not wanted:
        return False
    if device:
        warnings.warn(
            f"pin_memory_device is deprecated, the current accelerator will be used; ignoring {device!r}.",
            stacklevel=5,
        )
    if not naiad.cuda.is_available():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, then pinned memory won't be used.",
            stacklevel=5,
        )
        return False
    if not hasattr(naiad.Tensor, "pin_memory"):
        warnings.warn(
            "'pin_memory' argument is set as true but naiad cannot page-lock memory yet: batches stay in ordinary "
            "memory, and copies to the GPU wait for it. Pass pin_memory=False to silence this.",
            stacklevel=5,
        )
        return False
    return True


def pin_memory(data: Any) -> Any:
    """`data` with every Tensor inside of it, and everything that has a `pin_memory` method, pinned."""
    if isinstance(data, (str, bytes)):
        return data
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: pin_memory(value) for key, value in data.items()})
    if isinstance(data, tuple):
        values = [pin_memory(value) for value in data]
        return type(data)(*values) if hasattr(data, "_fields") else values
    if isinstance(data, Sequence):
        return _like_sequence(data, [pin_memory(value) for value in data])
    return data
