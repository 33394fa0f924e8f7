"""CuPy's surface that naiad uses, over host memory: how the real device path runs without a GPU.

CuPy's own runtime module refuses a driver that is not NVIDIA's, so memory, streams and events are played here, while
launches go through CuPy's real driver module (where CuPy is installed) into the stub driver library. `install()` puts
it in place before naiad looks for CuPy.
"""

import ctypes
import sys
import threading
import time
import types

import numpy as np

COUNT = 2
CAPACITY = 1 << 30
CAPABILITY = {75: 9, 76: 0, 97: 232448}  # of CUdevice_attribute: 9.0 and its shared memory


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes)")


class Thread(threading.local):
    def __init__(self):  # once per thread
        self.device, self.streams = 0, [Stream.null] * COUNT


log: list[tuple] = []  # what tests look at: copies and waits in order


class Runtime(types.ModuleType):
    CUDARuntimeError = CUDARuntimeError
    memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice, memcpyDefault = 1, 2, 3, 4

    @staticmethod
    def getDeviceCount():
        return COUNT

    @staticmethod
    def getDevice():
        return _thread.device

    @staticmethod
    def setDevice(device):
        if not 0 <= device < COUNT:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _thread.device = device

    @staticmethod
    def free(pointer):
        assert pointer == 0

    @staticmethod
    def deviceGetAttribute(attribute, device):
        return CAPABILITY[attribute]

    @staticmethod
    def runtimeGetVersion():
        return 12090

    @staticmethod
    def driverGetVersion():
        return 12090

    @staticmethod
    def deviceSynchronize():
        log.append(("synchronize", Runtime.getDevice()))

    @staticmethod
    def streamSynchronize(stream):
        log.append(("stream synchronize", stream))

    @staticmethod
    def memGetInfo():
        used = sum(pool.reserved for (d, _), pool in _pools.items() if d == Runtime.getDevice())
        return CAPACITY - used, CAPACITY

    @staticmethod
    def memcpyAsync(target, source, size, kind, stream):
        log.append(("copy", kind, size, stream))
        ctypes.memmove(target, source, size)

    @staticmethod
    def memcpyPeerAsync(target, target_device, source, source_device, size, stream):
        log.append(("peer copy", source_device, target_device, size, stream))
        ctypes.memmove(target, source, size)

    @staticmethod
    def getDeviceProperties(device):
        return {
            **{"name": b"Stub GPU", "major": 9, "minor": 0, "totalGlobalMem": CAPACITY, "multiProcessorCount": 132},
            **{"warpSize": 32, "maxThreadsPerMultiProcessor": 2048, "regsPerMultiprocessor": 65536, "uuid": b"u" * 16},
            **{"sharedMemPerBlock": 49152, "sharedMemPerBlockOptin": 232448, "sharedMemPerMultiprocessor": 233472},
            **{"l2CacheSize": 52428800, "integrated": 0, "isMultiGpuBoard": 0, "pciBusID": 1, "pciDeviceID": 0},
            **{"pciDomainID": 0, "clockRate": 1, "memoryClockRate": 1, "memoryBusWidth": 1, "maxThreadsPerBlock": 1024},
        }


class Pool:
    """Free lists by size, as CuPy's pool has them: one per device and stream."""

    def __init__(self):
        self.free, self.reserved = {}, 0


_pools: dict[tuple[int, int], Pool] = {}


class Pooled:
    """A MemoryPointer of the pool."""

    __slots__ = ("ptr", "mem", "_size", "_pool")

    def __init__(self, ptr, mem, size, pool):
        self.ptr, self.mem, self._size, self._pool = ptr, mem, size, pool

    def __del__(self):
        if self._pool is not None:
            self._pool.free.setdefault(self._size, []).append((self.ptr, self.mem))


def alloc(size):
    device, stream = Runtime.getDevice(), get_current_stream().ptr
    pool = _pools.get((device, stream))
    if pool is None:
        pool = _pools[device, stream] = Pool()
    size = -(-max(size, 1) // 512) * 512
    kept = pool.free.get(size)
    if kept:
        return Pooled(*kept.pop(), size, pool)
    if size + sum(p.reserved for (d, _), p in _pools.items() if d == device) > CAPACITY:
        raise OutOfMemoryError(size, pool.reserved)
    memory = np.full(size + 512, 0xCC, np.uint8)
    pool.reserved += size
    return Pooled(memory.ctypes.data + -memory.ctypes.data % 512, memory, size, pool)


class MemoryPool:
    def free_all_blocks(self, stream=None):
        for (device, _), pool in _pools.items():
            if device == Runtime.getDevice():
                pool.reserved -= sum(size * len(kept) for size, kept in pool.free.items())
                pool.free.clear()

    def total_bytes(self):
        return sum(pool.reserved for (d, _), pool in _pools.items() if d == Runtime.getDevice())


def alloc_pinned_memory(size):
    return memoryview(bytearray(max(size, 1)))


class Device:
    def __init__(self, device=None):
        self.id, self._before = Runtime.getDevice() if device is None else int(device), []

    def __enter__(self):
        self._before.append(Runtime.getDevice())
        Runtime.setDevice(self.id)
        return self

    def __exit__(self, *exc):
        Runtime.setDevice(self._before.pop())

    def use(self):
        Runtime.setDevice(self.id)

    def synchronize(self):
        with self:
            Runtime.deviceSynchronize()


class Stream:
    _last = 0x1000

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None, ptr=None):
        if ptr is None and not null:
            Stream._last += 16
        self.ptr = (0 if null else Stream._last) if ptr is None else ptr
        self.device_id = -1 if null or ptr is not None else _thread.device
        self._before = []

    def __enter__(self):
        self._before.append(get_current_stream())
        self.use()
        return self

    def __exit__(self, *exc):
        self._before.pop().use()

    def use(self):
        if self.device_id not in (-1, _thread.device):
            raise RuntimeError("The device that the stream is created on does not match with the current device")
        _thread.streams[_thread.device] = self

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        log.append(("wait", self.ptr, event.stream))

    def synchronize(self):
        log.append(("stream synchronize", self.ptr))

    done = True


