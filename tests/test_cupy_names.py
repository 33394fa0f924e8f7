"""What naiad asks of CuPy is there in CuPy: the stand-in of the other tests cannot say that."""

import inspect
import operator

import pytest

cupy = pytest.importorskip("cupy", reason="needs CuPy, which works without a GPU as far as this goes: naiad[cuda12]")

RUNTIME = (
    "getDeviceCount getDevice setDevice free deviceGetAttribute runtimeGetVersion deviceSynchronize memGetInfo "
    "memcpyAsync memcpyPeerAsync memcpyHostToDevice memcpyDeviceToHost getDeviceProperties deviceCanAccessPeer "
    "CUDARuntimeError"
).split()
CUDA = (
    "Device Stream ExternalStream Event alloc alloc_pinned_memory get_current_stream get_elapsed_time UnownedMemory "
    "MemoryPointer nvtx.RangePush nvtx.RangePop nvtx.Mark"
).split()
DRIVER = "moduleLoadData moduleGetFunction funcSetAttribute launchKernel CUDADriverError".split()


def test_functions_and_classes():
    from cupy_backends.cuda.api import driver

    assert [n for n in RUNTIME if not hasattr(cupy.cuda.runtime, n)] == []
    assert [n for n in CUDA if not operator.attrgetter(n)(cupy.cuda)] == []
    assert [n for n in DRIVER if not hasattr(driver, n)] == []
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert issubclass(cupy.cuda.MemoryPool, object) and hasattr(cupy, "get_default_memory_pool")


def test_methods():
    stream = "use record wait_event synchronize done ptr null".split()
    assert [n for n in stream if n != "ptr" and not hasattr(cupy.cuda.Stream, n)] == []
    assert [n for n in ("record", "synchronize", "done") if not hasattr(cupy.cuda.Event, n)] == []
    assert [n for n in ("free_all_blocks", "total_bytes") if not hasattr(cupy.cuda.MemoryPool, n)] == []
    assert [n for n in ("__enter__", "__exit__", "synchronize") if not hasattr(cupy.cuda.Device, n)] == []


def test_parameters():
    event = inspect.signature(cupy.cuda.Event.__init__).parameters
    assert list(event)[1:3] == ["block", "disable_timing"]
    stream = set(inspect.signature(cupy.cuda.Stream.__init__).parameters)
    # CuPy 13 knows no priorities, which naiad.cuda.Stream says when one is asked for.
    assert {"non_blocking"} | ({"priority"} if int(cupy.__version__.split(".")[0]) >= 14 else set()) <= stream
