"""Kernels from generated source: real functions with readable text, which is what `triton.jit` reads."""

from __future__ import annotations

import hashlib
import linecache
from functools import cache
from typing import Any


@cache
def compile_kernel(source: str, name: str) -> Any:
    """The kernel `name` that `source` defines. Equal sources give one kernel.

    The text stays readable through `inspect.getsource` and in tracebacks: it is registered with linecache under a
    name made from its content, so nothing is written to disk and nothing can go stale.
    """
    filename = f"<naiad kernel {name} {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {"__name__": "naiad.kernels.generated"}
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - our own text, printed from a trace
    return scope[name]
