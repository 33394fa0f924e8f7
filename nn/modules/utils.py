"""Arguments as tuples, under the names that other people's layers import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naiad.nn.modules._args import ntuple


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple]:
    """A function that makes a tuple of n out of a number, and leaves iterables as tuples of their items."""

    def parse(x: Any) -> tuple:
        return ntuple(x, n)

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take a prefix off the keys that begin with it, in place and in the same order, as DataParallel's "module."."""
    for key in list(state_dict):
        state_dict[key.removeprefix(prefix)] = state_dict.pop(key)
    metadata: dict[str, Any] = getattr(state_dict, "_metadata", None) or {}
    for key in list(metadata):
        metadata[key.removeprefix(prefix) if key != prefix.rstrip(".") else ""] = metadata.pop(key)
