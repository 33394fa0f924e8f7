"""Named ranges and marks for NVIDIA's profilers. The simulated device has no profiler: there they do nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from naiad.core import backend
from naiad.cuda.devices import native, require


class _Depth(threading.local):
    open = 0  # ranges of this thread


_depth = _Depth()


def range_push(msg: str) -> int:
    """Open a range inside those that are open; returns how many were open before."""
    require()
    if not backend.simulated():
        native().nvtx.RangePush(msg)
    _depth.open += 1
    return _depth.open - 1


def range_pop() -> int:
    """Close the innermost range; returns how many are still open. Raises RuntimeError where none is."""
    require()
    if not _depth.open:
        raise RuntimeError("nvtx.range_pop(): no range is open: call range_push(name) first")
    if not backend.simulated():
        native().nvtx.RangePop()
    _depth.open -= 1
    return _depth.open


def mark(msg: str) -> None:
    """Mark this moment."""
    require()
    if not backend.simulated():
        native().nvtx.Mark(msg)


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """``with naiad.cuda.nvtx.range("step {}", 3):`` or a decorator: a range around what is inside."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
