"""What a container does: trains the digits network, or `bench ...` runs the benchmark runner, or runs a command."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
# What the image's CuPy was made for -> the least CUDA that the driver must support, and the first driver that does.
NEEDS = {"12": (12000, "525.60"), "13": (13000, "580.65")}


def trouble(cuda: str, load: Any = ctypes.CDLL) -> str | None:
    """Why no GPU can be used in this container, and what to do about it; None where one can."""
    least, driver = NEEDS[cuda]
    try:
        library = load("libcuda.so.1")
    except OSError:
        return (
            "there is no GPU in this container: start it with `docker run --gpus all ...`, on a host with an NVIDIA "
            f"GPU, its driver {driver} or newer, and the NVIDIA Container Toolkit"
        )
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    if version.value < least:
        has, wants = (f"{v // 1000}.{v % 1000 // 10}" for v in (version.value, least))
        older = " or build the image with --build-arg CUDA=12" if cuda == "13" and version.value >= 12000 else ""
        return (
            f"the host's NVIDIA driver is too old: it supports CUDA {has}, this image needs {wants}. Update the driver "
            f"to {driver} or newer{older}"
        )
    code = library.cuInit(0)
    if code not in (0, NO_DEVICE):
        return f"the NVIDIA driver does not start: cuInit gives error {code}. Does `nvidia-smi` work on the host?"
    if code == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        return "the NVIDIA driver shows no GPU: start the container with `docker run --gpus all ...`"
    return None


def command(arguments: list[str], why_no_gpu: str | None) -> tuple[list[str] | None, str | None]:
    """(what to run, what to say first); nothing to run where a GPU is needed and there is none."""
    if arguments and arguments[0] != "bench":
        return arguments, None
    if arguments:
        note = f"naiad: {why_no_gpu}.\nnaiad: so this measures the CPU" if why_no_gpu else None
        return [sys.executable, "-m", "naiad.bench", *arguments[1:]], note
    script = HOME / "examples" / "train_digits.py"
    if why_no_gpu:
        to_train = f"docker run IMAGE python {script} --device cpu"
        return None, f"naiad: {why_no_gpu}.\nnaiad: to train on the CPU instead: {to_train}"
    return [sys.executable, str(script), "--device", "cuda"], None


def main(arguments: list[str]) -> int:
    """Replace this process by the command; returns only where there is none."""
    asks = not arguments or arguments[0] == "bench"
    run, note = command(arguments, trouble(os.environ.get("NAIAD_IMAGE_CUDA", "12")) if asks else None)
    if note:
        print(note, file=sys.stderr, flush=True)
    if run is None:
        return 1
    try:
        os.execvp(run[0], run)
    except OSError as error:
        print(f"naiad: {run[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
