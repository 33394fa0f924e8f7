"""What a node does in a backward pass, written out for the operands that want gradients.

A node's formulas, what they name and where that was saved are known once its op and the operands in question are. So
the loops over them run once, here, and leave a function without loops; small steps spend most of their time in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naiad.autograd.record import Plan, slots, written
from naiad.core.dtype import COMPLEX, FROM_NUMPY
from naiad.core.elementwise import identity
from naiad.core.op import parameters
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import cast
from naiad.ops.movement import sum_to


def write_pull(op: Any, plan: Plan) -> Any:
    """The plan's `pull`: (pass, node, gradient) applies the formulas and sends the results on."""
    plan.pull = written(_pull_text(op, plan))(op, op.joint and op.joint[1], *op.grads)
    return plan.pull


def _pull_text(op: Any, plan: Plan) -> str:
    """The source of a function of the op and its formulas that returns `pull`."""
    saved = "".join(f"{s}, " for key in plan.keys for s in slots(key))
    lines = [f"{saved.rstrip()} = node.saved"] if saved else []
    lines += ["edges, attrs, needed = node.edges, node.attrs, task.needed"]
    if op.variadic:
        lines += ["for index, edge in enumerate(edges):", *_operand(op, 0, "edge is not None and ", "    ")]
    else:
        together = op.joint[0] if op.joint and all(plan.mask >> i & 1 for i in op.joint[0]) else ()
        if together:
            lines += _joint(op, *op.joint)
        for i in range(len(op.grads)):
            if plan.mask >> i & 1 and op.grads[i] is not None:
                ready = f"both[{together.index(i)}]" if i in together else ""
                lines += [f"edge = edges[{i}]", *_operand(op, i, "", "", ready)]
    head = [
        "from heapq import heappush",
        "from naiad.autograd.pull import fitted, overwritten, saved_result",
        "from naiad.autograd.record import Node",
        f"def make(op, joint, {', '.join(f'formula{i}' for i in range(len(op.grads)))}):",
        "    def pull(task, node, g):",
    ]
    return "\n".join([*head, *(f"        {line}" for line in lines), "    return pull"]) + "\n"


def _joint(op: Any, operands: tuple[int, int], formula: Any) -> list[str]:
    """Apply the formula of two operands, where both gradients are wanted: `both`, or None where it declines."""
    checks, arguments = _arguments(op, [op._key(name) for name in parameters(formula)[0][1:]])
    wanted = " and ".join(f"edges[{i}] in needed" for i in operands)
    return ["both = None", f"if needed is None or ({wanted}):", *checks, f"    both = joint({', '.join(arguments)})"]


def _operand(op: Any, i: int, condition: str, indent: str, ready: str = "") -> list[str]:
    """Apply the formula of one operand, where its gradient is wanted, and send what it gives to `edge`.

    ready: where it may stand already, if `both` does.
    """
    formula = op.grads[i]
    checks, arguments = _arguments(op, op.names[i])
    value = "g" if formula is identity else f"formula{i}({', '.join(arguments)})"
    lines = [f"if {condition}(needed is None or edge in needed):", *checks]
    lines.append(f"    gradient = {ready} if both else {value}" if ready else f"    gradient = {value}")
    return [indent + line for line in [*lines, *_ARRIVE]]


def _arguments(op: Any, names: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Checks that what a formula names has not been overwritten, and the arguments for it."""
    lines, arguments = [], ["g"]
    for key in names:
        if isinstance(key, str):
            arguments.append("index" if key == "index" and op.variadic else f"attrs[{key!r}]")
            continue
        value, *rest = slots(key)
        if rest and key < 0:
            value = f"saved_result(node, {key}, {value}, {', '.join(rest)})"
        elif rest:
            cell, then = rest
            changed = f"{value}._version is not {cell} or {cell}[0] != {then}"
            lines.append(f"    if {cell} is not None and ({changed}):")
            what = op.operands[0 if op.variadic else key]
            lines.append(f"        raise overwritten(op.name, {what!r}, {value}._array.shape, {then}, {cell}[0])")
        arguments.append(value)
    return lines, arguments


# What `Pass.send` does, without the call.
_ARRIVE = """
    if gradient is not None:
        if edge.__class__ is Node:
            if gradient._array.shape != edge.shape or gradient._dtype is not edge.dtype:
                gradient = fitted(gradient, edge.shape, edge.dtype)
            if edge in task.pending:
                task.pending[edge] = task.pending[edge] + gradient
            else:
                task.pending[edge] = gradient
                heappush(task.heap, (-edge.sequence, edge))
        else:
            if gradient._array.shape != edge._array.shape or gradient._dtype is not edge._dtype:
                gradient = fitted(gradient, edge._array.shape, edge._dtype)
            before = task.leaves.get(edge)
            task.leaves[edge] = gradient if before is None else before + gradient
""".strip("\n").split("\n")


# ---------------------------------------------------------------- what the written functions call
def fitted(gradient: Tensor, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A gradient in the shape and dtype of what it is a gradient of."""
    if gradient._array.shape != shape:
        gradient = sum_to(gradient, shape)
    if gradient._dtype is not dtype:
        if gradient._dtype.kind == COMPLEX and dtype.kind != COMPLEX:
            gradient = gradient.real  # the gradient of a real operand is real
        gradient = cast(gradient, dtype=dtype)
    return gradient


def saved_result(node: Any, key: int, array: Any, cell: list, version: int) -> Tensor:
    """A saved output as a tensor again; the first one with its history."""
    if cell[0] != version:
        raise overwritten(node.op.name, "its result", array.shape, version, cell[0])
    out = wrap(array, node.dtype if key == -1 else FROM_NUMPY[array.dtype], node.device)
    out._version = cell
    if key == -1:
        out._node, out._needs_grad = node, True
    return out


def overwritten(op: str, what: str, shape: tuple, then: int, now: int) -> RuntimeError:
    """The error for a saved tensor that has been written into since."""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{op} saved {what} (shape {list(shape)}) at version {then}, and it is at version {now} now. Use the "
        "out-of-place form of the op that wrote into it, or let that op write into a clone()"
    )
