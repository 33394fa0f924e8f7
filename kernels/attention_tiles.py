"""Tiles, warps and stages of the attention kernels: the rule, and what is measured in its place.

A choice is queries at a time, keys at a time, warps, stages. Of what is multiplied, tiles have 64 rows where registers
allow: with fewer, Hopper's wgmma cannot be used. The rule's tiles do not spill; see `bench/aot_spills.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from naiad.kernels import interpreting, tuning
from naiad.kernels.launch import next_power_of_2
from naiad.kernels.tuning import Choice

NONE, BOOL, ADDED = 0, 1, 2  # what a mask is
# Queries and keys by what a kernel computes: for halves, then for float32, whose three passes of tf32 take more
# registers.
TILES = (
    {"out": (128, 64), "query": (64, 64), "key": (32, 64), "value": (64, 64), "both": (16, 64), "mask": (64, 32)},
    {"out": (64, 32), "query": (64, 16), "key": (32, 16), "value": (32, 64), "both": (32, 16), "mask": (32, 32)},
)
# The same with dropout, whose numbers take registers too, and for masks that are added to float32.
SMALLER = (
    {"out": (128, 32), "query": (64, 32), "key": (16, 64), "value": (16, 64), "both": (16, 64), "mask": (64, 16)},
    {"out": (32, 32), "query": (32, 16), "key": (32, 16), "value": (32, 32), "both": (32, 16), "mask": (32, 16)},
)
# What is measured, by what a kernel computes; "keys" stands for the gradients of keys, values, and both.
HALVES: dict[str, tuple[Choice, ...]] = {
    "out": (
        *((128, 64, 4, 2), (128, 64, 8, 3), (128, 128, 8, 2), (128, 32, 4, 3), (64, 64, 4, 2), (64, 64, 4, 3)),
        *((64, 128, 4, 2), (64, 32, 4, 3), (32, 64, 4, 3)),
    ),
    "query": ((128, 64, 8, 2), (64, 64, 4, 2), (64, 128, 8, 2), (64, 32, 4, 3), (32, 64, 4, 2), (128, 32, 8, 3)),
    "keys": (
        *((64, 64, 8, 2), (32, 64, 4, 2), (64, 64, 4, 2), (32, 128, 8, 2), (64, 128, 8, 2), (16, 64, 4, 3)),
        *((32, 64, 4, 3), (64, 64, 8, 1), (16, 128, 8, 3)),
    ),
    "mask": ((64, 64, 8, 2), (32, 64, 4, 2), (64, 32, 4, 2), (32, 32, 4, 3)),
}
SINGLES: dict[str, tuple[Choice, ...]] = {
    "out": ((64, 32, 4, 2), (128, 32, 8, 2), (64, 64, 8, 2), (32, 32, 4, 2), (64, 32, 8, 3)),
    "query": ((64, 32, 8, 2), (128, 32, 8, 2), (32, 32, 4, 2), (64, 16, 4, 2), (64, 16, 8, 3)),
    "keys": ((32, 32, 8, 2), (16, 64, 8, 2), (16, 32, 4, 2), (32, 64, 8, 2), (16, 128, 8, 2)),
    "mask": ((64, 32, 8, 2), (32, 32, 4, 2), (16, 32, 4, 2)),
}


def kind(mask: Any) -> int:
    """What a mask is: NONE, BOOL or ADDED."""
    return NONE if mask is None else BOOL if mask.dtype.name == "bool" else ADDED


def width_of(columns: int) -> int:
    """Columns of the tile that holds rows of so many numbers."""
    return max(next_power_of_2(columns), 16)


def with_tiles(
    part: str, q: Any, k: Any, v: Any, mask: Any, causal: bool, drop: Any, run: Callable[[Choice], None]
) -> None:
    """Make the launch of the kernel that computes `part` with the choice for its problem."""
    length, keys, width = q.shape[2], k.shape[2], max(width_of(q.shape[3]), width_of(v.shape[3]))
    rule = _rule(length, keys, width, q.dtype.name, part, kind(mask), drop is not None)
    facts = ("", " mask", " bias")[kind(mask)] + " causal" * causal + " dropout" * (drop is not None)
    tried = (SINGLES if q.dtype.name == "float32" else HALVES)["keys" if part in ("key", "value", "both") else part]
    candidates = [_fit(choice, length, keys) for choice in tried]
    sizes = prod(q.shape[:2]), length, keys, width
    run(tuning.choose(f"attention {part}{facts}", q, sizes, rule, candidates, run))


def _fit(choice: Choice, length: int, keys: int) -> Choice:
    """A choice with tiles no larger than the problem; tl.dot takes none below 16."""
    queries, at_once = (min(max(next_power_of_2(n), 16), c) for n, c in zip((length, keys), choice, strict=False))
    return queries, at_once, *choice[2:]


def _rule(length: int, keys: int, width: int, dtype: str, part: str, mask: int, drop: bool) -> Choice:
    if interpreting():
        return _fit((256, 256, 4, 2), length, keys)
    return _fit((*_tile(width, dtype == "float32", part, mask, drop), 8, 2), length, keys)


def _tile(width: int, single: bool, part: str, mask: int, drop: bool) -> tuple[int, int]:
    """Queries and keys at a time."""
    queries, at_once = (SMALLER if drop or (single and mask == ADDED) else TILES)[single][part]
    if single:
        return (queries, at_once) if width <= 64 else (32, min(at_once, 32))
    if drop and mask == ADDED and part == "both":
        at_once = 32
    if width > 128 or (drop and width > 64):
        return min(queries, 64), min(at_once, 64 if part in ("key", "value", "both") and width <= 128 else 32)
    return queries, 32 if mask == ADDED and width > 64 and part == "out" else at_once
