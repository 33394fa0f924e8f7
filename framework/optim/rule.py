"""How an update rule is run.

A rule is a pure function `rule(m, param, grad, *state, **numbers) -> (new_param, *new_state)` of elementwise maths, `m`
being the namespace of its functions (sqrt, where, ...). It is written once and run in one of three ways:

- on cpu with NumPy, block by block: the temporaries of a block stay in the processor's cache, so that main memory is
  read and written once per step however many operations the rule has;
- on another device, by the kernel in `FUSED`, which takes all parameters in one launch;
- with `m = naiad`, in tensor operations: where there is no kernel, or when autograd is to see the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import naiad

Rule = Callable[..., tuple]
Numbers = dict[str, Any]

BLOCK = 1 << 14  # elements: 64 kB of float32, so that the dozen arrays of a rule fit into a core's second-level cache

# (rule name, device type) -> f(params, grads, states, numbers): one launch for all parameters. `states` holds a tuple
# of Tensors and `numbers` a dict of keyword arguments per parameter; everything is updated in place.
FUSED: dict[tuple[str, str], Callable[..., None]] = {}


def update(
    rule: Rule,
    params: Sequence[naiad.Tensor],
    grads: Sequence[naiad.Tensor],
    states: Sequence[tuple[naiad.Tensor, ...]],
    numbers: Sequence[Numbers],
    *,
    differentiable: bool = False,
) -> None:
    """Apply `rule` in place to every parameter and its state; the i-th of each argument belong together."""
    if differentiable:
        for row in zip(params, grads, states, numbers, strict=True):
            _update_tensors(rule, *row)
        return
    elsewhere = []
    with np.errstate(all="ignore"):  # as PyTorch: inf and nan travel on silently
        for row in zip(params, grads, states, numbers, strict=True):
            if row[0].device.type == "cpu":
                _update_arrays(rule, *row)
            else:
                elsewhere.append(row)
    if elsewhere:
        _update_elsewhere(rule, elsewhere)


def _update_elsewhere(rule: Rule, rows: list[tuple]) -> None:
    by_device: dict[Any, list[tuple]] = {}
    for row in rows:
        by_device.setdefault(row[0].device, []).append(row)
    for device, group in by_device.items():
        kernel = FUSED.get((rule.__name__, device.type))
        if kernel is not None:
            kernel(*(list(column) for column in zip(*group, strict=True)))
        else:
            for row in group:
                _update_tensors(rule, *row)


def _update_tensors(rule: Rule, param: Any, grad: Any, state: tuple, numbers: Numbers) -> None:
    """One parameter in tensor operations."""
    targets = (param, *state)
    if param.is_complex():
        targets, grad = tuple(naiad.view_as_real(t) for t in targets), naiad.view_as_real(grad)
    for target, value in zip(targets, rule(naiad, targets[0], grad, *targets[1:], **numbers), strict=True):
        target.copy_(value)


def _update_arrays(rule: Rule, param: Any, grad: Any, state: tuple, numbers: Numbers) -> None:
    """One parameter on cpu."""
    _check_alike(param, grad)
    targets = [param._array, *[t._array for t in state]]
    source = grad._array
    if all(a.flags.c_contiguous for a in targets):
        if not source.flags.c_contiguous:
            source = np.ascontiguousarray(source)
        targets, source = [a.reshape(-1) for a in targets], source.reshape(-1)
        if source.dtype.kind == "c":
            targets, source = [_as_real(a) for a in targets], _as_real(source)
        _update_blocks(rule, targets, source, numbers)
    else:
        if source.dtype.kind == "c":
            targets, source = [_as_real(a) for a in targets], _as_real(source)
        _update_block(rule, targets, source, numbers)
    for tensor in (param, *state):
        tensor._version[0] += 1


def _check_alike(param: Any, grad: Any) -> None:
    if param._array.shape != grad._array.shape or param._array.dtype != grad._array.dtype:
        raise RuntimeError(
            f"optimizer: a parameter has shape {tuple(param.shape)} and dtype {param.dtype}, but its gradient "
            f"{tuple(grad.shape)} and {grad.dtype}: they must be alike"
        )


def _as_real(array: np.ndarray) -> np.ndarray:
    """(..., ) complex -> (..., 2) real, sharing memory: the rules work on real and imaginary parts alike."""
    real = array.real.dtype
    return np.ndarray((*array.shape, 2), real, array, 0, (*array.strides, real.itemsize))


def _update_blocks(rule: Rule, targets: list[np.ndarray], grad: np.ndarray, numbers: Numbers) -> None:
    size = len(grad)
    if size <= BLOCK:
        _update_block(rule, targets, grad, numbers)
        return
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        _update_block(rule, [a[block] for a in targets], grad[block], numbers)


def _update_block(rule: Rule, targets: list[np.ndarray], grad: np.ndarray, numbers: Numbers) -> None:
    if grad.dtype.itemsize == 2:  # float16, bfloat16: compute in float32, round once
        wide = [a.astype(np.float32) for a in targets]
        new = rule(np, wide[0], grad.astype(np.float32), *wide[1:], **numbers)
    else:
        new = rule(np, targets[0], grad, *targets[1:], **numbers)
    for target, value in zip(targets, new, strict=True):
        np.copyto(target, value, casting="unsafe")


def lerp(start: Any, end: Any, weight: float) -> Any:
    """`start + weight · (end - start)`, from the nearer end."""
    if abs(weight) < 0.5:
        return start + weight * (end - start)
    return end - (end - start) * (1 - weight)
