"""The backward pass: newest node first.

A consumer is always younger than its producers, so a heap on sequence numbers is a topological order: no counting
pass over the graph is needed, and no recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from naiad.autograd.record import Node
from naiad.core.device import CPU
from naiad.core.dtype import COMPLEX, FROM_NUMPY
from naiad.core.op import Op
from naiad.core.state import State, current, replace
from naiad.core.tensor import LeafHooks, Tensor, wrap
from naiad.ops.convert import cast, clone_op
from naiad.ops.movement import sum_to

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed): the saved values of {op} are gone. Specify retain_graph=True the first time if you need to backward "
    "through the graph again."
)


class _Selection(Op):
    """Picks one output of a node that has several: its gradient is one place in the list of its parent's."""

    def __init__(self) -> None:
        super().__init__("selection", ("parent",), ("number", "count"))
        self.differentiable = True


SELECTION = _Selection()


class Pass:
    """One backward pass: the gradients on their way, and what arrived.

    wanted: the tensors that gradients are asked for; None for all leaves.
    """

    def __init__(self, wanted: Sequence[Tensor] | None, keep_graph: bool) -> None:
        self.pending: dict[Node, Any] = {}
        self.heap: list[tuple[int, Node]] = []
        self.leaves: dict[Tensor, Tensor] = {}
        self.nodes: dict[Node, Tensor] = {}  # gradients of wanted tensors that are no leaves
        self.keep_graph = keep_graph
        self.wanted_nodes: set[Node] = set()
        self.needed: set | None = None  # nodes and leaves that lead to what is wanted
        self.last_use: dict[int, list[Tensor]] = {}  # leaves with hooks, by the last node to reach them
        self.hooked = False
        self.wanted = wanted

    def run(self, roots: Sequence[Tensor], seeds: Sequence[Tensor]) -> None:
        """Send the seeds' gradients from the roots down to the leaves."""
        if self.wanted is not None:
            self.wanted_nodes = {t._node for t in self.wanted if t._node is not None}
            self.needed = _leading_to(roots, self.wanted)
        if LeafHooks.any_after:
            self.last_use = _last_uses(roots)
        for root, seed in zip(roots, seeds, strict=True):
            self.send(root._node or root, seed)
        pending, heap, wanted, last_use = self.pending, self.heap, self.wanted_nodes, self.last_use
        while heap:
            node = heappop(heap)[1]
            g = pending.pop(node)
            if node.hooks or node.retained is not None:
                self.hooked = True
                g = _through_hooks(node, g)
            if node in wanted:
                self.nodes[node] = g
            self.pull_back(node, g)
            if node.sequence in last_use:
                self.accumulate(last_use[node.sequence])

    def send(self, edge: Any, gradient: Tensor) -> None:
        """Add a gradient to what is on its way to a node or a leaf."""
        if self.needed is not None and edge not in self.needed:
            return
        arrived = self.pending if edge.__class__ is Node else self.leaves
        before = arrived.get(edge)
        if before is not None:
            arrived[edge] = before + gradient
        else:
            arrived[edge] = gradient
            if arrived is self.pending:
                heappush(self.heap, (-edge.sequence, edge))

    def pull_back(self, node: Node, g: Any) -> None:
        """Apply a node's formulas to the gradient of its output, and send the results on."""
        op = node.op
        if node.saved is None:
            raise RuntimeError(_FREED.format(op=op.name))
        if op is SELECTION:
            self._select(node, g)
            return
        custom = getattr(op, "pull", None)
        if custom is not None:
            self._custom(node, custom(node, g))
        else:
            grads, names, variadic = op.grads, op.names, op.variadic
            for i, edge in enumerate(node.edges):
                number = 0 if variadic else i
                formula = grads[number]
                if edge is None or formula is None or (self.needed is not None and edge not in self.needed):
                    continue
                wants = names[number]
                gradient = formula(g, *[named(node, key, i) for key in wants]) if wants else formula(g)
                if gradient is not None:
                    self.send(edge, _fitted(gradient, edge))
        if not self.keep_graph and (custom is not None or node.plan.tensors):
            node.saved = None

    def _custom(self, node: Node, gradients: Sequence) -> None:
        for edge, gradient in zip(node.edges, gradients, strict=True):
            if edge is not None and gradient is not None:
                self.send(edge, _fitted(gradient, edge))

    def _select(self, node: Node, g: Tensor) -> None:
        parent = node.edges[0]
        assert node.attrs is not None
        slots = self.pending.get(parent)
        if slots is None:
            if self.needed is not None and parent not in self.needed:
                return
            slots = self.pending[parent] = [None] * node.attrs["count"]
            heappush(self.heap, (-parent.sequence, parent))
        slots[node.attrs["number"]] = g

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
                leaf._grad = clone_op(gradient) if create_graph else self._own(gradient)
            elif create_graph:
                leaf._grad = leaf._grad + gradient  # type: ignore[operator]
            else:
                leaf._grad.add_(gradient)  # type: ignore[attr-defined]
            if hooks is not None and hooks.after:
                state = current()
                for after in list(hooks.after.values()):
                    after(leaf)
                replace(state)

    _taken: set[int] | None = None

    def _own(self, gradient: Tensor) -> Tensor:
        """A gradient with memory of its own: formulas may hand one array to several leaves, or a view, or a hook."""
        array = gradient._array
        if self._taken is None:
            self._taken = set()
        free = id(array) not in self._taken and not self.hooked
        self._taken.add(id(array))
        if gradient._device.kind != CPU:
            return clone_op(gradient)
        if not (free and array.base is None and array.flags.c_contiguous):
            array = np.array(array, order="C")
        return wrap(array, gradient._dtype, gradient._device)

    def forbid(self, *tensors: Tensor) -> None:
        """Arrays that belong to the caller: `.grad` must not become one of them."""
        self._taken = {id(t._array) for t in tensors}


