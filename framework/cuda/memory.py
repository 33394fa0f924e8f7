"""How much memory tensors take on a device, and giving back what they left. Counts are of bytes, rounded up to 512."""

from __future__ import annotations

from typing import Any

from naiad.core import backend
from naiad.core.memory import OutOfMemoryError, Pool, readable
from naiad.cuda.devices import index_of, is_available, native

__all__ = ["OutOfMemoryError"]


def _pool(device: Any) -> Pool | None:
    """The memory of a device; None without cuda, where all counts are 0."""
    return backend.pool(index_of(device)) if is_available() else None


def memory_allocated(device: Any = None) -> int:
    """Bytes that live tensors take."""
    pool = _pool(device)
    return 0 if pool is None else pool.current()


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that live tensors have taken, since the start or `reset_peak_memory_stats`."""
    pool = _pool(device)
    return 0 if pool is None else pool.peak


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the device: in live tensors, or cached for new ones."""
    pool = _pool(device)
    return 0 if pool is None else pool.reserved


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes seen to be taken from the device. On a GPU that is looked at when it is asked for."""
    pool = _pool(device)
    return 0 if pool is None else max(pool.reserved, pool.peak_reserved)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the `max_` functions from now on."""
    pool = _pool(device)
    if pool is not None:
        pool.reset_peak()


def reset_max_memory_allocated(device: Any = None) -> None:
    """`reset_peak_memory_stats` by an older name."""
    reset_peak_memory_stats(device)


def empty_cache() -> None:
    """Give the memory back that no tensor uses, on all devices."""
    for index in range(backend.device_count()):
        backend.pool(index).release_cached()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a device."""
    index = index_of(device)
    if backend.simulated():
        pool = backend.pool(index)
        return pool.capacity - pool.reserved, pool.capacity
    with native().Device(index):
        return native().runtime.memGetInfo()


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let this process take no more than a part of a device's memory. Raises ValueError outside of [0, 1]."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    backend.pool(index_of(device)).fraction = float(fraction)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The part of a device's memory that this process may take."""
    return backend.pool(index_of(device)).fraction


def memory_stats(device: Any = None) -> dict[str, int]:
    """Counters by PyTorch's names, those that are kept here."""
    pool = _pool(device)
    if pool is None:
        return {}
    return {
        "allocated_bytes.all.current": pool.current(),
        "allocated_bytes.all.peak": pool.peak,
        "reserved_bytes.all.current": pool.reserved,
        "reserved_bytes.all.peak": max(pool.reserved, pool.peak_reserved),
        "allocation.all.allocated": pool.allocations,
        "num_alloc_retries": pool.retries,
        "num_ooms": pool.failures,
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The counters as a table for people."""
    found = memory_stats(device)
    if not found:
        return "no cuda device"
    rows = [("", "now", "peak")]
    rows += [
        (title, readable(found[f"{key}.all.current"]), readable(found[f"{key}.all.peak"]))
        for title, key in (("live tensors", "allocated_bytes"), ("taken from the device", "reserved_bytes"))
    ]
    lines = [f"memory of cuda:{index_of(device)}"] + [f"  {a:<24}{b:>14}{c:>14}" for a, b, c in rows]
    counts = ("allocation.all.allocated", "num_alloc_retries", "num_ooms")
    titles = ("allocations", "retries with the cache freed", "out of memory")
    lines += [f"  {title:<38}{found[key]:>14}" for title, key in zip(titles, counts, strict=True)]
    return "\n".join(lines)
