"""The recording half of autograd: what dispatch does, on its hot path, to remember how a result came about.

It sits below the core (it imports nothing but dtypes and state), so a tensor here is whatever has `_node`,
`_needs_grad`, `_version` and `_array`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

_new_node = object.__new__
next_sequence = count().__next__
_PLAIN = frozenset((int, float, bool, complex, type(None)))


class Node:
    """One recorded op.

    sequence: grows with time, so a consumer is always younger than its producers.
    edges: per operand the Node that made it, the leaf Tensor itself, or None where no gradient is wanted.
    plan: key -> position in `saved`, which is flat: value, version cell, version at the time of saving, three by three
    (fewer objects for the garbage collector to walk than tuples). None once it has been freed.
    """

    __slots__ = (
        *("sequence", "op", "edges", "saved", "plan", "attrs", "shape", "dtype", "device"),
        *("hooks", "retained", "metadata", "__weakref__"),
    )
    sequence: int
    op: Any
    edges: tuple
    saved: list | None
    plan: Plan
    attrs: dict | None
    shape: tuple[int, ...]
    dtype: Any
    device: Any
    hooks: dict | None  # id -> function of the gradient
    retained: Any  # weak reference to a tensor whose retain_grad() was called
    metadata: dict | None

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    def name(self) -> str:
        """The op's name as PyTorch spells a backward node: AddBackward0."""
        return getattr(self.op, "node_name", None) or _node_name(self.op.name)

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes (or leaf tensors) that gradients go to next, with the number of their output."""
        return tuple((edge, 0) for edge in self.edges)

    def register_hook(self, hook: Callable) -> Any:
        """Call `hook(gradient)` with the gradient of this node's output; what it returns replaces the gradient."""
        return add_hook(self, hook)


def _node_name(op: str) -> str:
    return "".join(part.capitalize() for part in op.removesuffix("_op").split("_")) + "Backward0"


class HookHandle:
    """Takes a hook off again."""

    def __init__(self, hooks: dict, key: int) -> None:
        self._hooks, self.id = hooks, key

    def remove(self) -> None:
        """Take the hook off; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def add_hook(holder: Any, hook: Callable) -> HookHandle:
    """Append a hook to `holder.hooks`, a dict made at first use."""
    if holder.hooks is None:
        holder.hooks = {}
    handle = HookHandle(holder.hooks, next_sequence())
    holder.hooks[handle.id] = hook
    return handle


class Plan(dict):
    """Where a node keeps what its formulas name. `tensors`: whether any of it is a tensor, which backward frees."""

    __slots__ = ("tensors",)
    tensors: bool


def make_plan(names: Sequence[tuple], mask: int, variadic: bool) -> Plan:
    """What must be saved when the operands in `mask` want gradients: key -> position.

    A key is an operand's number, -1 - j for output j, or a tuple ("shape" | "dtype", operand's number); formulas also
    name attributes, which are strings and need no saving.
    """
    keys = Plan()
    for i, wanted in enumerate(names):
        if variadic or mask >> i & 1:
            for key in wanted:
                if not isinstance(key, str) and key not in keys:
                    keys[key] = 3 * len(keys)
    keys.tensors = any(key.__class__ is int for key in keys)
    return keys


def record(op: Any, xs: Sequence, mask: int, out: Any, attrs: dict | None = None, outs: Sequence = ()) -> Node:
    """Give `out` a history: edges to the operands in `mask`, and what their formulas name.

    `outs`: all outputs of an op that has several, of which `out` is the differentiable one.
    """
    node = _new_node(Node)
    node.sequence, node.op, node.attrs = next_sequence(), op, attrs
    node.shape, node.dtype, node.device = out._array.shape, out._dtype, out._device
    node.hooks = node.retained = node.metadata = None
    if len(xs) == 1:
        x = xs[0]
        node.edges = (x._node or x,)
    elif len(xs) == 2:
        x, y = xs
        node.edges = ((x._node or x) if mask & 1 else None, (y._node or y) if mask & 2 else None)
    else:
        node.edges = tuple([(x._node or x) if mask >> i & 1 else None for i, x in enumerate(xs)])
    plan = op.plans.get(mask)
    if plan is None:
        plan = op.plan(mask)
    node.plan = plan
    saved: list = []
    for key in plan:
        if key.__class__ is not int:
            saved += (_fact(key, xs), None, 0)
        elif key >= 0:
            x = xs[key]
            if x.__class__ in _PLAIN:
                saved += (x, None, 0)
            else:
                cell = x._version
                saved += (x, cell, cell[0])
        else:  # never the Tensor of a result: that would be a reference cycle
            x = out if key == -1 else outs[-1 - key]
            cell = x._version
            saved += (x._array, cell, cell[0])
    node.saved = saved
    out._node = node
    out._needs_grad = True
    return node


def _fact(key: tuple[str, int], xs: Sequence) -> Any:
    """A shape or dtype that a formula wants, so that it need not keep the tensor alive."""
    what, which = key
    if what == "shapes":
        return [x._array.shape for x in xs]
    x = xs[which]
    if x is None:
        return None
    return x._array.shape if what == "shape" else x._dtype
