"""Ops with several differentiable results: one node for the op, and for each result a selection of it.

The engine hands such a node the list of its results' gradients, None where nothing depends on a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush
from typing import Any

from naiad.autograd.record import Node, next_sequence
from naiad.core.op import Op
from naiad.core.tensor import Tensor


class _Selection(Op):
    """Picks one result of a node: its gradient is one place in the list of its parent's."""

    def __init__(self) -> None:
        super().__init__("selection", ("parent",), ("number", "count"))
        self.differentiable = True
        self.pull = self._pull

    def _pull(self, task: Any, node: Node, g: Tensor) -> None:
        parent = node.edges[0]
        assert node.attrs is not None
        slots = task.pending.get(parent)
        if slots is None:
            if task.needed is not None and parent not in task.needed:
                return
            slots = task.pending[parent] = [None] * node.attrs["count"]
            heappush(task.heap, (-parent.sequence, parent))
        slots[node.attrs["number"]] = g


SELECTION = _Selection()


def new_node(op: Any, edges: tuple, attrs: dict) -> Node:
    """A node that saves nothing itself."""
    node = Node()
    node.op, node.sequence, node.edges, node.attrs = op, next_sequence(), edges, attrs
    node.saved, node.plan = (), op.plans.get(0) or op.plan(0)
    node.hooks = node.retained = node.metadata = None
    return node


def select(out: Tensor, parent: Node, number: int, count: int) -> None:
    """Make `out` the result of that number of a node; the only one of a node is the node's own."""
    node = parent
    if count > 1:
        node = new_node(SELECTION, (parent,), {"number": number, "count": count})
    node.shape, node.dtype, node.device = out._array.shape, out._dtype, out._device
    out._node, out._needs_grad = node, True


def record_outputs(op: Op, x: Tensor, outs: Sequence[Tensor], attrs: dict) -> None:
    """Give all of `outs` the history `op(x)`."""
    parent = new_node(op, (x._node or x,), attrs)
    parent.shape, parent.dtype, parent.device = x._array.shape, x._dtype, x._device
    for number, out in enumerate(outs):
        select(out, parent, number, len(outs))
