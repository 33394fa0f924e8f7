"""What a call costs before any work is done, beside PyTorch in the same run: `python -m naiad.bench.overhead`.

PyTorch is measured at one and at two threads; the better one is the rival. Without PyTorch, naiad's column stands
alone.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.bench.timing import interleaved, machine, summary

BUDGETS = {"x + y": 2.0, "x + y, recorded": 3.5}  # microseconds


def cases(m: Any) -> dict[str, Callable[[], Any]]:
    """Small calls, by name."""
    x, y = m.tensor([1.0, 2.0, 3.0, 4.0]), m.tensor([1.0, 2.0, 3.0, 4.0])
    g = m.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    random = np.random.default_rng(0)
    a = m.from_numpy(random.standard_normal((64, 64)).astype(np.float32))
    w = m.from_numpy(random.standard_normal((64, 64)).astype(np.float32)).requires_grad_()
    b = m.from_numpy(random.standard_normal(64).astype(np.float32)).requires_grad_()

    def step() -> None:
        w.grad = b.grad = None
        m.relu(a @ w + b).sum().backward()

    return {
        "x + y": lambda: x + y,
        "x + y, recorded": lambda: g + y,
        "x * 2.0": lambda: x * 2.0,
        "sigmoid(x)": lambda: m.sigmoid(x),
        "x[1]": lambda: x[1],
        "x.sum()": lambda: x.sum(),
        "relu(x @ w + b).sum().backward(), 64x64": step,
    }


def rival() -> Any:
    """PyTorch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None


def at_threads(torch: Any, threads: int, function: Callable[[], Any]) -> Callable[[], Any]:
    """A case that runs with a number of PyTorch's threads (setting it costs too little to show)."""

    def run() -> Any:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        return function()

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds; the table shows their minimum and median")
    parser.add_argument("--seconds", type=float, default=0.02, help="time per case and round")
    options = parser.parse_args()
    naiad, torch = importlib.import_module("naiad"), rival()
    timed: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, function in cases(naiad).items():
        timed[name, "naiad"] = function
    for threads in (1, 2) if torch is not None else ():
        for name, function in cases(torch).items():
            timed[name, f"torch {threads}"] = at_threads(torch, threads, function)
    # By library first: PyTorch's thread pool is switched twice a round, not at every case.
    ordered = dict(sorted(timed.items(), key=lambda item: item[0][1]))
    times = interleaved(ordered, options.rounds, options.seconds)
    print(machine() + (f", torch {torch.__version__}" if torch is not None else ""))
    print(f"microseconds, minimum / median of {options.rounds} interleaved rounds\n")
    print(f"{'':42} {'naiad':>15} {'torch 1 thread':>15} {'torch 2 threads':>15} {'ratio':>6}")
    for name in cases(naiad):
        print(row(name, times))


def row(name: str, times: dict[Any, list[float]], scale: float = 1e6) -> str:
    """One line of the table, in units of 1 / scale seconds; the ratio is of medians, against PyTorch's better one."""
    cells, medians = [], {}
    for column in ("naiad", "torch 1", "torch 2"):
        found = times.get((name, column))
        if found is None:
            cells.append(f"{'-':>15}")
            continue
        low, middle = summary(found)
        medians[column] = middle
        cells.append(f"{low * scale:6.2f} / {middle * scale:6.2f}")
    others = [v for k, v in medians.items() if k != "naiad"]
    ratio = f"{medians['naiad'] / min(others):6.2f}" if others else "     -"
    budget = f"   budget {BUDGETS[name]}" if name in BUDGETS else ""
    return f"{name:42} {' '.join(cells)} {ratio}{budget}"


if __name__ == "__main__":
    main()
