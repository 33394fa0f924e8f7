"""naiad.random: seeds and states of the generators, as in torch.random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from naiad.core.random import (
    default_generator,
    generator_for,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextmanager
def fork_rng(devices: Sequence[Any] | None = None, enabled: bool = True, device_type: str = "cuda") -> Iterator[None]:
    """Draws inside leave the generators outside as they were: the CPU's, and those of `devices` (default: all cuda)."""
    if not enabled:
        yield
        return
    from naiad.core import random as core
    from naiad.core.device import device

    chosen = [device(device_type, d) if isinstance(d, int) else device(d) for d in devices or ()]
    cuda = list(core._cuda_generators.values()) if devices is None else [generator_for(d) for d in chosen]
    saved = [(g, g.get_state()) for g in (default_generator, *cuda)]
    try:
        yield
    finally:
        for generator, state in saved:
            generator.set_state(state)
