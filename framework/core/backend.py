"""The only door to the kernels: memory on a device and launch functions, found when they are first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from naiad.core import memory
from naiad.core.device import CUDA, FOREIGN, device
from naiad.core.dtype import dtype
from naiad.core.pinned import is_pinned, pinned
from naiad.core.strided import DeviceArray, broadcast_shapes, contiguous_strides, numpy_view

SIMULATED_DEVICES = 2


def simulated() -> bool:
    """Whether `cuda` is the simulated device: NAIAD_CUDA=interpret in the environment."""
    return os.environ.get("NAIAD_CUDA") == "interpret"


def why_no_cuda() -> str | None:
    """None where a cuda device can be used, else the reason and the way out."""
    if simulated():
        return None
    reason = _reason()
    return None if reason is None else f"cuda is not available: {reason}"


@cache
def _reason() -> str | None:
    from naiad.core import diagnosis

    return diagnosis.why_not(diagnosis.look())


@cache
def _gpu() -> Any:
    """The module for real GPUs. Raises RuntimeError where there is none, or after a fork."""
    reason = why_no_cuda()
    if reason:
        raise RuntimeError(reason)
    memory.watch_forks()
    return import_module("naiad.core.cupy_memory")


def device_count() -> int:
    """How many cuda devices there are; 0 where cuda is not available."""
    if simulated():
        return SIMULATED_DEVICES
    return 0 if why_no_cuda() else _visible()


@cache
def _visible() -> int:
    return import_module("cupy").cuda.runtime.getDeviceCount()


class _Current(threading.local):
    index = 0  # the simulated device that "cuda" means, per thread as CUDA has it


_current = _Current()


def current_device() -> int:
    """The index of the device that "cuda" means in this thread."""
    return _current.index if simulated() else _gpu().runtime.getDevice()


def gpu_current_device() -> Callable[[], int]:
    """The function that says which GPU is current: for those who ask often."""
    return _gpu().runtime.getDevice


def on_device(index: int) -> Any:
    """A context in which a GPU is current."""
    return _gpu().cupy.cuda.Device(index)


def set_device(index: int) -> None:
    """Make "cuda" mean this device in this thread. Raises RuntimeError where there is no such device."""
    index = resolve(device("cuda", index)).index or 0
    if simulated():
        _current.index = index
    else:
        _gpu().runtime.setDevice(index)


def resolve(target: device) -> device:
    """The device that tensors get: "cuda" becomes "cuda:0". Raises RuntimeError where there is no such device."""
    if target.kind == FOREIGN:
        raise NotImplementedError(f"device '{target}': naiad has no {target.type}; its devices are cpu, cuda and meta")
    if target.kind != CUDA:
        return target if target.index is None else device(target.type)
    if memory.forked:
        raise RuntimeError(memory.FORKED)
    index = target.index
    if index is None:
        reason = why_no_cuda()
        if reason:
            raise RuntimeError(f"device '{target}': {reason}")
        return device("cuda", current_device())
    if index >= device_count():
        reason = why_no_cuda()
        if reason:
            raise RuntimeError(f"device '{target}': {reason}")
        raise RuntimeError(f"device '{target}': invalid device ordinal, there are {device_count()} devices")
    return target


class _Transfers(threading.local):
    count = 0  # copies between host and device by this thread: what a launch function did not do alone


transfers = _Transfers()


# ---------------------------------------------------------------- memory
@cache
def pool(index: int) -> memory.Pool:
    """The memory of a cuda device."""
    memory.watch_forks()
    return memory.SimulatedPool(index) if simulated() else _gpu().pool(index)


def meta(shape: tuple[int, ...], of: dtype) -> DeviceArray:
    """An array with geometry and nothing else."""
    return DeviceArray(None, shape, contiguous_strides(shape), 0, of.np)


def empty(shape: tuple[int, ...], of: dtype, home: device) -> DeviceArray:
    """Uninitialized memory on cuda or meta."""
    if home.kind != CUDA:
        return meta(shape, of)
    buffer = pool(home.index or 0).take(prod(shape) * of.itemsize)
    return DeviceArray(buffer, shape, contiguous_strides(shape), 0, of.np)


def upload(array: np.ndarray, of: dtype, home: device, wait: bool = True) -> DeviceArray:
    """A copy of an ndarray on a device. Without `wait` it may be read later: nobody may write to it before."""
    out = empty(array.shape, of, home)
    transfers.count += 1
    if home.kind != CUDA or not array.size:
        return out
    try:
        if simulated():
            host_view(out)[...] = array
        else:
            array = np.ascontiguousarray(array, of.np)
            _gpu().to_device(array, out.ptr, home.index or 0, wait)
    except RuntimeError as error:
        raise _uncopied(out, "the host", home, error) from None
    return out


def host_view(array: DeviceArray) -> np.ndarray:
    """A simulated device's array seen as an ndarray over the same bytes."""
    return numpy_view(array.buffer.bytes, array)


