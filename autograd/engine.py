"""The backward pass: newest node first, so that no counting pass and no recursion is needed."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.autograd.record import Node
from naiad.core.device import CPU
from naiad.core.dtype import COMPLEX, FROM_NUMPY
from naiad.core.op import public
from naiad.core.state import State, current, replace
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import cast, clone_op
from naiad.ops.creation import full_op
from naiad.ops.movement import sum_to

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed): the saved values of {op} are gone. Specify retain_graph=True the first time if you need to backward "
    "through the graph again."
)


class Sink:
    """Where the gradients of one backward pass end: in `.grad` of leaves, or, for `grad()`, in a dict."""

    def __init__(self, wanted: Sequence[Tensor] | None, accumulate: bool) -> None:
        self.wanted_leaves = None if wanted is None else {id(t) for t in wanted if t._node is None}
        self.wanted_nodes: dict[Node, Any] = (
            {} if wanted is None else {t._node: t for t in wanted if t._node is not None}
        )
        self.accumulate = accumulate
        self.nodes: dict[Node, Tensor] = {}
        self.leaves: dict[int, tuple[Tensor, Tensor]] = {}

    def add_leaf(self, leaf: Tensor, gradient: Tensor) -> None:
        """Sum up what arrives at a leaf."""
        key = id(leaf)
        if self.wanted_leaves is not None and key not in self.wanted_leaves:
            return
        before = self.leaves.get(key)
        self.leaves[key] = (leaf, gradient if before is None else before[1] + gradient)  # type: ignore[operator]


def run(roots: Sequence[Tensor], seeds: Sequence[Tensor], sink: Sink, keep_graph: bool) -> None:
    """Send the seeds' gradients from the roots down to the leaves."""
    pending: dict[Node, Tensor] = {}
    heap: list[tuple[int, Node]] = []
    for root, seed in zip(roots, seeds, strict=True):
        _deliver(root._node or root, seed, pending, heap, sink)
    while heap:
        node = heapq.heappop(heap)[1]
        g = _through_hooks(node, pending.pop(node))
        if node in sink.wanted_nodes:
            sink.nodes[node] = g
        _pull_back(node, g, pending, heap, sink)
        if not keep_graph:
            node.saved = None


def _deliver(edge: Any, gradient: Tensor, pending: dict, heap: list, sink: Sink) -> None:
    if edge.__class__ is not Node:
        sink.add_leaf(edge, gradient)
    elif edge in pending:
        pending[edge] = pending[edge] + gradient  # type: ignore[operator]
    else:
        pending[edge] = gradient
        heapq.heappush(heap, (-edge.sequence, edge))


def _pull_back(node: Node, g: Tensor, pending: dict, heap: list, sink: Sink) -> None:
    """Apply a node's formulas to the gradient of its output, and hand the results on."""
    op, saved = node.op, node.saved
    if saved is None:
        raise RuntimeError(_FREED.format(op=op.name))
    for i, edge in enumerate(node.edges):
        if edge is None:
            continue
        number = 0 if op.variadic else i
        formula = op.grads[number]
        if formula is None:
            continue
        names = op.names[number]
        gradient = formula(g, *[_named(node, key, i) for key in names]) if names else formula(g)
        if gradient is None:
            continue
        leaf = edge.__class__ is not Node
        shape, dtype = (edge._array.shape, edge._dtype) if leaf else (edge.shape, edge.dtype)
        if gradient._array.shape != shape:
            gradient = sum_to(gradient, shape)
        if gradient._dtype is not dtype:
            gradient = _match_dtype(gradient, dtype)
        _deliver(edge, gradient, pending, heap, sink)


def _match_dtype(gradient: Tensor, dtype: Any) -> Tensor:
    """Complex gradients of real operands keep their real part; real ones of complex operands become complex."""
    if gradient._dtype.kind == COMPLEX and dtype.kind != COMPLEX:
        gradient = gradient.real  # type: ignore[attr-defined]
    return cast(gradient, dtype=dtype)


