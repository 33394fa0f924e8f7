"""Where the storages of a checkpoint go when it is loaded: `map_location`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from naiad.core.device import device
from naiad.core.storage import TypedStorage, UntypedStorage

MapLocation = None | str | bytes | device | dict[str, str] | Callable[[UntypedStorage, str], UntypedStorage | None]
Restore = Callable[[UntypedStorage, str], UntypedStorage]


def restorer(map_location: MapLocation) -> Restore:
    """A function that moves a storage, read on the CPU and saved from the location in its second argument."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return partial(_restored_from_dict, map_location)
    if isinstance(map_location, bytes):
        map_location = map_location.decode("ascii")
    if isinstance(map_location, str | device):
        target = str(map_location)
        return lambda storage, location: default_restore_location(storage, target)
    if not callable(map_location):
        raise TypeError(
            "naiad.load: map_location must be a device, a string, a dict or a function, got "
            f"{type(map_location).__name__}"
        )
    return partial(_restored_by, map_location)


def default_restore_location(storage: UntypedStorage, location: str) -> UntypedStorage:
    """Move a storage to a location such as ``"cpu"`` or ``"cuda:0"``.

    Raises RuntimeError for a device that this machine has not.
    """
    name = location.partition(":")[0]
    if name not in ("cpu", "cuda", "meta"):
        raise RuntimeError(
            f"don't know how to restore data location of naiad.UntypedStorage (tagged with {location[:100]!r}). Please "
            "use naiad.load with map_location=naiad.device('cpu') to map your storages to the CPU."
        )
    if name == "cuda":
        return storage.to(_cuda_device(location))
    return storage.to(name)


def _cuda_device(location: str) -> device:
    from naiad import cuda

    target = device(location)
    if not cuda.is_available():
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but naiad.cuda.is_available() is False. "
            "If you are running on a CPU-only machine, please use naiad.load with map_location=naiad.device('cpu') "
            "to map your storages to the CPU."
        )
    index = cuda.current_device() if target.index is None else target.index
    if index >= cuda.device_count():
        raise RuntimeError(
            f"Attempting to deserialize object on CUDA device {index} but naiad.cuda.device_count() is "
            f"{cuda.device_count()}. Please use naiad.load with map_location to map your storages to an existing "
            "device."
        )
    return device("cuda", index)


def _restored_from_dict(wanted: dict[str, str], storage: UntypedStorage, location: str) -> UntypedStorage:
    return default_restore_location(storage, str(wanted.get(location, location)))


def _restored_by(function: Callable, storage: UntypedStorage, location: str) -> UntypedStorage:
    result: Any = function(storage, location)
    if result is None:
        return default_restore_location(storage, location)
    if isinstance(result, TypedStorage):
        result = result.untyped()
    if not isinstance(result, UntypedStorage) or result.nbytes() != storage.nbytes():
        raise TypeError(
            "naiad.load: the map_location function must return the storage, the storage moved to a device, or None, "
            f"got {type(result).__name__}"
        )
    return result