def download(array: DeviceArray, wait: bool = True, into: np.ndarray | None = None) -> np.ndarray:
    """A copy of a device array in host memory: new, or a given C-contiguous array of its shape and dtype.

    Without `wait`, pinned memory is filled in when the device's current stream gets there.
    """
    transfers.count += 1
    if array.buffer is None:
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Use to_empty() or make it on another device"
        )
    if simulated():
        array.buffer.check()
    out = np.empty(array.shape, array.dtype) if into is None else into
    if not simulated():
        array = launcher("copy.contiguous", "copy")(array) if out.size else array
    try:
        if simulated():
            out[...] = host_view(array)
        elif out.size:
            _gpu().to_host(out, array.ptr, array.buffer.device_index, wait, array.buffer)
    except RuntimeError as error:
        raise _uncopied(array, f"cuda:{array.buffer.device_index}", "the host", error) from None
    return out


def across(array: DeviceArray, of: dtype, home: device) -> DeviceArray:
    """A copy of a cuda array on another cuda device."""
    if simulated():
        return upload(download(array), of, home)
    array = launcher("copy.contiguous", "copy")(array)
    out = empty(array.shape, of, home)
    if out.nbytes:
        source = array.buffer.device_index
        try:
            _gpu().to_peer(out.ptr, home.index or 0, array.ptr, source, out.nbytes)
        except RuntimeError as error:
            raise _uncopied(out, f"cuda:{source}", home, error) from None
    return out


def _uncopied(array: DeviceArray, source: Any, target: Any, error: RuntimeError) -> RuntimeError:
    return RuntimeError(
        f"copying {array.nbytes} bytes ({array.dtype.name} of shape {list(array.shape)}) from {source} to {target} "
        f"failed: {error}. A GPU reports a kernel's fault as late as at a copy: naiad.cuda.ledger() tells what was "
        "launched before, and NAIAD_CUDA=interpret checks what each kernel reads and writes"
    )


def pin(array: np.ndarray) -> np.ndarray:
    """A copy of an ndarray in page-locked memory; itself where it lies there. Raises RuntimeError without cuda."""
    if is_pinned(array):
        return array
    reason = why_no_cuda()
    if reason:
        raise RuntimeError(f"pin_memory: {reason}")
    out = pinned_empty(array.shape, array.dtype)
    out[...] = array
    return out


def pinned_empty(shape: tuple[int, ...], of: np.dtype) -> np.ndarray:
    """An uninitialized ndarray in page-locked memory; in plain memory where cuda is simulated, but marked the same."""
    nbytes = prod(shape) * of.itemsize
    place = bytearray(max(nbytes, 1)) if simulated() else _gpu().alloc_pinned(max(nbytes, 1))
    return pinned(shape, of, place, nbytes)


