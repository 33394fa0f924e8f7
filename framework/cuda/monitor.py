"""What a GPU is doing, as the driver's management library (NVML) tells it: load, memory, heat, power, clocks.

Needs the package nvidia-ml-py and a real GPU; the simulated device has nothing to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from naiad.core import backend
from naiad.cuda.devices import get_device_properties, index_of


@contextmanager
def _library() -> Iterator[Any]:
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("NVML's Python package is not installed: pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise RuntimeError(f"NVML could not be started: {error}; it comes with the NVIDIA driver") from error
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise RuntimeError(f"NVML does not tell this of the GPU: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def _ask(device: Any, question: Any) -> Any:
    """`question(library, handle)` of a device. NVML counts GPUs in its own order, so it is found by its PCI address."""
    index = index_of(device)
    if backend.simulated():
        raise RuntimeError(f"cuda:{index} is simulated: it has no load, temperature, power or clock")
    found = get_device_properties(index)
    address = f"{found.pci_domain_id:08x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    with _library() as library:
        return question(library, library.nvmlDeviceGetHandleByPciBusId(address.encode()))


def utilization(device: Any = None) -> int:
    """Percent of the last sampling period (1/6 to 1 s) in which a kernel was running."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def memory_usage(device: Any = None) -> int:
    """Percent of the last sampling period in which memory was being read or written."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).memory)


def device_memory_used(device: Any = None) -> int:
    """Bytes of the GPU's memory in use, by all processes."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).used)


def temperature(device: Any = None) -> int:
    """The chip's temperature in degrees Celsius."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


def power_draw(device: Any = None) -> int:
    """Power in milliwatts."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle))


def clock_rate(device: Any = None) -> int:
    """The clock of the multiprocessors in MHz."""
    return _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))


def list_gpu_processes(device: Any = None) -> str:
    """The processes that compute on a GPU and the memory they hold, as lines of text."""
    running = _ask(device, lambda nvml, handle: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    lines = [f"GPU:{index_of(device)}", *([] if running else ["no processes are running"])]
    lines += [f"process {p.pid:>10d} uses {(p.usedGpuMemory or 0) / 2**20:>12.3f} MB GPU memory" for p in running]
    return "\n".join(lines)
