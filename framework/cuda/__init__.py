"""What PyTorch calls `torch.cuda`: which devices there are, and seeding them."""

from __future__ import annotations

from typing import Any

from naiad.core import backend, random
from naiad.core.device import device as Device

_current = 0


def is_available() -> bool:
    """Whether tensors can live on `cuda`. False on a machine without a GPU, unless NAIAD_CUDA=interpret."""
    return backend.device_count() > 0


def device_count() -> int:
    """How many cuda devices there are; 0 without a GPU."""
    return backend.device_count()


def current_device() -> int:
    """The index of the device that "cuda" means. Raises RuntimeError without one."""
    _require()
    return _current


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be used."""
    return is_available()


def is_initialized() -> bool:
    """Whether cuda has been used: with the simulated device there is nothing to set up."""
    return is_available()


def synchronize(device: Any = None) -> None:
    """Wait for all work on a device. The simulated device works in step with the host."""
    _require()


def empty_cache() -> None:
    """Give cached memory back. The simulated device caches none."""


def get_device_name(device: Any = None) -> str:
    """The name of a device."""
    _require()
    return f"naiad simulated device {_index(device)} (Triton's interpreter)"


def manual_seed(seed: int) -> None:
    """Seed the current device's generator; nothing happens without a cuda device."""
    if is_available():
        random.generator_for(Device("cuda", _current)).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all cuda devices; nothing happens without one."""
    for index in range(device_count()):
        random.generator_for(Device("cuda", index)).manual_seed(seed)


def get_rng_state(device: Any = "cuda") -> Any:
    """Where a device's stream of random numbers is: a uint8 tensor on the CPU. Raises RuntimeError without a device."""
    _require()
    return random.generator_for(backend.resolve(Device(device))).get_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Go to a state from `get_rng_state`. Raises RuntimeError without a device."""
    _require()
    random.generator_for(backend.resolve(Device(device))).set_state(new_state)


def get_rng_state_all() -> list[Any]:
    """The state of every cuda device."""
    return [get_rng_state(Device("cuda", index)) for index in range(device_count())]


def set_rng_state_all(new_states: Any) -> None:
    """Go to states from `get_rng_state_all`."""
    for index, state in enumerate(new_states):
        set_rng_state(state, Device("cuda", index))


def _index(device: Any) -> int:
    if device is None:
        return _current
    return device if isinstance(device, int) else backend.resolve(Device(device)).index or 0


def _require() -> None:
    reason = backend.why_no_cuda()
    if reason:
        raise RuntimeError(reason)