def array_interface(array: DeviceArray) -> dict[str, Any]:
    """`__cuda_array_interface__` of a device array. Raises AttributeError on the simulated device."""
    if simulated():
        raise AttributeError(
            "__cuda_array_interface__: the cuda device is simulated (NAIAD_CUDA=interpret), its memory is the host's: "
            "use tensor.cpu().numpy()"
        )
    stream = _gpu().stream(array.buffer.device_index).ptr
    return {
        "shape": tuple(array.shape),
        "strides": None if array.is_contiguous else tuple(step * array.itemsize for step in array.strides),
        "typestr": array.dtype.str,
        "data": (array.ptr if array.size else 0, False),
        "version": 3,
        "stream": stream or 1,  # the interface calls the default stream 1; the reader waits for it
    }


def to_dlpack(array: DeviceArray, **options: Any) -> Any:
    """A DLPack capsule of a GPU's array; see `cupy_interop.to_dlpack`."""
    return import_module("naiad.core.cupy_interop").to_dlpack(array, **options)


def from_dlpack(source: Any) -> tuple[DeviceArray, int]:
    """(array, device index) over the GPU memory of an object with `__dlpack__`. Raises RuntimeError without a GPU."""
    _gpu()
    return import_module("naiad.core.cupy_interop").from_dlpack(source)


# ---------------------------------------------------------------- kernels
def elementwise(op: Any, common: dtype, result: dtype) -> Callable:
    """The Triton kernel of an elementwise op for one dtype, as a function of its operands."""
    lines, value = op.traced()
    prepare = import_module("naiad.kernels.elementwise").prepare
    scalar = ("scalar", common.compute.name)
    launchers: dict[tuple[bool, ...], Callable] = {}

    def storage(i: int, is_array: bool) -> Any:
        of = "bool" if i in op.flags else common.name
        return of if is_array else ("scalar", "bool") if i in op.flags else scalar

    def general(*operands: Any) -> DeviceArray:
        arrays = [isinstance(x, DeviceArray) for x in operands]
        launcher = launcher_for(tuple(arrays))
        shape = broadcast_shapes([x.shape for x in operands if isinstance(x, DeviceArray)])
        first = operands[arrays.index(True)]
        out = first.new(shape, result.np)
        if out.size:
            launcher(out, *[x.broadcast(shape) if a else x.item() for x, a in zip(operands, arrays, strict=True)])
        return out

    def launcher_for(arrays: tuple[bool, ...]) -> Callable:
        launcher = launchers.get(arrays)
        if launcher is None:
            dtypes = tuple(storage(i, a) for i, a in enumerate(arrays))
            launcher = launchers[arrays] = prepare(op.name, op.operands, lines, value, dtypes, result.name)
        return launcher

    def into(out: DeviceArray, *operands: Any) -> None:
        arrays = [isinstance(x, DeviceArray) for x in operands]
        given = [x.broadcast(out.shape) if a else x.item() for x, a in zip(operands, arrays, strict=True)]
        launcher_for(tuple(arrays))(out, *given)

    count = len(op.operands)
    made: Any = _remembering(count, general, launcher_for, result) if count <= 2 else general
    made.into = into  # the same, written where the caller says
    return made


PLANS = 4096  # geometries that one kernel remembers


