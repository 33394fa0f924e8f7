"""The one way of calling an op: `apply(op, operands, attrs)`.

With no mode active it falls straight to the op, which promotes, runs on the backend of its operands and records.
The closures of `elementwise` do the same for the usual case with less ado; everything unusual comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.device import CPU_DEVICE, device
from naiad.core.dtype import bool as bool_
from naiad.core.dtype import complex64, dtype, int64
from naiad.core.op import Op
from naiad.core.state import State, current, default_dtype, replace
from naiad.core.tensor import Tensor

NUMBERS = (float, int, complex)  # bool is an int


def apply(op: Op, xs: Sequence, attrs: dict | None = None) -> Any:
    """Run one op on operands (tensors, Python numbers, or None where an operand is optional)."""
    state = current()
    if state.modes:
        return _under_modes(state, op, xs, attrs)
    return op.run(state, xs, attrs)


def _under_modes(state: State, op: Op, xs: Sequence, attrs: dict | None) -> Any:
    """Hand the op to the outermost interpreter, with that one peeled off."""
    replace(State(state.grad, state.modes[:-1], state.inference))
    try:
        return state.modes[-1].process(op, xs, attrs)
    finally:
        replace(state)


def settle(op: Op, xs: Sequence) -> tuple[list, device]:
    """Operands as tensors, numbers or None, and the device they share.

    Raises TypeError for an operand of another type, RuntimeError for tensors on different devices. A 0-d tensor on
    the CPU joins any device, as a number would.
    """
    settled: list = []
    home: device | None = None
    for x in xs:
        if not isinstance(x, Tensor) and x is not None:
            x = _operand(op, x)
        settled.append(x)
        if isinstance(x, Tensor) and x._device is not home:
            if home is None or (home is CPU_DEVICE and all(_is_zero_dim_cpu(y) for y in settled[:-1])):
                home = x._device
    home = home or CPU_DEVICE
    for i, x in enumerate(settled):
        if isinstance(x, Tensor) and x._device is not home:
            if not _is_zero_dim_cpu(x):
                raise RuntimeError(_device_mix(op, settled))
            settled[i] = x.to(home)
    return settled, home


def _is_zero_dim_cpu(x: Any) -> bool:
    return not isinstance(x, Tensor) or (x._device is CPU_DEVICE and not x._array.shape)


def _device_mix(op: Op, xs: Sequence) -> str:
    where = ", ".join(f"{n} on {x.device}" for n, x in zip(_names(op, xs), xs, strict=True) if isinstance(x, Tensor))
    return (
        f"{op.name.removesuffix('_op')}: Expected all tensors to be on the same device, but found at least two "
        f"devices: {where}. Move them together with .to(device)"
    )


def _names(op: Op, xs: Sequence) -> list[str]:
    return [f"{op.operands[0]}[{i}]" for i in range(len(xs))] if op.variadic else list(op.operands)


def _operand(op: Op, x: Any) -> Any:
    if isinstance(x, NUMBERS):
        return x.item() if isinstance(x, np.generic) else x
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.ndarray):
        from naiad.ops.creation import from_numpy

        return from_numpy(x)
    raise TypeError(f"{op.name}(): an operand must be a Tensor or a number, not {type(x).__name__}: {x!r:.80}")


def number_dtype(x: Any) -> dtype:
    """The dtype that a Python number would have as a tensor."""
    if isinstance(x, bool):
        return bool_
    if isinstance(x, int):
        return int64
    return default_dtype() if isinstance(x, float) else complex64


_constants: dict[tuple, np.ndarray] = {}


def constant(value: Any, of: dtype) -> np.ndarray:
    """A Python number as a read-only 0-d array, which NumPy takes twice as fast as the number.

    Zeros are not kept: 0.0 and -0.0 are the same key.
    """
    found = _constants.get((value, of))
    if found is not None:
        return found
    try:
        made = np.asarray(value, of.np)
    except OverflowError:
        if not -(2**63) <= value < 2**63:
            raise RuntimeError(f"value {value!r} cannot be converted to type {of.name} without overflow") from None
        made = np.asarray(value, np.int64).astype(of.np)  # wraps, as a tensor of int64 would
    made.flags.writeable = False
    if value and len(_constants) < 4096:
        _constants[value, of] = made
    return made


def explain(op: Op, xs: Sequence, attrs: dict | None, error: Exception) -> Exception:
    """The error to raise when an op's body failed: the shape rule's, which speaks of the op, if it has one."""
    try:
        settled, _ = settle(op, xs)
        op.infer(settled, attrs or {})
    except Exception as better:  # whatever the rule says about these operands is what the user should read
        return better.with_traceback(None)
    return error


def gradient_mask(xs: Sequence) -> int:
    """Which operands want a gradient, as bits."""
    mask = 0
    for i, x in enumerate(xs):
        if isinstance(x, Tensor) and x._needs_grad:
            mask |= 1 << i
    return mask


def deliver(result: Tensor, out: Tensor) -> Tensor:
    """Write a result into the `out=` tensor of a call."""
    if not isinstance(out, Tensor):
        raise TypeError(f"out= must be a Tensor, not {type(out).__name__}")
    if result._needs_grad or out._needs_grad:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad. Drop out=, or call it under no_grad()"
        )
    if out._device is not result._device:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices: "
            f"out= on {out._device}, the result on {result._device}. Make out= on {result._device}"
        )
    if result._dtype.kind > out._dtype.kind:
        raise RuntimeError(
            f"result type {result._dtype.name} can't be cast to the desired output type {out._dtype.name} of out="
        )
    if out._array.shape == result._array.shape:
        return out.copy_(result)
    if out.numel():
        warn(
            f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not "
            f"match the required output shape {list(result.shape)}. This behavior is deprecated: give out= the right "
            "shape, or no elements, as after out.resize_(0)"
        )
    out.data = result.to(out._dtype)
    return out
