"""How many threads NumPy's matrix products use, under PyTorch's names.

NumPy's BLAS takes all cores by default. Small products are quicker on one thread, and on a busy machine very much so:
threads that wait for each other's cores wait long.
"""

from __future__ import annotations

from typing import Any

_NEEDED = "{name}() needs threadpoolctl to reach NumPy's BLAS: pip install threadpoolctl, or set OPENBLAS_NUM_THREADS"


def _pools(name: str) -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError as error:
        raise RuntimeError(_NEEDED.format(name=name)) from error
    import numpy  # noqa: F401 - its BLAS must be loaded to be found

    return ThreadpoolController().select(user_api="blas")


def set_num_threads(n: int) -> None:
    """Let matrix products on the CPU use `n` threads. Raises RuntimeError for n < 1 or without threadpoolctl."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, but got {n}")
    _pools("set_num_threads").limit(limits=n)


def get_num_threads() -> int:
    """How many threads matrix products on the CPU may use."""
    return max((pool["num_threads"] for pool in _pools("get_num_threads").info()), default=1)
