"""Why cuda cannot be used here, and what mends it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

OLDEST_DRIVER = 12000  # CUDA 12.0, as cuDriverGetVersion counts
OLDEST_CAPABILITY = (7, 5)
CPU_OR_SIMULATION = "or use device='cpu', or set NAIAD_CUDA=interpret in the environment for the simulated device"


@dataclass(frozen=True)
class Facts:
    """What a machine has. driver, runtime: CUDA versions as 12040 for 12.4; None where something is missing."""

    driver: int | None = None
    cupy: str | None = None
    runtime: int | None = None
    triton: str | None = None
    devices: int = 0
    problem: str | None = None  # what CuPy said when it was asked for devices
    capability: tuple[int, int] | None = None  # of the first device


def driver_version() -> int | None:
    """The newest CUDA that the NVIDIA driver serves; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    found = ctypes.c_int(0)
    return found.value if library.cuDriverGetVersion(ctypes.byref(found)) == 0 else None


def look() -> Facts:
    """What this machine has. Imports CuPy where a driver and it are there; makes no context on any device."""
    driver, triton = driver_version(), installed("triton")
    try:
        import importlib

        cupy = importlib.import_module("cupy") if driver is not None else None
    except ImportError as error:
        broken = None if error.name == "cupy" else f"importing CuPy failed: {error}"
        return Facts(driver, triton=triton, problem=broken)
    if cupy is None:
        return Facts(triton=triton)
    runtime = cupy.cuda.runtime
    try:
        built, devices = runtime.runtimeGetVersion(), runtime.getDeviceCount()
        capability = None
        if devices:
            capability = (runtime.deviceGetAttribute(75, 0), runtime.deviceGetAttribute(76, 0))
    except runtime.CUDARuntimeError as error:
        return Facts(driver, cupy.__version__, runtime.runtimeGetVersion(), triton, 0, str(error))
    return Facts(driver, cupy.__version__, built, triton, devices, None, capability)


def installed(*names: str) -> str | None:
    """The version of the first of these distributions that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def shown(number: int) -> str:
    """12040 as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def why_not(facts: Facts) -> str | None:
    """None where cuda can be used, else the reason and the way out."""
    driver = facts.driver
    if driver is None:
        return f"no NVIDIA driver was found (libcuda.so.1 does not load): install one, {CPU_OR_SIMULATION}"
    if driver < OLDEST_DRIVER:
        return (
            f"the NVIDIA driver is too old: it serves CUDA {shown(driver)} and naiad needs {shown(OLDEST_DRIVER)}. "
            f"Update the driver (525 or newer), {CPU_OR_SIMULATION}"
        )
    major = min(driver // 1000, 13)
    command = f"pip install 'naiad[cuda{major}]'"
    if facts.cupy is None:
        if facts.problem:
            return f"{facts.problem}. Reinstall it: {command}"
        return f"CuPy is not installed, which naiad takes GPU memory and streams from: {command}"
    if facts.runtime is not None and facts.runtime // 1000 > driver // 1000:
        return (
            f"the installed CuPy {facts.cupy} is made for CUDA {facts.runtime // 1000}, and the driver serves only "
            f"CUDA {shown(driver)}: pip uninstall -y cupy-cuda{facts.runtime // 1000}x && {command}, or update the "
            "driver"
        )
    if facts.triton is None:
        return f"Triton is not installed, which compiles naiad's kernels: {command}"
    if facts.problem:
        return f"CuPy cannot use the GPU: {facts.problem}. `python -m naiad.info` shows all versions"
    if not facts.devices:
        return "no GPU is visible: see `nvidia-smi`, and the environment variable CUDA_VISIBLE_DEVICES"
    if facts.capability and facts.capability < OLDEST_CAPABILITY:
        has, needs = (".".join(map(str, c)) for c in (facts.capability, OLDEST_CAPABILITY))
        return f"the GPU has compute capability {has} and Triton's kernels need {needs}: use device='cpu'"
    return None
