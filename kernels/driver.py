"""Launching compiled kernels on a GPU: cubins loaded and started through CuPy's driver module, on its current stream.

A launch costs the host one dictionary lookup. Its key says all that chooses the machine code (dtypes, alignments,
constants), and is made by a function generated for the kinds of arguments that the kernel takes; the value says what
to launch and where its parameters lie. Tables are per thread, because the memory in which parameters lie is: CuPy gives
up the interpreter's lock while it launches. Each parameter has a slot of eight bytes; one that is a constant to the
compiler is left out of the list of addresses. Neither PyTorch nor a C compiler nor Triton's own driver takes part.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from math import copysign, inf
from typing import Any

from naiad.kernels import launch as launching
from naiad.kernels.launch import Options, Scalar

MAX_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
STATIC_SHARED = 48 * 1024  # what a kernel may use without asking
MAJOR, MINOR, OPT_IN_SHARED = 75, 76, 97  # of CUdevice_attribute

# How a number of a dtype lies in its slot; halves enter a kernel as float32. Narrow integers are read from its start.
FORMAT = {
    **dict.fromkeys(("bool", "int8", "int16", "int32", "int64"), "q"),
    **dict.fromkeys(("uint8", "uint16", "uint32", "uint64"), "Q"),
    **dict.fromkeys(("float16", "bfloat16", "float32"), "f4x"),
    "float64": "d",
}


class Here(threading.local):
    """What a thread launches with."""

    def __init__(self) -> None:  # once per thread
        self.table: dict[Any, tuple] = {}  # key -> (function, threads, shared, addresses, pack, memory, scratch)
        self.kept: list[Any] = []  # lists of addresses, which must not move
        cuda().touch()


class Cuda:
    """What is needed of CuPy, looked up once."""

    def __init__(self) -> None:
        elsewhere = "Set NAIAD_CUDA=interpret for the simulated device, or use the cpu"
        try:
            import cupy
            from cupy_backends.cuda.api import driver
        except ImportError as error:
            raise RuntimeError(
                f"launching on a GPU takes CuPy ({error}): pip install 'naiad[cuda12]'. {elsewhere}"
            ) from None
        self.driver, self.runtime = driver, cupy.cuda.runtime
        self.Device, self.stream = cupy.cuda.Device, cupy.cuda.get_current_stream
        try:
            self.several = self.runtime.getDeviceCount() > 1
        except self.runtime.CUDARuntimeError as error:
            raise RuntimeError(f"launching takes a GPU, and CuPy finds none: {error}. {elsewhere}") from None

    def touch(self) -> None:
        """Make sure that this thread has a context: the driver's functions do not."""
        self.runtime.setDevice(self.runtime.getDevice())
        self.runtime.free(0)


@cache
def cuda() -> Cuda:
    return Cuda()


@cache
def arch(device: int) -> int:
    """Compute capability of a device as Triton counts it: 90 for 9.0."""
    read = cuda().runtime.deviceGetAttribute
    return 10 * read(MAJOR, device) + read(MINOR, device)


# ---------------------------------------------------------------- loading
_loading = threading.Lock()
_functions: dict[tuple[str, int], int] = {}
_modules: list[int] = []


def load(cubin: Any, device: int, kernel: str) -> int:
    """The driver's handle of a kernel on a device, which is current. Each cubin is loaded once per device."""
    with _loading:
        found = _functions.get((cubin.key, device))
        if found is None:
            driver = cuda().driver
            _check_shared(cubin.shared, device, kernel)
            try:
                module = driver.moduleLoadData(cubin.code)
                found = driver.moduleGetFunction(module, cubin.name)
                if cubin.shared > STATIC_SHARED:
                    driver.funcSetAttribute(found, MAX_SHARED_BYTES, cubin.shared)
            except driver.CUDADriverError as error:
                raise RuntimeError(
                    f"{kernel}: the driver does not load its code for sm_{arch(device)}: {error}. If the driver is "
                    "older than the one that CuPy was made for, update it; `python -m naiad.info` shows both"
                ) from None
            _modules.append(module)
            _functions[cubin.key, device] = found
        return found


def _check_shared(wanted: int, device: int, kernel: str) -> None:
    has = cuda().runtime.deviceGetAttribute(OPT_IN_SHARED, device)
    if wanted > has:
        raise RuntimeError(f"{kernel}: needs {wanted} bytes of shared memory, cuda:{device} has {has} per block")


