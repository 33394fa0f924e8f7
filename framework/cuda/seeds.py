"""The random generators of cuda devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from naiad.core import backend, random
from naiad.core.device import device as Device
from naiad.cuda.devices import device_count, index_of, is_available


def _generator(device: Any) -> random.Generator:
    return random.generator_for(Device("cuda", index_of(device)))


def manual_seed(seed: int) -> None:
    """Seed the current device's generator; nothing happens without a cuda device."""
    if is_available():
        _generator(None).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all cuda devices; nothing happens without one."""
    for index in range(backend.device_count()):
        _generator(index).manual_seed(seed)


def seed() -> None:
    """Seed the current device's generator from the operating system."""
    _generator(None).seed()


def seed_all() -> None:
    """Seed the generators of all cuda devices with one seed from the operating system."""
    if is_available():
        manual_seed_all(_generator(None).seed())


def initial_seed() -> int:
    """The seed of the current device's generator."""
    return _generator(None).initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """Where a device's stream of random numbers is: a uint8 tensor on the CPU. Raises RuntimeError without a device."""
    return _generator(device).get_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Go to a state from `get_rng_state`. Raises RuntimeError without a device."""
    _generator(device).set_state(new_state)


def get_rng_state_all() -> list[Any]:
    """The state of every cuda device."""
    return [get_rng_state(index) for index in range(device_count())]


def set_rng_state_all(new_states: Iterable[Any]) -> None:
    """Go to states from `get_rng_state_all`."""
    for index, state in enumerate(new_states):
        set_rng_state(state, index)
