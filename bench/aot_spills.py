"""The spills that are let pass, by version of Triton and architecture, and why: registers that there was no room for.

A version of Triton brings its own compiler of machine code, so each has its list; `tests/test_kernels/test_aot.py`
holds the lists of these versions to what comes out, both ways. Versions between them are held to the longer of both.
"""

from __future__ import annotations

from typing import Any

Spills = dict[tuple[str, str], dict[int, int]]  # (case, kernel) -> architecture -> bytes per thread

KEPT = "the assembler keeps these few values aside in order to have two blocks on a multiprocessor, out of the loop"
REASONS: dict[tuple[str, str], str] = {}
SPILLS: dict[str, Spills] = {"3.6": {}, "3.9": {}}


def listed(version: str) -> Spills:
    """The list of a version of Triton: its own, or all lists together where it has none."""
    own = SPILLS.get(".".join(version.split(".")[:2]))
    if own is not None:
        return own
    together: Spills = {}
    for spills in SPILLS.values():
        for key, found in spills.items():
            kept = together.setdefault(key, {})
            for arch, size in found.items():
                kept[arch] = max(size, kept.get(arch, 0))
    return together


def excuse(entry: Any, version: str) -> str | None:
    """Why an entry of the ahead-of-time report may spill, or None where it may not."""
    key = entry.case, entry.kernel
    return REASONS[key] if entry.spilled <= listed(version).get(key, {}).get(entry.arch, 0) else None
