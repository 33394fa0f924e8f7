"""The only door to the kernels: memory on a device and launch functions, found when they are first needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from naiad.core.device import CUDA, device
from naiad.core.dtype import COMPLEX, dtype
from naiad.core.strided import DeviceArray, broadcast_shapes, contiguous_strides, numpy_view
from naiad.core.trace import Symbol, trace

SIMULATED_DEVICES = 2


def simulated() -> bool:
    """Whether `cuda` is the simulated device: NAIAD_CUDA=interpret in the environment."""
    return os.environ.get("NAIAD_CUDA") == "interpret"


def why_no_cuda() -> str | None:
    """None where a cuda device can be used, else the reason and the way out."""
    if simulated():
        return None
    return (
        "cuda is not available: this version of naiad runs its kernels in Triton's interpreter only. Set "
        "NAIAD_CUDA=interpret in the environment for the simulated device, or use device='cpu'"
    )


def device_count() -> int:
    return SIMULATED_DEVICES if simulated() else 0


def resolve(target: device) -> device:
    """The device that tensors get: "cuda" becomes "cuda:0". Raises RuntimeError where there is no such device."""
    if target.kind != CUDA:
        return target if target.index is None else device(target.type)
    reason = why_no_cuda()
    if reason:
        raise RuntimeError(f"device '{target}': {reason}")
    index = target.index or 0
    if index >= device_count():
        raise RuntimeError(f"device '{target}': invalid device ordinal, there are {device_count()} devices")
    return device("cuda", index)


# ---------------------------------------------------------------- memory
def meta(shape: tuple[int, ...], of: dtype) -> DeviceArray:
    """An array with geometry and nothing else."""
    return DeviceArray(None, shape, contiguous_strides(shape), 0, of.np)


def empty(shape: tuple[int, ...], of: dtype, home: device) -> DeviceArray:
    """Uninitialized memory on cuda or meta."""
    if home.kind != CUDA:
        return meta(shape, of)
    from naiad.core.memory import SimulatedBuffer

    buffer = SimulatedBuffer(prod(shape) * of.itemsize, home.index or 0)
    return DeviceArray(buffer, shape, contiguous_strides(shape), 0, of.np)


def upload(array: np.ndarray, of: dtype, home: device) -> DeviceArray:
    """A copy of an ndarray on a device."""
    out = empty(array.shape, of, home)
    if home.kind == CUDA:
        host_view(out)[...] = array
    return out


def host_view(array: DeviceArray) -> np.ndarray:
    """A simulated device's array seen as an ndarray over the same bytes."""
    return numpy_view(array.buffer.bytes, array)


def download(array: DeviceArray) -> np.ndarray:
    """A copy of a device array in host memory."""
    if array.buffer is None:
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Use to_empty() or make it on another device"
        )
    return host_view(array).copy()


# ---------------------------------------------------------------- kernels
def elementwise(op: Any, common: dtype, result: dtype) -> Callable:
    """The Triton kernel of an elementwise op for one dtype, as a function of its operands."""
    if COMPLEX in (common.kind, result.kind):
        raise NotImplementedError(f"{op.name}: complex tensors have no kernels on cuda yet; use .cpu()")
    recorded, value = trace(op.body, op.operands)
    lines = recorded.prune(value) if isinstance(value, Symbol) else []
    prepare = import_module("naiad.kernels.elementwise").prepare
    scalar = ("scalar", common.compute.name)
    launchers: dict[tuple[bool, ...], Callable] = {}

    def storage(i: int, is_array: bool) -> Any:
        of = "bool" if i in op.flags else common.name
        return of if is_array else ("scalar", "bool") if i in op.flags else scalar

    def kernel(*operands: Any) -> DeviceArray:
        arrays = [isinstance(x, DeviceArray) for x in operands]
        launcher = launchers.get(tuple(arrays))
        if launcher is None:
            dtypes = tuple(storage(i, a) for i, a in enumerate(arrays))
            launcher = launchers[tuple(arrays)] = prepare(op.name, op.operands, lines, value, dtypes, result.name)
        shape = broadcast_shapes([x.shape for x in operands if isinstance(x, DeviceArray)])
        first = operands[arrays.index(True)]
        out = first.new(shape, result.np)
        if out.size:
            launcher(out, *[x.broadcast(shape) if a else x.item() for x, a in zip(operands, arrays, strict=True)])
        return out

    return kernel


def launcher(kernel: str | Callable | None, op: str) -> Callable:
    """A family's launch function, named as "module.function" in naiad.kernels, or a user's own."""
    if callable(kernel):
        return kernel
    if kernel is None:
        raise NotImplementedError(f"{op} has no kernel on cuda yet; run it on the CPU: tensor.cpu()")
    module, _, function = kernel.partition(".")
    return getattr(import_module(f"naiad.kernels.{module}"), function)


def primitive(
    op: Any, facts: Sequence[tuple[tuple[int, ...], dtype]], arrays: Sequence, attrs: dict, home: device
) -> list:
    """Run an op's launch function on fresh outputs of the shapes and dtypes that its rule gave."""
    launch = launcher(op.kernel, op.name)
    outs = [empty(shape, of, home) for shape, of in facts]
    launch(outs[0] if len(outs) == 1 else tuple(outs), *arrays, **attrs)
    return outs
