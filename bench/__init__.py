"""The microbenchmark runner and the training benchmarks; their results land in ``bench/results``, outside the wheel."""

if __name__ != "naiad.bench":
    raise ImportError(f"this folder is naiad.bench, not {__name__!r}: pip install -e . and import naiad.bench")
