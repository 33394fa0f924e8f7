"""Arrays on the cuda device, simulated or real, for kernel tests: `device(ndarray, layout)`, `host(device array)`."""

import ml_dtypes
import numpy as np
import pytest

from naiad.core import backend
from naiad.core.memory import SimulatedBuffer
from naiad.core.strided import DeviceArray, contiguous_strides, numpy_view

DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
INTERPRETED = ("test_offsets_pass_int32", "test_the_interpreter_takes_few_squares")
_made: list = []  # buffers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out on a real GPU what is about the interpreter, or about memory that is not the GPU's."""
    if backend.simulated():
        return
    skip = pytest.mark.skip(reason="is about Triton's interpreter and simulated memory")
    for item in items:
        if item.path.parent.name == "test_kernels" and (
            item.path.name == "test_launch.py" or item.originalname in INTERPRETED
        ):
            item.add_marker(skip)


def empty(shape: tuple[int, ...], dtype: str = "float32", gap: int = 1, lead: int = 0) -> DeviceArray:
    """An uninitialized array, each element `gap` elements from the next, `lead` elements into its buffer."""
    kind = DTYPES.get(dtype) or np.dtype(dtype)
    nbytes = (lead + int(np.prod(shape)) * gap) * kind.itemsize
    buffer = SimulatedBuffer(nbytes, 0) if backend.simulated() else backend.pool(0).take(nbytes)
    _made.append(buffer)
    return DeviceArray(buffer, tuple(shape), tuple(s * gap for s in contiguous_strides(shape)), lead, kind)


def _bytes(array: DeviceArray) -> np.ndarray:
    """The buffer's bytes: the simulated memory itself, or a copy of the GPU's."""
    if backend.simulated():
        return array.buffer.bytes
    return backend.download(DeviceArray(array.buffer, (array.buffer.nbytes,), (1,), 0, np.dtype(np.uint8)))


def host(array: DeviceArray) -> np.ndarray:
    """The elements as an ndarray; on the simulated device over its memory."""
    return numpy_view(_bytes(array), array)


def _write(array: DeviceArray, x: np.ndarray) -> None:
    content = _bytes(array)
    numpy_view(content, array)[...] = x
    if not backend.simulated() and content.size:
        backend._gpu().to_device(content, array.buffer.ptr, 0)


def device(x: object, layout: str = "contiguous") -> DeviceArray:
    """A copy of `x` on the simulated device: contiguous, transposed (columns first), strided or offset in memory."""
    x = np.asarray(x)
    if layout == "transposed":
        flipped = device(np.ascontiguousarray(x.T))
        return flipped.view(x.shape, flipped.strides[::-1])
    array = empty(x.shape, x.dtype.name, gap=3 if layout == "strided" else 1, lead=5 if layout == "offset" else 0)
    _write(array, x)
    return array


def cast(x: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(DTYPES.get(dtype) or np.dtype(dtype))


@pytest.fixture
def arrays():
    """The helpers above; afterwards no kernel may have written outside of a buffer."""
    _made.clear()

    class Arrays:
        pass

    Arrays.empty, Arrays.host, Arrays.device, Arrays.cast = map(staticmethod, (empty, host, device, cast))
    yield Arrays
    for buffer in _made:
        buffer.check()


@pytest.fixture
def launched():
    """Names of the kernels that run during the test."""
    from naiad.kernels.launch import observers

    names: list[str] = []

    def observe(name: str, grid: tuple[int, ...]) -> None:
        names.append(name)

    observers.append(observe)
    yield names
    observers.remove(observe)
