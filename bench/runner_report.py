"""What a run found, for people and programs: the table, JSON, CSV; and the facts of the machine, NVML's on a GPU."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naiad.bench.cases import Result, Roofline, Run
from naiad.bench.runner import shown
from naiad.bench.runner_libraries import Library


# ---------------------------------------------------------------- facts
def facts(device: str, libraries: dict[str, Library], timed: bool) -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {
        "device": device if timed else f"{device}, simulated",
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "libraries": {name: library.version for name, library in libraries.items()},
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("OPENBLAS_", "OMP_", "MKL_"))},
    }
    if device == "cuda" and timed:
        found["gpu"] = gpu_facts()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def gpu_facts(index: int = 0, nvml: Any = None) -> dict[str, Any]:
    """Name, driver, memory, clocks, power and temperature of a GPU by NVML; what it does not tell is left out."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ModuleNotFoundError:
            return {"note": "no NVML facts: pip install nvidia-ml-py"}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {"note": f"no NVML facts: {error}"}
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        asked = {
            "name": lambda: _text(nvml.nvmlDeviceGetName(handle)),
            "driver": lambda: _text(nvml.nvmlSystemGetDriverVersion()),
            "memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
            "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "max_sm_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "power_limit_watts": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
            "celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        }
        found = {}
        for name, ask in asked.items():
            try:
                found[name] = ask()
            except nvml.NVMLError as error:
                found.setdefault("not told", {})[name] = str(error)
        return found
    finally:
        nvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# ---------------------------------------------------------------- files
def to_json(run: Run) -> str:
    """A run as JSON; infinities as strings, which JSON does not have."""
    return json.dumps(_plain(dataclasses.asdict(run)), indent=1, default=str, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def write_csv(run: Run, path: Path) -> None:
    """One line per result; the point in one column, the rounds' seconds left to JSON."""
    names = [f.name for f in dataclasses.fields(Result) if f.name not in ("seconds", "point")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["point", *names])
        for result in run.results:
            writer.writerow([shown(result.point), *(getattr(result, n) for n in names)])


# ---------------------------------------------------------------- the table
def heading(run: Run) -> list[str]:
    """The machine and its roofline in a few lines."""
    facts = run.facts
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    gpu = facts.get("gpu", {})
    on = ", ".join(str(gpu[k]) for k in ("name", "driver") if k in gpu) or facts["processor"]
    lines = [f"{on}; {facts['cores']} cores, load {facts['load']}; Python {facts['python']}, {libraries}"]
    if "note" in gpu:
        lines.append(gpu["note"])
    return lines + ([roofline_line(run.roofline)] if run.roofline.bandwidth else [])


def roofline_line(roofline: Roofline) -> str:
    """The measured limits and who reached them."""
    peaks = [f"{d} {work(p / 1e12).strip()} ({roofline.by[d]})" for d, p in roofline.peaks.items()]
    bandwidth = f"copy {(roofline.bandwidth or 0) / 1e9:.0f} GB/s ({roofline.by['copy']})"
    return "roofline, measured now: " + ", ".join([bandwidth, *peaks])


def table(results: Sequence[Result]) -> list[str]:
    """Lines of the table; a case's point stands once, above its providers."""
    lines, last = [], None
    width = max((len(r.provider) for r in results), default=0) + 4
    for result in results:
        key = f"{result.case}  {shown(result.point)}"
        if key != last:
            lines.append(key)
            last = key
        lines.append(f"    {result.provider:{width}}" + _figures(result))
    return lines


def _figures(r: Result) -> str:
    if r.median is None:
        return f"{r.status}: {r.note}" if r.note else r.status
    spread = (max(r.seconds) - min(r.seconds)) / r.median * 100
    cells = [
        f"{duration(r.median):>10} ±{spread / 2:3.0f}%",
        f"{r.gigabytes_per_second:8.1f} GB/s" if r.gigabytes_per_second is not None else " " * 13,
        work(r.teraflops) if r.teraflops is not None else " " * 15,
        f"{r.roofline:5.0f}% of {r.bound}" if r.roofline is not None else " " * 16,
    ]
    return "  ".join(cells).ljust(68) + (f"  ratio {r.ratio:.2f}" if r.ratio is not None else "")


def work(teraflops: float) -> str:
    """FLOP per second for people."""
    return f"{teraflops:7.1f} TFLOP/s" if teraflops >= 1 else f"{teraflops * 1e3:7.1f} GFLOP/s"


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


LEGEND = (
    "time: median of rounds, ± half their range. GB/s: least traffic the work needs. roofline: percent of what the "
    "measured copy or matmul allows.\nratio: time over that of the quickest other library; below 1 is quicker."
)