def _fitted(gradient: Tensor, edge: Any) -> Tensor:
    """A gradient in the shape and dtype of what it is a gradient of."""
    if edge.__class__ is Node:
        shape, dtype = edge.shape, edge.dtype
    else:
        shape, dtype = edge._array.shape, edge._dtype
    if gradient._array.shape != shape:
        gradient = sum_to(gradient, shape)
    if gradient._dtype is not dtype:
        if gradient._dtype.kind == COMPLEX and dtype.kind != COMPLEX:
            gradient = gradient.real  # type: ignore[attr-defined]  # the gradient of a real operand is real
        gradient = cast(gradient, dtype=dtype)
    return gradient


def named(node: Node, key: Any, operand: int) -> Any:
    """The value of what a formula names."""
    if key.__class__ is str:
        return operand if key == "index" and node.op.variadic else (node.attrs or {})[key]
    at = node.plan[key]
    saved = node.saved
    assert saved is not None
    value, cell, version = saved[at], saved[at + 1], saved[at + 2]
    if cell is None:
        return value
    if key.__class__ is int and key >= 0:
        if value._version is not cell or cell[0] != version:
            raise RuntimeError(overwritten(node.op.name, node.op.operands[key], value._array.shape, version, cell[0]))
        return value
    if cell[0] != version:
        raise RuntimeError(overwritten(node.op.name, "its result", value.shape, version, cell[0]))
    out = wrap(value, node.dtype if key == -1 else FROM_NUMPY[value.dtype], node.device)
    out._version = cell
    if key == -1:
        out._node, out._needs_grad = node, True
    return out


def overwritten(op: str, what: str, shape: tuple, then: int, now: int) -> str:
    """The message for a saved tensor that has been written into since."""
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{op} saved {what} (shape {list(shape)}) at version {then}, and it is at version {now} now. Use the "
        "out-of-place form of the op that wrote into it, or let that op write into a clone()"
    )


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
    replace(State(create_graph, state.modes, state.inference))
    return state