def _add(
    here: Here,
    key: Any,
    device: int,
    kernel: Any,
    args: Sequence[Any],
    constexprs: dict,
    options: Options,
    order: Sequence[int] | None = None,
    varying: int | None = None,
) -> tuple:
    """Compile and load what a key asks for, and give it memory for its parameters.

    `order` says which argument lies in which slot (default: each in its own). All but the first `varying` slots hold
    what is the same at every launch, which is written here.
    """
    from naiad.kernels import compiler

    spec = compiler.specialize(kernel, args, constexprs)
    cubin = compiler.compiled(kernel, spec, options, arch(device))
    function = load(cubin, device, kernel.__name__)
    constants = {place for place, _ in spec.constants}
    run_time = [i for i, name in enumerate(kernel.arg_names) if name not in constexprs]
    order = range(len(args)) if order is None else order
    varying = len(args) if varying is None else varying
    slot_of = {arg: slot for slot, arg in enumerate(order)}
    slots = [slot_of[i] for i, place in enumerate(run_time) if place not in constants]
    slots += [len(args), len(args) + 1]  # the two scratch pointers, which are 0 unless a launch says otherwise
    memory = bytearray(8 * (len(args) + 2))
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    addresses = (ctypes.c_void_p * len(slots))(*[first + 8 * slot for slot in slots])
    laid = [args[i] for i in order]
    same = laid[varying:]
    numbers = [arg.value if isinstance(arg, Scalar) else arg for arg in map(_single, same)]
    struct.pack_into("<" + "".join(map(_format, same)), memory, 8 * varying, *numbers)
    pack = struct.Struct("<" + "".join(map(_format, laid[:varying]))).pack_into
    scratch = (8 * len(args), cubin.scratch, cubin.profile) if cubin.scratch or cubin.profile else None
    found = (function, 32 * cubin.warps, cubin.shared, ctypes.addressof(addresses), pack, memory, scratch)
    here.kept.append(addresses)
    here.table[key] = found
    return found


def _format(arg: Any) -> str:
    if isinstance(arg, int):
        return "q"
    return FORMAT[arg.dtype] if isinstance(arg, Scalar) else "Q"


def _single(arg: Any) -> Any:
    """A number too large for the float32 that it enters a kernel as, as the infinity that this makes of it."""
    if isinstance(arg, Scalar) and FORMAT[arg.dtype] == "f4x":
        try:
            struct.pack("<f", arg.value)
        except OverflowError:
            return Scalar(copysign(inf, arg.value), arg.dtype)
    return arg


def _scratch(like: Any, scratch: tuple[int, int, int], grid: tuple[int, int, int], memory: bytearray) -> tuple:
    """Memory that the kernel's programs work in; it goes back in the order of the stream."""
    place, *sizes = scratch
    kept = tuple(like.allocate(max(size * grid[0] * grid[1] * grid[2], 1)) for size in sizes)
    struct.pack_into("<QQ", memory, place, *[buffer.ptr for buffer in kept])
    return kept


def _on(device: int, call: Callable, *args: Any) -> None:
    """Launch again with another device made current."""
    with cuda().Device(device):
        call(*args)


def _refused(kernel: Any, grid: tuple, device: int, error: Exception) -> RuntimeError:
    return RuntimeError(
        f"{kernel.__name__}: the driver does not launch it on cuda:{device} (grid {tuple(grid)}): {error}. After an "
        "assertion that failed, which the process has printed, mostly of an index out of range, and after an illegal "
        "address no launch works until the process is started anew; the kernel before this one is at fault "
        "then, and NAIAD_CUDA=interpret checks what each kernel reads and writes"
    )


# ---------------------------------------------------------------- launching
_numbers = count()
_starters: dict[tuple, Callable] = {}  # by kernel and the types of its arguments
_latest: dict[int, Callable] = {}  # the starter that a kernel took last, which is nearly always the one


def start(kernel: Any, grid: tuple, args: Sequence[Any], constexprs: dict[str, Any], options: Options) -> None:
    """The last step of a launch on a GPU."""
    try:
        return _latest[id(kernel)](grid, args, constexprs, options)
    except (KeyError, AttributeError, TypeError, ValueError):
        pass  # the first launch, or arguments of other types than last time
    types = (id(kernel), *map(type, args), *constexprs)
    found = _starters.get(types)
    if found is None:
        found = _starters[types] = _starter(kernel, args, constexprs)
    _latest[id(kernel)] = found
    return found(grid, args, constexprs, options)