def _named(node: Node, key: Any, operand: int) -> Any:
    """The value of what a formula names."""
    if key.__class__ is str:
        return operand if key == "index" and node.op.variadic else (node.attrs or {}).get(key)
    assert node.saved is not None
    at = node.plan[key]
    value, cell, version = node.saved[at : at + 3]
    if cell is None:
        return value
    if key.__class__ is int and key >= 0:
        if value._version is not cell or cell[0] != version:
            raise RuntimeError(_overwritten(node, node.op.operands[key], value._array.shape, cell[0], version))
        return value
    if cell[0] != version:
        raise RuntimeError(_overwritten(node, "its output", value.shape, cell[0], version))
    out = wrap(value, node.dtype if key == -1 else FROM_NUMPY[value.dtype], node.device)
    out._version = cell
    if key == -1:
        out._node, out._needs_grad = node, True
    return out


def _overwritten(node: Node, what: str, shape: tuple, now: int, then: int) -> str:
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{node.op.name} saved {what} (shape {list(shape)}) at version {then}, it is at version {now} now. Use the "
        "out-of-place form of the op that wrote into it, or write into a clone()"
    )


def _through_hooks(node: Node, g: Tensor) -> Tensor:
    if node.hooks:
        for hook in list(node.hooks.values()):
            replaced = hook(g)
            g = g if replaced is None else replaced
    if node.retained is not None:
        tensor = node.retained()
        if tensor is not None:
            tensor._grad = clone_op(g) if tensor._grad is None else tensor._grad + g
    return g


# ---------------------------------------------------------------- leaves
def accumulate(sink: Sink, create_graph: bool) -> None:
    """Put the sums that arrived at leaves into their `.grad`."""
    taken: set[int] = set()
    for leaf, gradient in sink.leaves.values():
        hooks = leaf._hooks
        if hooks is not None and hooks.hooks:
            for hook in list(hooks.hooks.values()):
                replaced = hook(gradient)
                gradient = gradient if replaced is None else replaced
        if leaf._grad is None:
            leaf._grad = gradient if create_graph else _own(gradient, taken)
        elif create_graph:
            leaf._grad = leaf._grad + gradient  # type: ignore[operator]
        else:
            leaf._grad.add_(gradient)  # type: ignore[attr-defined]
        if hooks is not None:
            for after in list(hooks.after.values()):
                after(leaf)


def _own(gradient: Tensor, taken: set[int]) -> Tensor:
    """A gradient with memory of its own: formulas may hand one array to several leaves, or a view."""
    array = gradient._array
    shared = id(array) in taken
    taken.add(id(array))
    if gradient._device.kind == CPU:
        if not shared and array.base is None and array.flags.c_contiguous:
            out = wrap(array, gradient._dtype, gradient._device)
            return out
        return wrap(np.array(array, order="C"), gradient._dtype, gradient._device)
    return clone_op(gradient)


@public("Tensor")
def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of this tensor with respect to every leaf that requires grad to the leaf's `.grad`.

    gradient: d(loss)/d(self), of this tensor's shape; may be left out where it has one element.
    retain_graph: keep what was saved, so that backward can run again (default: `create_graph`).
    create_graph: record the pass itself, for higher derivatives.
    """
    if not self._needs_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    seed = _seed(self, gradient)
    sink = Sink(inputs if inputs is None or isinstance(inputs, (list, tuple)) else [inputs], accumulate=True)
    _passed(lambda: run([self], [seed], sink, create_graph if retain_graph is None else retain_graph), create_graph)
    _passed(lambda: accumulate(sink, create_graph), create_graph)


def _passed(work: Any, create_graph: bool) -> None:
    state = current()
    replace(State(create_graph, state.modes, state.inference))
    try:
        work()
    finally:
        replace(state)


def _seed(root: Tensor, gradient: Tensor | None) -> Tensor:
    if gradient is None:
        if root.numel() != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs, not for shape {list(root.shape)}: "
                "reduce it first (.sum(), .mean()) or pass gradient="
            )
        return full_op(shape=root._array.shape, value=1, dtype=root._dtype, device=root._device)
    if gradient._array.shape != root._array.shape:
        raise RuntimeError(
            f"Mismatch in shape: gradient has a shape of {list(gradient.shape)} and the output has {list(root.shape)}"
        )
    return gradient