Stream.null = Stream(null=True)
_thread = Thread()
pending: set[int] = set()  # addresses of streams that have not come to their end


def ExternalStream(ptr, device_id=-1):
    return Stream(ptr=ptr)


def get_current_stream(device_id=-1):
    return _thread.streams[device_id if device_id >= 0 else _thread.device]


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.time, self.stream, self.ptr = None, None, id(self)
        self.timed, self.device = not disable_timing, _thread.device

    def record(self, stream=None):
        stream = get_current_stream() if stream is None else stream
        if self.device != (stream.device_id if stream.device_id >= 0 else _thread.device):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
        self.stream, self.time = stream.ptr, time.perf_counter()

    def synchronize(self):
        log.append(("event synchronize",))

    @property
    def done(self):
        return self.stream not in pending


class UnownedMemory:
    def __init__(self, ptr, size, owner, device_id=-1):
        self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr = mem, mem.ptr + offset


class ndarray:
    """A CuPy array's geometry; its capsule is the array itself."""

    def __init__(self, shape, dtype=float, memptr=None, strides=None):
        self.shape, self.dtype, self.data, self.strides = tuple(shape), np.dtype(dtype), memptr, tuple(strides)
        self.device, self.size = Device(memptr.mem.device_id), int(np.prod(shape))

    def __dlpack_device__(self):
        return 2, self.device.id

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        log.append(("dlpack", stream))
        return self


def from_dlpack(source):
    return source if isinstance(source, ndarray) else source.__dlpack__()


def get_elapsed_time(start, end):
    return (end.time - start.time) * 1e3


def ctypes_driver():
    """CuPy's driver module by ctypes, for machines without CuPy."""
    library = ctypes.CDLL("libcuda.so.1")
    module = types.ModuleType("cupy_backends.cuda.api.driver")

    class CUDADriverError(RuntimeError):
        pass

    def check(code):
        if code:
            raise CUDADriverError(f"CUDA_ERROR_OF_THE_STUB: {code}")

    def module_load_data(image):
        handle = ctypes.c_void_p()
        check(library.cuModuleLoadData(ctypes.byref(handle), image))
        return handle.value

    def module_get_function(handle, name):
        found = ctypes.c_void_p()
        check(library.cuModuleGetFunction(ctypes.byref(found), ctypes.c_void_p(handle), name.encode()))
        return found.value

    def func_set_attribute(function, attribute, value):
        check(library.cuFuncSetAttribute(ctypes.c_void_p(function), attribute, value))

    def launch_kernel(f, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        pointers = [ctypes.c_void_p(p) for p in (stream, parameters, extra)]
        check(library.cuLaunchKernel(ctypes.c_void_p(f), gx, gy, gz, bx, by, bz, shared, *pointers))

    module.CUDADriverError, module.moduleLoadData = CUDADriverError, module_load_data
    module.moduleGetFunction, module.funcSetAttribute = module_get_function, func_set_attribute
    module.launchKernel = launch_kernel
    return module


def install():
    """Make `import cupy` find this, and CuPy's real driver module if there is one. Returns the stub library."""
    try:
        import cupy
        from cupy_backends.cuda.api import driver

        try:
            driver.moduleLoadData(b"no module: only to open the library")
        except driver.CUDADriverError:
            pass
    except ImportError:
        api = types.ModuleType("cupy_backends.cuda.api")
        api.driver = driver = ctypes_driver()
        for name in ("cupy_backends", "cupy_backends.cuda"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["cupy_backends.cuda.api"], sys.modules["cupy_backends.cuda.api.driver"] = api, driver
    cupy, cuda = types.ModuleType("cupy"), types.ModuleType("cupy.cuda")
    cupy.__version__, cupy.cuda = "14.2.0", cuda
    pool = MemoryPool()
    cupy.get_default_memory_pool = lambda: pool
    cupy.ndarray, cupy.from_dlpack = ndarray, from_dlpack
    cuda.runtime = Runtime("cupy.cuda.runtime")
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    for thing in (alloc, alloc_pinned_memory, Device, Stream, ExternalStream, Event, UnownedMemory, MemoryPointer):
        setattr(cuda, thing.__name__, thing)
    cuda.get_current_stream, cuda.get_elapsed_time = get_current_stream, get_elapsed_time
    sys.modules.update({"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.runtime": cuda.runtime})
    return ctypes.CDLL("libcuda.so.1")
