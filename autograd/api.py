"""`Tensor.backward`, `autograd.backward` and `autograd.grad`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.autograd.anomaly_mode import new_pass
from naiad.autograd.engine import Pass, with_grad_mode
from naiad.core.caution import warn
from naiad.core.device import CPU
from naiad.core.dispatch import constant
from naiad.core.dtype import FLOAT
from naiad.core.op import public
from naiad.core.state import replace
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import cast, clone_op
from naiad.ops.creation import full_op


@public("Tensor", name="backward")
def tensor_backward(
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
    inputs: only these tensors' `.grad` are updated.
    """
    wanted = None if inputs is None else _sequence(inputs)
    _backward((self,), [_seed(0, self, gradient)], retain_graph, create_graph, wanted)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Sum of gradients of `tensors` with respect to the leaves, added to their `.grad`; see `Tensor.backward`."""
    roots = _sequence(tensors)
    wanted = None if inputs is None else _sequence(inputs)
    _backward(roots, _seeds(roots, grad_tensors), retain_graph, create_graph, wanted)


def _backward(
    roots: Sequence[Tensor], seeds: list, retain_graph: bool | None, create_graph: bool, wanted: Sequence | None
) -> None:
    if wanted is not None and not wanted:
        raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    task = new_pass(wanted, create_graph if retain_graph is None else retain_graph)
    state = with_grad_mode(create_graph)
    try:
        task.run(roots, seeds)
        task.accumulate()
        for tensor in wanted or ():
            if tensor._node in task.nodes:
                found = task.nodes[tensor._node]
                tensor._grad = clone_op(found) if tensor._grad is None else tensor._grad + found
    finally:
        replace(state)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sum of gradients of `outputs` with respect to each of `inputs`, without touching any `.grad`.

    Raises RuntimeError for an input that the outputs do not depend on, unless `allow_unused` (then None) or
    `materialize_grads` (then zeros).
    """
    if not only_inputs:
        warn("only_inputs argument is deprecated and is ignored now (defaults to True).", FutureWarning)
    if is_grads_batched:
        raise NotImplementedError("grad(is_grads_batched=True) is not supported: loop over the rows of grad_outputs")
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: False.")
    roots, wanted = _sequence(outputs), _sequence(inputs)
    for i, tensor in enumerate(wanted):
        if not tensor._needs_grad:
            raise RuntimeError(f"One of the differentiated Tensors does not require grad: inputs[{i}], {tensor.shape}")
    seeds = _seeds(roots, grad_outputs)
    task = new_pass(wanted, create_graph if retain_graph is None else retain_graph)
    state = with_grad_mode(create_graph)
    try:
        task.run(roots, seeds)
    finally:
        replace(state)
    found = [_arrived(task, t) for t in wanted]
    for i, (gradient, tensor) in enumerate(zip(found, wanted, strict=True)):
        if gradient is None and materialize_grads:
            found[i] = full_op(shape=tensor._array.shape, value=0, dtype=tensor._dtype, device=tensor._device)
        elif gradient is None and not allow_unused:
            raise RuntimeError(
                f"One of the differentiated Tensors appears to not have been used in the graph: inputs[{i}]. "
                "Set allow_unused=True if this is the desired behavior."
            )
    return tuple(found)


def _arrived(task: Pass, tensor: Tensor) -> Tensor | None:
    if tensor._node is not None:
        return task.nodes.get(tensor._node)
    gradient = task.leaves.get(tensor)
    if gradient is not None and tensor._hooks is not None and tensor._hooks.hooks:
        from naiad.autograd.engine import _apply_hooks

        gradient = _apply_hooks(tensor._hooks.hooks, gradient)
    return gradient


def _sequence(tensors: Any) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def _seeds(roots: Sequence[Tensor], given: Any) -> list[Tensor]:
    given = (None,) * len(roots) if given is None else _sequence(given)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return [_seed(i, root, gradient) for i, (root, gradient) in enumerate(zip(roots, given, strict=True))]


def _seed(i: int, root: Tensor, gradient: Tensor | None) -> Tensor:
    if not root._needs_grad:
        raise RuntimeError(
            f"element {i} of tensors does not require grad and does not have a grad_fn: nothing that it was computed "
            "from requires grad, or it was computed under no_grad()"
        )
    shape = root._array.shape
    if gradient is None:
        if root._array.size != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs, not for shape {list(shape)}: "
                "reduce it first (.sum(), .mean()) or pass gradient="
            )
        if root._dtype.kind != FLOAT:
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {root._dtype!r}")
        if root._device.kind == CPU:
            one = constant(1.0, root._dtype).copy() if shape == () else np.ones(shape, root._dtype.np)
            return wrap(one, root._dtype, root._device)
        return full_op(shape=shape, value=1, dtype=root._dtype, device=root._device)
    if gradient._array.shape != shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {list(gradient.shape)} and output[{i}] has a shape "
            f"of {list(shape)}."
        )
    return gradient if gradient._dtype is root._dtype else cast(gradient, dtype=root._dtype)


@public("Tensor")
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this tensor, which is no leaf, in its `.grad`."""
    if not self._needs_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node is not None:
        self._node.retained = weakref.ref(self)


def _retains_grad(self: Tensor) -> bool:
    """Whether backward leaves the gradient of this tensor, which is no leaf, in its `.grad`."""
    return self._node is not None and self._node.retained is not None and self._node.retained() is self


_retains_grad.is_property = True  # type: ignore[attr-defined]
public("Tensor", name="retains_grad")(_retains_grad)
