"""Timing two libraries beside each other: interleaved rounds in one process, so that both meet the same machine."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any


def interleaved(
    cases: Mapping[Any, Callable[[], Any]], rounds: int, seconds: float, wait: Callable[[], None] | None = None
) -> dict[Any, list[float]]:
    """Seconds per call of each case, one figure per round.

    Every round times each case once, for about `seconds`; the garbage collector runs between rounds, not inside.
    wait: returns when the device has done its work; called before each look at the clock.
    """
    wait = wait or _nothing
    repeats = {key: _repeats(function, seconds, wait) for key, function in cases.items()}
    times: dict[Any, list[float]] = {key: [] for key in cases}
    enabled = gc.isenabled()
    for _ in range(rounds):
        gc.collect()
        gc.disable()
        try:
            for key, function in cases.items():
                count = repeats[key]
                wait()
                start = perf_counter()
                for _ in range(count):
                    function()
                wait()
                times[key].append((perf_counter() - start) / count)
        finally:
            if enabled:
                gc.enable()
    return times


def _nothing() -> None:
    """The CPU has done its work when a call returns."""


def _repeats(function: Callable[[], Any], seconds: float, wait: Callable[[], None]) -> int:
    """How many calls take about `seconds`; the first calls warm caches up."""
    for _ in range(3):
        function()
    count = 1
    while True:
        wait()
        start = perf_counter()
        for _ in range(count):
            function()
        wait()
        taken = perf_counter() - start
        if taken > seconds / 4:
            return max(1, round(count * seconds / taken))
        count *= 2


def summary(times: list[float]) -> tuple[float, float]:
    """The smallest and the median of a case's rounds."""
    return min(times), statistics.median(times)


def machine() -> str:
    """What the figures were measured on: versions, cores and load."""
    import os
    import platform

    import numpy

    import naiad

    load = os.getloadavg()[0]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "unset")
    return (
        f"naiad {naiad.__version__}, NumPy {numpy.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, load {load:.1f}, OPENBLAS_NUM_THREADS {threads}"
    )
