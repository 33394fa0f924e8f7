"""NumPy without its floating-point warnings, without paying for `np.errstate` (1.3 µs) on every op.

NumPy keeps its error state in a context variable, so each thread has a context in which the warnings are off, and
ops run inside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np


class _Quiet(threading.local):
    run: Callable

    def __init__(self) -> None:  # once per thread
        context = copy_context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


quiet = _Quiet()


def quietly(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Run a NumPy function with its warnings off.

    A context cannot be entered twice. It happens when a finalizer or a signal handler runs ops in the middle of one;
    nothing has run by then, so the call is made again under `errstate`.
    """
    try:
        return quiet.run(function, *args, **kwargs)
    except RuntimeError as error:
        if "already entered" not in str(error):
            raise
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)
