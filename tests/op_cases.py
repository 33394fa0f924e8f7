"""The op table as test cases: for every public entry, its sample calls and the PyTorch function of the same name."""

from __future__ import annotations

from typing import Any

import naiad
from naiad.core.elementwise import Elementwise
from naiad.core.op import ENTRIES, Entry
from naiad.library.samples import Call, Operand, Samples


def calls_of(entry: Entry) -> list[Call]:
    """An entry's sample calls; elementwise entries without any get the usual ones."""
    samples = entry.facts.get("samples")
    if samples is not None:
        return list(samples(Samples(entry.name)))
    op = entry.facts.get("op")
    if isinstance(op, Elementwise):
        return elementwise_calls(entry.name, op.operands, op.flag_names, entry.facts.get("domain"))
    return []


def elementwise_calls(name: str, operands: tuple[str, ...], flags: tuple[str, ...], domain: Any) -> list[Call]:
    """Calls of an elementwise entry: equal shapes, broadcasting, 0-d, empty."""
    bounds = domain if isinstance(domain, dict) else {o: domain for o in operands}

    def operand(s: Samples, o: str, shape: tuple[int, ...]) -> Operand:
        if o in flags:
            return s.bools(*shape)
        low, high = bounds.get(o) or (None, None)
        return s(*shape, low=low, high=high)

    s = Samples(name)
    layouts: list[list[tuple[int, ...]]] = [[(2, 3)] * len(operands), [()] * len(operands), [(0, 2)] * len(operands)]
    if len(operands) > 1:
        layouts.append([(2, 3), *[(3,)] * (len(operands) - 1)])
        layouts.append([*[(2, 1)] * (len(operands) - 1), (1, 4)])
    return [Call(tuple(operand(s, o, shape) for o, shape in zip(operands, shapes, strict=True))) for shapes in layouts]


def keys_with_samples() -> list[str]:
    """Keys of the entries with sample calls. Those without are tested by hand (in-place forms, creation, queries)."""
    return [key for key, entry in ENTRIES.items() if calls_of(entry)]


def resolve(root: Any, key: str) -> Any:
    """`naiad.sum`, `Tensor.sum` or `nn.functional.silu` under a root module."""
    space, _, name = key.rpartition(".")
    found = root
    for part in space.split("."):
        if part != "naiad":
            found = getattr(found, part)
    return getattr(found, name)


def oracle(torch: Any, key: str) -> Any:
    """PyTorch's function for an entry: of the same name, or the entry's `oracle(torch)`."""
    own = ENTRIES[key].facts.get("oracle")
    return own(torch) if own is not None else resolve(torch, key)


def op_of(key: str) -> Any:
    """The entry's own op, if it has one."""
    return ENTRIES[key].facts.get("op")


__all__ = ["calls_of", "naiad", "op_of", "oracle", "resolve", "keys_with_samples"]
