"""Arrays on the simulated device for kernel tests: `device(ndarray, layout)` and `host(device array)`."""

import ml_dtypes
import numpy as np
import pytest

from naiad.core.memory import SimulatedBuffer
from naiad.core.strided import DeviceArray, contiguous_strides, numpy_view

DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
_made: list[SimulatedBuffer] = []


def empty(shape: tuple[int, ...], dtype: str = "float32", gap: int = 1, lead: int = 0) -> DeviceArray:
    """An uninitialized array, each element `gap` elements from the next, `lead` elements into its buffer."""
    kind = DTYPES.get(dtype) or np.dtype(dtype)
    buffer = SimulatedBuffer((lead + int(np.prod(shape)) * gap) * kind.itemsize, 0)
    _made.append(buffer)
    return DeviceArray(buffer, tuple(shape), tuple(s * gap for s in contiguous_strides(shape)), lead, kind)


def host(array: DeviceArray) -> np.ndarray:
    """The elements as an ndarray over the simulated memory."""
    return numpy_view(array.buffer.bytes, array)


def device(x: object, layout: str = "contiguous") -> DeviceArray:
    """A copy of `x` on the simulated device: contiguous, transposed (columns first), strided or offset in memory."""
    x = np.asarray(x)
    if layout == "transposed":
        flipped = device(np.ascontiguousarray(x.T))
        return flipped.view(x.shape, flipped.strides[::-1])
    array = empty(x.shape, x.dtype.name, gap=3 if layout == "strided" else 1, lead=5 if layout == "offset" else 0)
    host(array)[...] = x
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
