"""The backward pass: newest node first.

A consumer is always younger than its producers, so a heap on sequence numbers is a topological order: no counting
pass over the graph is needed, and no recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from naiad.autograd.pull import write_pull
from naiad.autograd.record import Node
from naiad.core.state import State, current, replace, with_grad
from naiad.core.tensor import LeafHooks, Tensor
from naiad.ops.convert import clone_op

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed): the saved values of {op} are gone. Specify retain_graph=True the first time if you need to backward "
    "through the graph again."
)


class Pass:
    """One backward pass: the gradients on their way, and what arrived.

    wanted: the tensors that gradients are asked for; None for all leaves.
    """

    __slots__ = ("pending", "heap", "leaves", "nodes", "keep_graph", "wanted", "needed", "last_use", "hooked", "taken")

    def __init__(self, wanted: Sequence[Tensor] | None, keep_graph: bool) -> None:
        self.pending: dict[Node, Any] = {}
        self.heap: list[tuple[int, Node]] = []
        self.leaves: dict[Tensor, Tensor] = {}
        self.nodes: dict[Node, Tensor] = {}  # gradients of wanted tensors that are no leaves
        self.keep_graph, self.wanted = keep_graph, wanted
        self.needed: set | None = None  # nodes and leaves that lead to what is wanted
        self.last_use: dict[int, list[Tensor]] = {}  # leaves with hooks, by the last node to reach them
        self.hooked = False
        self.taken: set[int] = set()  # arrays that belong to someone else

    def run(self, roots: Sequence[Tensor], seeds: Sequence[Tensor]) -> None:
        """Send the seeds' gradients from the roots down to the leaves."""
        for seed in seeds:
            self.taken.add(id(memory_of(seed._array)))
        wanted: set[Node] = set()
        if self.wanted is not None:
            wanted = {t._node for t in self.wanted if t._node is not None}
            self.needed = _leading_to(roots, self.wanted)
        if LeafHooks.any_after:
            self.last_use = _last_uses(roots)
        for root, seed in zip(roots, seeds, strict=True):
            self.send(root._node or root, seed)
        pending, heap, last_use = self.pending, self.heap, self.last_use
        while heap:
            node = heappop(heap)[1]
            g = pending.pop(node)
            if node.hooks or node.retained is not None:
                self.hooked = True
                g = _through_hooks(node, g)
            if wanted and node in wanted:
                self.nodes[node] = g
            if node.saved is None:
                raise RuntimeError(_FREED.format(op=node.op.name))
            plan = node.plan
            (plan.pull or write_pull(node.op, plan))(self, node, g)
            if plan.tensors and not self.keep_graph:
                node.saved = None
            if last_use and node.sequence in last_use:
                self.accumulate(last_use[node.sequence])

    def send(self, edge: Any, gradient: Tensor) -> None:
        """Add a gradient to what is on its way to a node or a leaf."""
        if self.needed is not None and edge not in self.needed:
            return
        is_node = edge.__class__ is Node
        arrived: dict = self.pending if is_node else self.leaves
        before = arrived.get(edge)
        if before is not None:
            arrived[edge] = before + gradient
        else:
            arrived[edge] = gradient
            if is_node:
                heappush(self.heap, (-edge.sequence, edge))

    # ------------------------------------------------------------ leaves
    def accumulate(self, some: Sequence[Tensor] | None = None) -> None:
        """Put the sums that arrived at leaves into their `.grad`, through their hooks."""
        create_graph = current().grad
        leaves = self.leaves
        for leaf in list(leaves) if some is None else [t for t in some if t in leaves]:
            gradient = leaves.pop(leaf)
            hooks = leaf._hooks
            if hooks is not None and hooks.hooks:
                self.hooked = True
                gradient = _apply_hooks(hooks.hooks, gradient)
            if leaf._grad is None:
                leaf._grad = clone_op(gradient) if create_graph or not self._free(gradient) else gradient
            elif create_graph:
                leaf._grad = leaf._grad + gradient
            else:
                leaf._grad.add_(gradient)
            if hooks is not None and hooks.after:
                state = current()
                for after in list(hooks.after.values()):
                    after(leaf)
                replace(state)

    def _free(self, gradient: Tensor) -> bool:
        """Whether a leaf may have this gradient: formulas may hand one array to several, or a view, or a hook."""
        array = gradient._array
        memory = memory_of(array)
        if memory is array:
            whole = array.base is None and array.flags.c_contiguous
        else:
            whole = memory is not None and array.is_contiguous and array.nbytes == memory.nbytes
        free = whole and id(memory) not in self.taken and not self.hooked
        self.taken.add(id(memory))
        return free


def memory_of(array: Any) -> Any:
    """What two arrays must not share: an ndarray itself (a view is told by its base), a device array's buffer."""
    return array if array.__class__ is np.ndarray else array.buffer


def _apply_hooks(hooks: dict, g: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        replaced = hook(g)
        if replaced is not None:
            if not isinstance(replaced, Tensor):
                raise TypeError(f"expected a hook to return None or a Tensor, got {type(replaced).__name__}")
            if replaced._array.shape != g._array.shape:
                raise RuntimeError(
                    f"a hook has changed the size of a gradient: from {list(g.shape)} to {list(replaced.shape)}"
                )
            g = replaced
    return g


def _through_hooks(node: Node, g: Tensor) -> Tensor:
    if node.hooks:
        g = _apply_hooks(node.hooks, g)
    if node.retained is not None:
        tensor = node.retained()
        if tensor is not None and tensor._node is node:
            tensor._grad = clone_op(g) if tensor._grad is None else tensor._grad + g
    return g


# ---------------------------------------------------------------- walks over the graph
def _reachable(roots: Sequence[Tensor]) -> list[Node]:
    stack = [t._node for t in roots if t._node is not None]
    seen: set[Node] = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if edge.__class__ is Node and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return list(seen)


def _leading_to(roots: Sequence[Tensor], wanted: Sequence[Tensor]) -> set:
    """The nodes and leaves on the way from the roots to the wanted tensors."""
    needed: set = {t._node or t for t in wanted}
    for node in sorted(_reachable(roots), key=lambda n: n.sequence):
        if any(edge in needed for edge in node.edges if edge is not None):
            needed.add(node)
    return needed


def _last_uses(roots: Sequence[Tensor]) -> dict[int, list[Tensor]]:
    """Which leaves with post-accumulate hooks are complete after which node: so that the hooks can run early."""
    last: dict[Tensor, int] = {}
    for node in _reachable(roots):
        for edge in node.edges:
            if isinstance(edge, Tensor) and edge._hooks is not None and edge._hooks.after:
                last[edge] = min(last.get(edge, node.sequence), node.sequence)
    uses: dict[int, list[Tensor]] = {}
    for leaf, sequence in last.items():
        uses.setdefault(sequence, []).append(leaf)
    return uses


def with_grad_mode(create_graph: bool) -> State:
    """Switch grad mode for a pass; returns the state to put back."""
    state = current()
    replace(with_grad(state, create_graph))
    return state
