"""How an update rule is run.

A rule is a pure function `rule(m, param, grad, *state, **numbers) -> (new_param, *new_state)` of elementwise maths, `m`
being the namespace of its functions (sqrt, where, ...). It is written once and run in one of three ways:

- on cpu as a program of NumPy calls (`program.py`), block by block: the temporaries of a block stay in the processor's
  cache, so that main memory is read and written once per step however many operations the rule has;
- on cuda by a kernel printed from it (`fused.py`), or by one in `FUSED`, which takes all parameters in one launch;
- with `m = naiad`, in tensor operations: where there is no kernel, or when autograd is to see the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import naiad
from naiad.core.numpy_program import BLOCK, Program
from naiad.optim import fused
from naiad.optim.program import compile_rule

Rule = Callable[..., tuple]
Numbers = dict[str, Any]

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
    programs: dict[Any, Program] = {}
    with np.errstate(all="ignore"):  # as PyTorch: inf and nan travel on silently
        for row in zip(params, grads, states, numbers, strict=True):
            if row[0]._device.type == "cpu":
                _update_arrays(rule, *row, programs)
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
            continue
        if device.type == "cuda":
            fused.update(rule, [row for row in group if fused.fits(row)])
            group = [row for row in group if not fused.fits(row)]
        for row in group:
            _update_tensors(rule, *row)


def _update_tensors(rule: Rule, param: Any, grad: Any, state: tuple, numbers: Numbers) -> None:
    """One parameter in tensor operations."""
    targets = (param, *state)
    if param.is_complex():
        targets, grad = tuple(naiad.view_as_real(t) for t in targets), naiad.view_as_real(grad)
    for target, value in zip(targets, rule(naiad, targets[0], grad, *targets[1:], **numbers), strict=True):
        target.copy_(value)


def _update_arrays(
    rule: Rule, param: Any, grad: Any, state: tuple, numbers: Numbers, programs: dict[Any, Program]
) -> None:
    """One parameter on cpu. `programs` holds those made so far, by the identity of the numbers."""
    source = grad._array
    targets = [param._array, *[t._array for t in state]]
    if source.shape != targets[0].shape or source.dtype != targets[0].dtype:
        _refuse(param, grad)
    if source.size > BLOCK and all(a.flags.c_contiguous for a in targets):
        targets, source = [a.reshape(-1) for a in targets], source.reshape(-1)
    if source.dtype.kind == "c":
        targets, source = [_as_real(a) for a in targets], _as_real(source)
    key = id(numbers), source.dtype
    program = programs.get(key)
    if program is None:
        program = programs[key] = compile_rule(rule, len(state), numbers, source.dtype)
    arrays = [*targets, source]
    if source.size <= BLOCK or source.ndim != 1:
        program.run(arrays, source.shape)
    else:
        program.run_blocks(arrays, source.shape)
    for tensor in (param, *state):
        tensor._version[0] += 1


def _refuse(param: Any, grad: Any) -> None:
    raise RuntimeError(
        f"optimizer: a parameter has shape {tuple(param.shape)} and dtype {param.dtype}, but its gradient "
        f"{tuple(grad.shape)} and {grad.dtype}: they must be alike"
    )


def _as_real(array: np.ndarray) -> np.ndarray:
    """(..., ) complex -> (..., 2) real, sharing memory: the rules work on real and imaginary parts alike."""
    real = array.real.dtype
    return np.ndarray((*array.shape, 2), real, array, 0, (*array.strides, real.itemsize))


def lerp(start: Any, end: Any, weight: float) -> Any:
    """`start + weight · (end - start)`, from the nearer end."""
    if abs(weight) < 0.5:
        return start + weight * (end - start)
    return end - (end - start) * (1 - weight)
