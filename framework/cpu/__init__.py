"""What PyTorch calls `torch.cpu`: the names of `naiad.cuda` for a device that is always there."""

from typing import Any

from naiad.cpu import amp


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1: there is one cpu device."""
    return 1


def current_device() -> str:
    """The name of the device."""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Wait for all work on the device, which is done by the time a call returns."""


__all__ = ["amp", "current_device", "device_count", "is_available", "synchronize"]
