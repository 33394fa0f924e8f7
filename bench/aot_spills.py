"""The spills that are let pass, by version of Triton and architecture, and why: registers that there was no room for.

A version of Triton brings its own compiler of machine code, so each has its list; `tests/test_kernels/test_aot.py`
holds the lists of these versions to what comes out, both ways. Versions between them are held to the longer of both.
"""

from __future__ import annotations

from typing import Any

Spills = dict[tuple[str, str], dict[int, int]]  # (case, kernel) -> architecture -> bytes per thread

KEPT = "the assembler takes fewer registers than there are, so that one more block fits, and keeps these few aside"
FEW = "two pairs of statistics beside a row of 64 registers: a shorter row would be read twice"
REASONS: dict[tuple[str, str], str] = {
    ("attention", "_attention_bwd_kv"): KEPT,
    ("attention narrow", "_attention_bwd_kv"): KEPT,
    ("attention masked", "_attention_bwd_kv"): KEPT,
    ("attention dropout odd", "_attention_fwd"): KEPT,
    ("attention dropout narrow", "_attention_bwd_mask"): KEPT,
    ("along columns", "_extreme_of"): KEPT,
    ("along columns", "_order"): KEPT,
    ("group norm backward bfloat16", "_normalize_grad"): FEW,
    ("conv2d of 3 channels", "_conv_weight_grad"): KEPT,
    ("conv2d of 3 channels float32", "_conv_weight_grad"): KEPT,
}
SPILLS: dict[str, Spills] = {
    "3.6": {
        ("attention dropout narrow", "_attention_bwd_mask"): {120: 8},
        ("group norm backward bfloat16", "_normalize_grad"): {100: 8},
        ("conv2d of 3 channels float32", "_conv_weight_grad"): {100: 8},
        ("attention narrow", "_attention_bwd_kv"): {100: 16},
        ("attention masked", "_attention_bwd_kv"): {100: 16},
    },
    "3.9": {
        ("attention", "_attention_bwd_kv"): {86: 40, 89: 40, 120: 16},
        ("attention masked", "_attention_bwd_kv"): {120: 8},
        ("attention dropout odd", "_attention_fwd"): {120: 32},
        ("along columns", "_extreme_of"): {120: 8},
        ("along columns", "_order"): {86: 8, 89: 8},
        ("conv2d of 3 channels", "_conv_weight_grad"): {80: 8},
    },
}


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
