"""Derivatives checked against finite differences, first and second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from naiad.autograd.api import grad
from naiad.core.dtype import COMPLEX, float64
from naiad.core.tensor import Tensor
from naiad.ops.creation import from_numpy


class GradcheckError(RuntimeError):
    """A derivative differs from finite differences."""


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether the gradients of `func(*inputs)` equal central differences, element by element of the Jacobian.

    inputs: a tensor or a tuple; those that require grad must be float64 or complex128. Raises GradcheckError naming
    the input and both Jacobians, or returns False with `raise_exception=False`.
    """
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x._needs_grad]
    if not checked:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them do.")
    for i in checked:
        if inputs[i]._dtype.to_real() is not float64:
            raise ValueError(f"gradcheck: input {i} is {inputs[i].dtype}; finite differences need double precision")
    try:
        _check(func, inputs, checked, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Whether second derivatives are right: `gradcheck` of the function that computes the first."""
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = _outputs(func(*inputs))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = [_random_like(o, random) for o in outputs]
    seeds = [g.detach().requires_grad_() for g in _outputs(grad_outputs)]
    count = len(inputs)
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x._needs_grad]

    def first_derivative(*args: Any) -> tuple:
        outputs = _outputs(func(*args[:count]))
        found = grad(outputs, [args[i] for i in wanted], list(args[count:]), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None and g._needs_grad)

    if not first_derivative(*inputs, *seeds):
        return True
    return gradcheck(
        first_derivative, (*inputs, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )


def _random_like(tensor: Tensor, random: np.random.Generator) -> Tensor:
    values = random.standard_normal(tensor.shape)
    if tensor._dtype.kind == COMPLEX:
        values = values + 1j * random.standard_normal(tensor.shape)
    return from_numpy(np.array(values))


def _outputs(result: Any) -> list[Tensor]:
    results: Sequence = (result,) if isinstance(result, Tensor) else result
    return [r for r in results if isinstance(r, Tensor) and r._dtype.kind >= 2]


def _check(func: Callable, inputs: tuple, checked: list[int], eps: float, atol: float, rtol: float) -> None:
    count = len(_outputs(func(*inputs)))
    for o in range(count):
        for i in checked:
            analytical = _analytical(func, inputs, i, o)
            numerical = _numerical(func, inputs, i, o, eps)
            if not np.allclose(analytical, numerical, rtol, atol, equal_nan=True):
                worst = np.abs(analytical - numerical).max()
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i} (largest difference {worst:.3g}),\n"
                    f"numerical:\n{numerical}\nanalytical:\n{analytical}"
                )


def _basis(array: np.ndarray) -> list[complex]:
    return [1.0, 1j] if array.dtype.kind == "c" else [1.0]


def _parts(values: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs of reals, flat."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _analytical(func: Callable, inputs: tuple, i: int, o: int) -> np.ndarray:
    """Rows: the real parts of the output; columns: those of the input."""
    output = _outputs(func(*inputs))[o]
    rows = []
    for k in range(output.numel()):
        for unit in _basis(output._array):
            seed = np.zeros(output._array.shape, output._array.dtype)
            seed.reshape(-1)[k] = unit
            (found,) = grad([output], [inputs[i]], [from_numpy(seed)], retain_graph=True, allow_unused=True)
            values = np.zeros_like(inputs[i]._array) if found is None else found.detach().cpu()._array
            rows.append(_parts(values).copy())
    return np.array(rows).reshape(len(rows), inputs[i].numel() * len(_basis(inputs[i]._array)))


def _numerical(func: Callable, inputs: tuple, i: int, o: int, eps: float) -> np.ndarray:
    array = inputs[i]._array
    columns = []
    for index in np.ndindex(array.shape):
        for unit in _basis(array):
            high = _moved(func, inputs, i, o, index, eps * unit)
            low = _moved(func, inputs, i, o, index, -eps * unit)
            with np.errstate(invalid="ignore"):  # an infinity that does not move has no slope
                slope = np.where(high == low, 0.0, (high - low) / (2 * eps))
            columns.append(_parts(slope))
    if not columns:
        return np.zeros((_parts(_outputs(func(*inputs))[o].detach()._array).size, 0))
    return np.array(columns).reshape(len(columns), -1).T


def _moved(func: Callable, inputs: tuple, i: int, o: int, index: tuple, step: complex) -> np.ndarray:
    """Output `o` with one element of input `i` moved."""
    array = np.array(inputs[i]._array)
    array[index] += step
    moved = from_numpy(array).requires_grad_()  # recorded: func may take derivatives itself
    outputs = _outputs(func(*inputs[:i], moved, *inputs[i + 1 :]))
    return outputs[o].detach()._array.copy()


class _CallableModule(ModuleType):
    """`naiad.autograd.gradcheck` is a function and this module, as in PyTorch; whoever imports the module calls it."""

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        return gradcheck(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
