"""The recording half of autograd: what dispatch does, on its hot path, to remember how a result came about.

It sits below the core (it imports nothing but dtypes and state), so a tensor here is whatever has `_node`,
`_needs_grad`, `_version` and `_array`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any

_new_node = object.__new__
next_sequence = count().__next__
_PLAIN = frozenset((int, float, bool, complex, type(None)))


class Node:
    """One recorded op.

    sequence: grows with time, so a consumer is always younger than its producers.
    edges: per operand the Node that made it, the leaf Tensor itself, or None where no gradient is wanted.
    saved: the values of the plan's keys, flat (fewer objects for the garbage collector to walk), see `slots`. None
    once it has been freed.
    """

    __slots__ = (
        *("sequence", "op", "edges", "saved", "plan", "attrs", "shape", "dtype", "device"),
        *("hooks", "retained", "metadata", "__weakref__"),
    )
    sequence: int
    op: Any
    edges: tuple
    saved: tuple | None
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
    return "".join(part.capitalize() for part in op.removesuffix("_op").removesuffix("_dims").split("_")) + "Backward0"


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


class Plan:
    """What the nodes of an op keep when the operands in `mask` want gradients: worked out once for all of them.

    keys: what the formulas name: an operand's number, -1 - j for output j, or ("shape" | "dtype", operand's number).
    Attributes, which are strings, need no saving.
    tensors: whether any of it is a tensor, which backward frees.
    save: (operands, mask, first output, outputs) -> (edges, saved), a function written for these keys.
    pull: (pass, node, gradient): sends the gradient on to the edges; the engine writes it at first use, if the op has
    none of its own.
    """

    __slots__ = ("keys", "mask", "tensors", "save", "pull")

    def __init__(self, names: Sequence[tuple], mask: int, variadic: bool, pull: Callable | None) -> None:
        wanted = [key for i, keys in enumerate(names) if variadic or mask >> i & 1 for key in keys]
        self.keys: tuple = tuple(dict.fromkeys(key for key in wanted if not isinstance(key, str)))
        self.mask = mask
        self.tensors = any(key.__class__ is int for key in self.keys)
        self.save: Callable = written(_save_text(self.keys, 0 if variadic else mask, len(names)))
        self.pull = pull


@cache
def written(text: str) -> Any:
    """The function that a text defines. Most ops share a few texts."""
    scope: dict[str, Any] = {"__name__": "naiad.autograd.written", "plain": _PLAIN}
    exec(compile(text, "<naiad autograd>", "exec"), scope)  # noqa: S102 - the text is made of operand numbers
    return next(reversed(scope.values()))


def slots(key: Any) -> list[str]:
    """The names of what is saved for a key: a fact, or a value, its version cell, and the version it had then."""
    if key.__class__ is not int:
        return [f"{key[0]}{key[1]}"]
    name = f"x{key}" if key >= 0 else f"y{-1 - key}"
    return [name, f"cell_{name}", f"then_{name}"]


def _save_text(keys: Sequence, mask: int, count: int) -> str:
    """The source of a plan's `save`, for `count` operands; mask: 0 for any number of them."""
    lines, saved = [], []
    for key in keys:
        saved += slots(key)
        if key.__class__ is not int:
            lines.append(f"{saved[-1]} = {_FACTS[key[0]].format(f'xs[{key[1]}]')}")
            continue
        value, cell, then = slots(key)
        if key < 0:  # never the Tensor of a result: that would be a reference cycle
            source = "out" if key == -1 else f"outs[{-1 - key}]"
            lines += [f"{value}, {cell} = {source}._array, {source}._version", f"{then} = {cell}[0]"]
        elif mask >> key & 1:
            lines += [f"{value} = xs[{key}]", f"{cell} = {value}._version", f"{then} = {cell}[0]"]
        else:  # perhaps a number, or None
            lines += [f"{value} = xs[{key}]", f"{cell} = None if {value}.__class__ in plain else {value}._version"]
            lines += [f"{then} = {cell} and {cell}[0]"]
    if mask:
        edges = [f"xs[{i}]._node or xs[{i}]" if mask >> i & 1 else "None" for i in range(count)]
        told = f"({', '.join(edges)},)"
    else:
        told = "tuple([(x._node or x) if mask >> i & 1 else None for i, x in enumerate(xs)])"
    lines.append(f"return {told}, ({''.join(f'{s}, ' for s in saved)})")
    return "\n    ".join(["def save(xs, mask, out, outs):", *lines]) + "\n"


# A fact is kept in place of a tensor, so that it need not stay alive.
_FACTS = {
    "shape": "{0} if {0} is None else {0}._array.shape",
    "dtype": "{0} if {0} is None else {0}._dtype",
    "shapes": "[x._array.shape for x in xs]",
}


def record(op: Any, xs: Sequence, mask: int, out: Any, attrs: dict | None = None, outs: Sequence = ()) -> Node:
    """Give `out` a history: edges to the operands in `mask`, and what their formulas name.

    `outs`: all outputs of an op that has several, of which `out` is the differentiable one.
    """
    node = _new_node(Node)
    node.sequence, node.op, node.attrs = next_sequence(), op, attrs
    node.shape, node.dtype, node.device = out._array.shape, out._dtype, out._device
    node.hooks = node.retained = node.metadata = None
    plan = node.plan = op.plans.get(mask) or op.plan(mask)
    node.edges, node.saved = plan.save(xs, mask, out, outs)
    out._node = node
    out._needs_grad = True
    return node
