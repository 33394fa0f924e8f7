"""What naiad runs on here: `python -m naiad.info` prints versions, driver and GPUs, and why cuda is unavailable.

With --json the same for programs. Put it into bug reports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

import naiad
from naiad.core import backend, diagnosis

PACKAGES = {
    "numpy": ("numpy",),
    "ml_dtypes": ("ml_dtypes",),
    "numba": ("numba",),
    "triton": ("triton",),
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy-cuda11x", "cupy"),
    "nvidia-ml-py": ("nvidia-ml-py",),
    "torch": ("torch",),
}
VARIABLES = (
    *("NAIAD_CUDA", "NAIAD_CACHE_DIR", "CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET", "LD_LIBRARY_PATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
)


def collect() -> dict[str, Any]:
    """Everything that is printed, as a dict that JSON can hold. Touches no context on a GPU."""
    driver = diagnosis.driver_version()
    found: dict[str, Any] = {
        "naiad": naiad.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {name: diagnosis.installed(*wheels) for name, wheels in PACKAGES.items()},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "driver": None if driver is None else diagnosis.shown(driver),
        "cuda": {
            "available": naiad.cuda.is_available(),
            "simulated": backend.simulated(),
            "why": backend.why_no_cuda(),
        },
        "devices": [],
    }
    for index in range(naiad.cuda.device_count()):
        about = naiad.cuda.get_device_properties(index)
        found["devices"].append(
            {
                "name": about.name,
                "capability": f"{about.major}.{about.minor}",
                "memory": about.total_memory,
                "processors": about.multi_processor_count,
            }
        )
    return found


def text(found: dict[str, Any]) -> str:
    """What `collect` found, for people."""
    rows = [
        ("naiad", found["naiad"]),
        ("Python", f"{found['python']} on {found['system']}, {found['processors']} processors"),
        *((name, version or "not installed") for name, version in found["packages"].items()),
        *found["environment"].items(),
        ("NVIDIA driver", f"serves CUDA {found['driver']}" if found["driver"] else "none"),
    ]
    cuda = found["cuda"]
    state = "simulated, by NAIAD_CUDA=interpret" if cuda["simulated"] else "available"
    rows.append(("cuda", state if cuda["available"] else cuda["why"]))
    for index, device in enumerate(found["devices"]):
        gib = device["memory"] / 2**30
        facts = f"{device['name']}, {gib:.1f} GiB"
        if not cuda["simulated"]:
            facts += f", capability {device['capability']}, {device['processors']} multiprocessors"
        rows.append((f"cuda:{index}", facts))
    return "\n".join(f"{name:<22}{value}" for name, value in rows)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m naiad.info", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    found = collect()
    print(json.dumps(found, indent=1) if given.json else text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
