"""naiad.random: seeds and states of the generators, as in torch.random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from naiad.core.random import (
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextmanager
def fork_rng(devices: Sequence[Any] | None = None, enabled: bool = True, device_type: str = "cuda") -> Iterator[None]:
    """Draws inside leave the stream outside as it was. All devices share it, so `devices` makes no difference."""
    state = default_generator.get_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            default_generator.set_state(state)
