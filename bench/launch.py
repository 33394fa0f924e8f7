"""What the host pays for a launch and for a whole op on cuda: `python -m naiad.bench.launch`.

Where there is no GPU, and in a checkout of the repository with gcc, the figures are of the same code over a stub in the
CUDA driver library's place (`tests/stub_cuda`): CuPy's real launch function, where CuPy is installed, with its memory
pool and streams played by Python. They say what the host does, nothing about a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAUNCH, OP, RECORDED = 1.5, 6.0, 8.0  # microseconds that each may take
STUB = Path(__file__).resolve().parents[1] / "tests" / "stub_cuda"


def cases() -> dict[str, Callable[[], Any]]:
    """Calls on tensors so small that the host's work is all there is."""
    import naiad
    from naiad.core.trace import trace
    from naiad.kernels.elementwise import prepare
    from naiad.kernels.launch import launch

    x, y = naiad.ones(4, 4).cuda(), naiad.ones(4, 4).cuda()
    g = naiad.ones(4, 4).cuda().requires_grad_()
    a, b, out = x._array, y._array, (x + y)._array
    recorded, value = trace(lambda m, x, y: x + y, ("x", "y"))
    launcher = prepare("add", ("x", "y"), recorded.prune(value), value, ("float32",) * 2, "float32")
    flat = ("flat",) * 3
    kernel = launcher.kernel(flat, 1, False)  # type: ignore[attr-defined]
    bound = launcher.bound((4, 4), ((4, 1),) * 3)  # type: ignore[attr-defined]
    return {
        "launch": lambda: bound(out, a, b),
        "launch, all arguments given": lambda: launch(kernel, (1,), out, a, b, 16, BLOCK=1024),
        "x + y": lambda: x + y,
        "x + y, recorded": lambda: g + y,
        "x * 2.0": lambda: x * 2.0,
        "relu(x)": lambda: naiad.relu(x),
        "x @ y": lambda: x @ y,
        "x.sum()": lambda: x.sum(),
        "x @ y, recorded": lambda: g @ y,
        "softmax(x, 1)": lambda: naiad.softmax(x, 1),
    }


def measure(rounds: int = 9, seconds: float = 0.02) -> dict[str, tuple[float, float]]:
    """(smallest, median) microseconds of each case."""
    from naiad.bench.timing import interleaved, summary

    times = interleaved(cases(), rounds, seconds)
    return {name: tuple(1e6 * t for t in summary(found)) for name, found in times.items()}  # type: ignore[misc]


def show() -> None:
    """Measure and print."""
    from naiad.bench.timing import machine

    print(machine())
    print(f"{'':<32}{'best':>8}{'median':>8}   microseconds")
    for name, (best, median) in measure().items():
        budget = LAUNCH if name.startswith("launch") else RECORDED if name.endswith("recorded") else OP
        print(f"{name:<32}{best:>8.2f}{median:>8.2f}   budget {budget}")


def on_stub() -> int:
    """Build the stub and run this module over it in a process of its own. Returns its exit status."""
    compiler = shutil.which("gcc")
    if compiler is None or not STUB.is_dir():
        print("no GPU here; without one this needs gcc and a checkout of the repository (tests/stub_cuda)")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", f"{folder}/libcuda.so.1", str(STUB / "stub.c")]
        subprocess.run(command, check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
        environment |= {"LD_LIBRARY_PATH": folder, "PYTHONPATH": str(STUB)}
        code = "import fake_cupy; fake_cupy.install(); from naiad.bench import launch; launch.show()"
        print("no GPU here: the driver library is a stub", flush=True)
        return subprocess.run([sys.executable, "-c", code], env=environment).returncode


def main() -> int:
    """The command line."""
    import naiad
    from naiad.core import backend

    if backend.simulated() or not naiad.cuda.is_available():
        return on_stub()
    show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
