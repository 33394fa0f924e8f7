"""The microbenchmark runner and the training benchmarks; their results land in ``bench/results``, outside the wheel.

``naiad-bench`` (or ``python -m naiad.bench``) is the runner; `case` declares a benchmark of one's own, `run` starts
the runner from Python.
"""

if __name__ != "naiad.bench":
    raise ImportError(f"this folder is naiad.bench, not {__name__!r}: pip install -e . and import naiad.bench")

from naiad.bench.cases import Case, Provider, case, itemsize


def run(arguments: list[str] | None = None) -> int:
    """Run the runner with the arguments of its command line (see ``naiad-bench --help``). Returns its exit status."""
    from naiad.bench.__main__ import main

    return main(arguments)


__all__ = ["Case", "Provider", "case", "itemsize", "run"]