def _starter(kernel: Any, args: Sequence[Any], constexprs: dict[str, Any]) -> Callable:
    """The launch function of a kernel for arguments of these types and constants of these names."""
    names = [f"a{i}" for i in range(len(args))]
    arrays = [name for name, arg in zip(names, args, strict=True) if hasattr(arg, "buffer")]
    key, values, text = [], [], []
    for name, arg in zip(names, args, strict=True):
        if name in arrays:
            text.append(f"    p{name} = {name}.buffer.ptr + {name}.offset * {name}.dtype.itemsize\n")
            key += [f"{name}.dtype.num", f"p{name} & 15"]
            values.append(f"p{name}")
        elif isinstance(arg, int):
            key += [f"{name} & 15 if {name} != 1 else -1", f"-2147483648 <= {name} < 2147483648"]
            values.append(name)
        else:
            if not isinstance(arg, Scalar):
                raise launching.unknown(arg)
            key.append(f"{name}.dtype")
            values.append(f"{name}.value")
    for name in constexprs:  # 1, 1.0 and True are the same key
        text.append(f"    {name}_ = constexprs[{name!r}]\n")
        key += [f"{name}_", f"{name}_.__class__"]
    scope = dict(_scope())
    scope.update(kernel=kernel, number=next(_numbers))
    source = STARTER.format(
        unpack=f"    {', '.join(names)}, = args\n" if names else "",
        pointers="".join(text),
        count=len(constexprs),
        device=f"{arrays[0]}.buffer.device_index" if arrays else "current_device()",
        key="".join(f"{k}, " for k in key),
        values=", ".join(values),
        like=f"{arrays[0]}.buffer" if arrays else "None",
    )
    exec(source, scope)  # noqa: S102 - our own text
    return scope["run"]


STARTER = """
def run(grid, args, constexprs, options):
    if len(constexprs) != {count}:
        raise KeyError
{unpack}{pointers}    device = {device}
    if several and current_device() != device:
        return on(device, run, grid, args, constexprs, options)
    key = number, device, options, {key}
    found = here.table.get(key)
    if found is None:
        found = add(here, key, device, kernel, args, constexprs, options)
    function, threads, shared, addresses, pack, memory, scratch = found
    try:
        pack(memory, 0, {values})
    except OverflowError:
        return run(grid, [*map(single, args)], constexprs, options)
    if scratch is not None:
        kept = make_scratch({like}, scratch, grid, memory)
    try:
        launch_kernel(function, grid[0], grid[1], grid[2], threads, 1, 1, shared, stream(device).ptr, addresses, 0)
    except driver_error as error:
        raise refused(kernel, grid, device, error) from None
"""


@cache
def _scope() -> dict[str, Any]:
    made = cuda()
    return {
        "several": made.several,
        "current_device": made.runtime.getDevice,
        "on": _on,
        "here": Here(),
        "add": _add,
        "make_scratch": _scratch,
        "single": _single,
        "launch_kernel": made.driver.launchKernel,
        "driver_error": made.driver.CUDADriverError,
        "refused": _refused,
        "stream": made.stream,
        "observers": launching.observers,
        "watchers": launching.watchers,
        "Scalar": Scalar,
    }


def bind(
    kernel: Any,
    grid: tuple[int, int, int],
    arrays: int,
    scalars: tuple[str, ...],
    numbers: tuple[int, ...],
    constexprs: dict[str, Any],
    options: Options,
    watched: Callable[..., None],
) -> Callable[..., None]:
    """`launch.bind` on a GPU; `watched` is the same launch the long way, for when somebody looks on."""

    def make() -> Callable[..., None]:
        return _binder(arrays, scalars)(kernel, grid, numbers, constexprs, options, watched, next(_numbers) * DEVICES)

    if not launching.observers:
        return make()
    made: list[Callable[..., None]] = []

    def later(*operands: Any) -> None:  # somebody records launches, maybe where there is no GPU to bind to
        if launching.observers:
            return watched(*operands)
        if not made:
            made.append(make())
        return made[0](*operands)

    return later


