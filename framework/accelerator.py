"""The machine's accelerator, whatever it is: PyTorch's device-agnostic names."""

from naiad.core import backend
from naiad.core.device import device


def is_available() -> bool:
    """Whether there is an accelerator."""
    return backend.device_count() > 0


def device_count() -> int:
    """How many accelerators there are."""
    return backend.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """`device("cuda")` where there is one, else None."""
    return device("cuda") if backend.device_count() else None


def current_device_index() -> int:
    """The index of the accelerator in use."""
    from naiad import cuda

    return cuda.current_device()


def synchronize(device: object = None) -> None:
    """Wait for all work on the accelerator. Without one there is nothing to wait for."""
    if is_available():
        from naiad import cuda

        cuda.synchronize(device)
