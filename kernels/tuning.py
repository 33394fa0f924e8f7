"""Tiles, warps and stages by measurement: what ships with naiad, what this machine measured, and the measuring.

A family of kernels has a rule, which knows no more than sizes and dtype. Where a measurement is at hand, it goes before
the rule: one of this machine's own, in the user's cache folder, or one of `tuned.json`, which ships. Both are tables
``GPU -> "family dtype sizes" -> numbers``; sizes are rounded up to powers of two, and a GPU is its name on this machine
and its architecture ("sm_90") in the table that ships.

Nothing is measured unless NAIAD_AUTOTUNE=1: then a problem that is in neither table is run with each of the family's
candidates at its first use, and the quickest is kept. Other tiles add numbers up in another order, so that results may
differ in their last bits from those of a machine that has measured something else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from triton.errors import TritonError

from naiad.kernels import cubin_cache, interpreting
from naiad.kernels import launch as launching
from naiad.kernels.launch import next_power_of_2

Choice = tuple[int, ...]  # what a family's numbers mean is said there
ROUNDS, ENOUGH = 5, 2e-3  # rounds of each candidate, and the seconds that one lasts
Table = dict[str, dict[str, list[int]]]


@dataclass
class Measurement:
    """What was found for one problem: seconds per run of each candidate, or why it does not run."""

    gpu: str
    problem: str
    rule: Choice
    best: Choice
    seconds: dict[Choice, float]
    refused: dict[Choice, str] = field(default_factory=dict)


measurements: list[Measurement] = []  # of this process, in their order


def choose(
    family: str, like: Any, sizes: Sequence[int], rule: Choice, candidates: Sequence[Choice], run: Callable
) -> Choice:
    """The numbers to launch with: measured ones, or the rule's.

    like: an operand, for dtype and device. run: makes the launch with given numbers; it may be repeated.
    Raises RuntimeError where all candidates and the rule fail.
    """
    if interpreting() or launching.is_recording():
        return rule
    device = like.buffer.device_index
    problem = f"{family} {like.dtype.name} {'x'.join(str(next_power_of_2(n)) for n in sizes)}"
    found = _known(device).get(problem)
    if found is None and os.environ.get("NAIAD_AUTOTUNE") == "1":
        from naiad.kernels import driver

        with driver.cuda().Device(device):  # whose streams the measuring asks
            found = _known(device)[problem] = _measure(_name(device), problem, rule, candidates, run)
        _keep(_name(device), problem, found)
    return rule if found is None else found


# ---------------------------------------------------------------- tables
def own_table() -> Path:
    """Where this machine's measurements are kept."""
    return cubin_cache.folder().with_name("tuned.json")


@cache
def _known(device: int) -> dict[str, Choice]:
    """What is known of a device; its own measurements go before those that ship."""
    from naiad.kernels import driver

    shipped = read(Path(__file__).with_name("tuned.json")).get(f"sm_{driver.arch(device)}", {})
    return {problem: tuple(choice) for problem, choice in (shipped | read(own_table()).get(_name(device), {})).items()}


@cache
def _name(device: int) -> str:
    from naiad.kernels import driver

    name = driver.cuda().runtime.getDeviceProperties(device)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def read(path: Path) -> Table:
    """A table; an empty one where there is no file. Raises ValueError for a damaged one."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is no table of tile sizes ({error}): delete it, or tune again") from error
    return found


def _keep(gpu: str, problem: str, choice: Choice) -> None:
    """Add a measurement to this machine's table, whatever other processes add meanwhile."""
    try:
        with cubin_cache.alone():
            table = read(own_table())
            table.setdefault(gpu, {})[problem] = list(choice)
            cubin_cache.replace(own_table(), text(table).encode())
    except OSError as error:
        cubin_cache.tell(
            f"tile sizes cannot be kept in {own_table()} ({error}): set NAIAD_CACHE_DIR to a writable folder"
        )


def text(table: Table) -> str:
    """A table as JSON, one problem a line."""
    parts = []
    for gpu, problems in sorted(table.items()):
        rows = ",\n".join(f"  {json.dumps(p)}: {json.dumps(list(c))}" for p, c in sorted(problems.items()))
        parts.append(f" {json.dumps(gpu)}: {{\n{rows}\n }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


# ---------------------------------------------------------------- measuring
def _measure(gpu: str, problem: str, rule: Choice, candidates: Sequence[Choice], run: Callable) -> Choice:
    """The quickest of the candidates and the rule, by the median of interleaved rounds."""
    rounds: dict[Choice, list[float]] = {}
    refused: dict[Choice, str] = {}
    with _unseen():
        for choice in dict.fromkeys((rule, *candidates)):
            try:
                run(choice)  # compiles it, too
                rounds[choice] = []
            except (RuntimeError, TritonError) as error:
                refused[choice] = str(error)
        if not rounds:
            raise RuntimeError(f"{problem}: neither the rule nor a candidate runs on {gpu}: {refused}")
        for _ in range(ROUNDS):
            for choice, times in rounds.items():
                times.append(seconds(lambda choice=choice: run(choice)))  # type: ignore[misc]
    found = {choice: median(times) for choice, times in rounds.items()}
    best = min(found, key=found.__getitem__)
    measurements.append(Measurement(gpu, problem, rule, best, found, refused))
    return best


def seconds(run: Callable[[], None]) -> float:
    """GPU seconds of a run, as the mean of so many that they last a while."""
    import cupy

    def timed(count: int) -> float:
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(count):
            run()
        stop.record()
        stop.synchronize()
        return max(cupy.cuda.get_elapsed_time(start, stop), 1e-4) * 1e-3 / count

    return timed(max(1, int(ENOUGH / timed(1))))


@contextmanager
def _unseen() -> Iterator[None]:
    """Launches that no ledger and no plan of a later launch takes notice of."""
    kept = launching.observers[:], launching.watchers[:]
    launching.observers.clear()
    launching.watchers.clear()
    try:
        yield
    finally:
        launching.observers[:], launching.watchers[:] = kept
