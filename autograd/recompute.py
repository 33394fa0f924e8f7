"""A part of the graph that forgets what it saved, and computes it again when backward gets there.

The nodes stay, so hooks, `autograd.grad` and everything else see the graph that they always see. What the nodes had
saved is dropped; the first of them that backward reaches runs the computation again, which records the same nodes anew,
and each old node takes over what its twin has saved.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from naiad.autograd.pull import write_pull
from naiad.autograd.record import Node, next_sequence
from naiad.core.tensor import Tensor


class RecomputeError(RuntimeError):
    """The computation did not do again what it did the first time."""


def record_and_forget(run: Callable[[], Any], again: Callable[[], Any], check: bool = True) -> Any:
    """The result of `run()`, whose nodes forget what they saved; `again()` computes the same, recorded.

    check: the shapes and dtypes of the second run must be those of the first.
    """
    start = next_sequence()
    result = run()
    nodes = _recorded_since(result, start)
    if nodes:
        _Segment(again, check).forget(nodes)
    return result


class _Segment:
    """The nodes of one computation, the oldest first, and what to do for their saved values."""

    def __init__(self, again: Callable[[], Any], check: bool) -> None:
        self.again, self.check = again, check
        self.facts: list[tuple] = []
        self.waiting: list[list[weakref.ref]] = []  # per node: those that wait for its values

    def forget(self, nodes: list[Node]) -> None:
        self.facts = [_facts(node) for node in nodes]
        self.waiting = [[] for _ in nodes]
        for place, node in enumerate(nodes):
            context = (node.attrs or {}).get("ctx")
            if node.plan.tensors or context is not None:
                self.waiting[place].append(weakref.ref(node))
                node.plan = _Forgotten(self, place)  # type: ignore[assignment]
                node.saved = ()
                if context is not None and context._saved:
                    context._saved = [(None, None, 0, output) for *_, output in context._saved]

    def restore(self) -> None:
        """Run the computation again and hand its saved values out."""
        start = next_sequence()
        result = self.again()
        nodes = _recorded_since(result, start)
        self._compare(nodes)
        for waiting, fresh in zip(self.waiting, nodes, strict=True):
            for node in [found for reference in waiting if (found := reference()) is not None]:
                _take_over(node, fresh)
        self.waiting = []

    def _compare(self, nodes: list[Node]) -> None:
        facts = [_facts(node) for node in nodes]
        if [op for op, *_ in facts] != [op for op, *_ in self.facts]:
            raise RecomputeError(
                "A different number of tensors was saved during the original forward and recomputation.\n"
                f"Operations recorded during forward: {len(self.facts)}, {_names(self.facts)}\n"
                f"Operations recorded during recomputation: {len(facts)}, {_names(facts)}\n"
                "The function must do the same every time that it is called."
            )
        for i, (before, now) in enumerate(zip(self.facts, facts, strict=True)):
            if self.check and before != now:
                raise RecomputeError(
                    "Recomputed values for the following tensors have different metadata than during the forward pass."
                    f"\ntensor at position {i}, the result of {before[0]}:\n"
                    f"saved metadata: {_metadata(before)}\nrecomputed metadata: {_metadata(now)}"
                )


class _Forgotten:
    """What a node has for a plan until its values are there again."""

    __slots__ = ("segment", "place")
    keys, mask, tensors = (), 0, True

    def __init__(self, segment: _Segment, place: int) -> None:
        self.segment, self.place = segment, place

    def pull(self, task: Any, node: Node, g: Any) -> None:
        while isinstance(node.plan, _Forgotten):  # more than once where such parts are nested
            node.plan.segment.restore()
        plan = node.plan
        (plan.pull or write_pull(node.op, plan))(task, node, g)


def _take_over(node: Node, fresh: Node) -> None:
    """Give `node` what its twin has saved; if that has forgotten too, `node` waits with it."""
    node.plan, node.saved = fresh.plan, fresh.saved
    if isinstance(fresh.plan, _Forgotten):
        fresh.plan.segment.waiting[fresh.plan.place].append(weakref.ref(node))
    if node.attrs and "ctx" in node.attrs:
        assert fresh.attrs is not None
        own, other = node.attrs["ctx"], fresh.attrs["ctx"]
        # An output that was saved stays this node's output.
        own._saved = [(*now[:3], before[3]) for before, now in zip(own._saved, other._saved, strict=True)]


def _facts(node: Node) -> tuple:
    return node.op.name, node.shape, node.dtype, node.device


def _names(facts: list[tuple]) -> str:
    names = [op for op, *_ in facts]
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ..."


def _metadata(facts: tuple) -> dict[str, Any]:
    return dict(zip(("shape", "dtype", "device"), facts[1:], strict=True))


def _tensors(result: Any) -> Iterable[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        for item in result.values():
            yield from _tensors(item)
    elif isinstance(result, (tuple, list)):
        for item in result:
            yield from _tensors(item)


def _recorded_since(result: Any, start: int) -> list[Node]:
    """The nodes younger than `start` that the tensors in a result come from, the oldest first."""
    stack = [t._node for t in _tensors(result) if t._node is not None and t._node.sequence > start]
    seen = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if edge.__class__ is Node and edge.sequence > start and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return sorted(seen, key=lambda node: node.sequence)