DEVICES = 64  # more than a machine has
BINDER = """
def make(kernel, grid, numbers, constexprs, options, watched, number):
    gx, gy, gz = grid

    def run({operands}):
        if observers or watchers:
            return watched({operands})
{pointers}        device = a0.buffer.device_index
        if several and current_device() != device:
            return on(device, run, {operands})
        key = number + device if not ({union}) & 15 else (number + device, {alignments})
        found = here.table.get(key)
        if found is None:
            found = add(here, key, device, kernel, ({args}*numbers), constexprs, options, None, {varying})
        function, threads, shared, addresses, pack, memory, scratch = found
        try:
            pack(memory, 0, {values})
        except OverflowError:
            return run({singles})
        if scratch is not None:
            kept = make_scratch(a0.buffer, scratch, grid, memory)
        try:
            launch_kernel(function, gx, gy, gz, threads, 1, 1, shared, stream(device).ptr, addresses, 0)
        except driver_error as error:
            raise refused(kernel, grid, device, error) from None

    return run
"""


@cache
def _binder(arrays: int, scalars: tuple[str, ...]) -> Callable[..., Callable]:
    """What makes bound launches of so many arrays and of scalars of these dtypes."""
    names = [f"a{i}" for i in range(arrays)]
    values = [f"s{i}" for i in range(len(scalars))]
    made = [*names, *(f"Scalar({v}, {d!r})" for v, d in zip(values, scalars, strict=True))]
    source = BINDER.format(
        operands=", ".join(names + values),
        singles=", ".join(names + [f"single({m}).value" for m in made[len(names) :]]),
        pointers="".join(f"        p{n} = {n}.buffer.ptr + {n}.offset * {n}.dtype.itemsize\n" for n in names),
        union=" | ".join(f"p{n}" for n in names),
        alignments=", ".join(f"p{n} & 15" for n in names),
        args="".join(f"{m}, " for m in made),
        values=", ".join([f"p{n}" for n in names] + values),
        varying=len(made),
    )
    scope = dict(_scope())
    exec(source, scope)  # noqa: S102 - our own text
    return scope["make"]


# ---------------------------------------------------------------- launches of which all but addresses is known
@dataclass(frozen=True)
class At:
    """An array as the compiler sees it: an address and a dtype."""

    ptr: int
    dtype: Any
    buffer: Any = None


def fix(kernel: Any, grid: tuple, args: Sequence[Any], constexprs: dict, options: Options) -> Callable[..., None]:
    """A launch that is to be repeated with other arrays, of the same dtypes: `fixed(device, like, *addresses)`.

    Of the arrays among `args` only the dtype matters. `device` must be current; `like` is a buffer there, from which
    scratch memory is asked.
    """
    arrays = [i for i, arg in enumerate(args) if not isinstance(arg, (int, Scalar))]
    order = [*arrays, *(i for i in range(len(args)) if i not in arrays)]
    kinds = {i: args[i].dtype for i in arrays}
    rest = [None if i in kinds else arg for i, arg in enumerate(args)]
    number, scope, count = next(_numbers) * DEVICES, _scope(), len(arrays)
    here, launch_kernel, stream = scope["here"], scope["launch_kernel"], scope["stream"]
    driver_error = scope["driver_error"]
    gx, gy, gz = grid

    def learn(key: Any, device: int, addresses: Sequence[int]) -> tuple:
        given = dict(zip(arrays, addresses, strict=True))
        made = [At(given[i], kinds[i]) if i in given else arg for i, arg in enumerate(rest)]
        return _add(here, key, device, kernel, made, constexprs, options, order, count)

    def fixed(device: int, like: Any, *addresses: int) -> None:
        union = 0
        for address in addresses:
            union |= address
        key: Any = number + device if not union & 15 else (number + device, *[a & 15 for a in addresses])
        found = here.table.get(key) or learn(key, device, addresses)
        function, threads, shared, places, pack, memory, scratch = found
        pack(memory, 0, *addresses)
        kept = None if scratch is None else _scratch(like, scratch, grid, memory)
        try:
            launch_kernel(function, gx, gy, gz, threads, 1, 1, shared, stream(device).ptr, places, 0)
        except driver_error as error:
            raise _refused(kernel, grid, device, error) from None
        del kept  # it had to live until here

    return fixed
