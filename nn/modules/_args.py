"""Arguments that many modules take: a number or one per dimension."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any


def ntuple(value: Any, n: int) -> tuple:
    """``value`` as a tuple: n times itself, or its own items."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


def repeated_from_last(values: Iterable[int]) -> list[int]:
    """Per-dimension padding as ``F.pad`` wants it: last dimension first, each amount for both sides."""
    return [value for value in reversed(tuple(values)) for _ in range(2)]


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the older pair of flags means, where either is given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def in_range(index: int, length: int) -> int:
    """``index`` counted from the start; IndexError where there is nothing."""
    index = operator.index(index)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range")
    return index % length


def pairs(source: Any, what: str) -> Iterable[tuple[str, Any]]:
    """The (key, value) pairs that ``update`` takes: of a mapping, or given one by one."""
    if not isinstance(source, Iterable):
        raise TypeError(
            f"{what}.update should be called with an iterable of key/value pairs, but got {type(source).__name__}"
        )
    if isinstance(source, Mapping) or hasattr(source, "items"):
        return list(source.items())
    found: list[Any] = list(source)
    for i, pair in enumerate(found):
        if not hasattr(pair, "__len__"):
            raise TypeError(f"{what} update sequence element #{i} should be Iterable; is {type(pair).__name__}")
        if len(pair) != 2:
            raise ValueError(f"{what} update sequence element #{i} has length {len(pair)}; 2 is required")
    return found