def _remembering(count: int, general: Callable, launcher_for: Callable, result: dtype) -> Callable:
    """A kernel of one or two operands that recognizes a geometry which it has met: shapes, strides, what is launched.

    A host that runs ahead of the GPU pays a microsecond for this where the general way takes ten.
    """
    plans: dict[tuple, tuple] = {}
    itemsize, kind = result.itemsize, result.np

    def unary(x: DeviceArray) -> DeviceArray:
        plan = plans.get((x.shape, x.strides))
        if plan is None:
            return learn(x)
        shape, strides, nbytes, start = plan
        out = DeviceArray(x.buffer.allocate(nbytes), shape, strides, 0, kind)
        start(out, x)
        return out

    def binary(x: Any, y: Any) -> DeviceArray:
        if y.__class__ is not DeviceArray or x.__class__ is not DeviceArray:
            return with_number(x, y)
        plan = plans.get((x.shape, x.strides, y.shape, y.strides))
        if plan is None:
            return learn(x, y)
        shape, strides, nbytes, start = plan
        out = DeviceArray(x.buffer.allocate(nbytes), shape, strides, 0, kind)
        start(out, x, y)
        return out

    def with_number(x: Any, y: Any) -> DeviceArray:
        array, number, first = (x, y, True) if x.__class__ is DeviceArray else (y, x, False)
        plan = plans.get((first, array.shape, array.strides))
        if plan is None:
            return learn(x, y)
        shape, strides, nbytes, start = plan
        out = DeviceArray(array.buffer.allocate(nbytes), shape, strides, 0, kind)
        start(out, array, number.item())
        return out

    def learn(*operands: Any) -> DeviceArray:
        arrays = tuple(isinstance(x, DeviceArray) for x in operands)
        given = [x for x in operands if isinstance(x, DeviceArray)]
        shape = broadcast_shapes([x.shape for x in given])
        if 0 not in shape:
            strides = contiguous_strides(shape)
            bound = launcher_for(arrays).bound
            start = bound(shape, (strides, *[x.broadcast(shape).strides for x in given]))
            key: tuple = tuple(v for x in given for v in (x.shape, x.strides))
            key = key if all(arrays) else (arrays[0], *key)
            if len(plans) >= PLANS:
                plans.clear()
            plans[key] = (shape, strides, prod(shape) * itemsize, start)
        return general(*operands)

    return unary if count == 1 else binary


def launcher(kernel: str | Callable | None, op: str) -> Callable:
    """A family's launch function, named as "module.function" in naiad.kernels, or a user's own."""
    if callable(kernel):
        return kernel
    if kernel is None:
        shown = op.removesuffix("_op")
        raise NotImplementedError(f"{shown} has no kernel on cuda yet; run it on the CPU: tensor.cpu()")
    module, _, function = kernel.partition(".")
    return getattr(kernels(module), function)


@cache
def kernels(module: str) -> Any:
    """A module of naiad.kernels."""
    return import_module(f"naiad.kernels.{module}")


def allow_single_precision(chosen: dict[str, bool]) -> None:
    """Which families ("matmul", "conv") may multiply float32 in tf32; launches under another choice are forgotten."""
    single = import_module("naiad.kernels.precision").single
    if chosen != single:
        single.update(chosen)
        import_module("naiad.core.replay").forget()


def primitive(op: Any, xs: Sequence, arrays: Sequence, attrs: dict, home: device) -> Sequence:
    """Run an op's launch function on fresh outputs of the shapes and dtypes that its rule gives.

    On a GPU, what it launched for a geometry is remembered and launched again when the geometry comes again.
    """
    again = _again()
    return again(op, xs, arrays, attrs, home, _general) if again and xs else _general(op, xs, arrays, attrs, home)


@cache
def _again() -> Callable | None:
    """What repeats launches; None on the simulated device, which would win nothing."""
    return None if simulated() else import_module("naiad.core.replay").run


def _general(op: Any, xs: Sequence, arrays: Sequence, attrs: dict, home: device) -> list:
    facts = op.infer(xs, attrs)
    facts = facts if isinstance(facts, list) else [facts]
    launch = launcher(op.kernel, op.name)
    outs = [empty(shape, of, home) for shape, of in facts]
    given = attrs if xs else {k: v for k, v in attrs.items() if k not in ("device", "dtype", "shape")}
    if any([a is not None and a.dtype.kind == "c" for a in (*outs, *arrays)]):
        _complex().launch(op, launch, outs, arrays, given)
    else:
        launch(outs[0] if len(outs) == 1 else tuple(outs), *arrays, **given)
    return outs


@cache
def _complex() -> Any:
    return import_module("naiad.core.complex_launch")
