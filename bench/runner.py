"""Measuring cases: correctness first, then time, all providers of a point interleaved in the same rounds.

A provider whose result differs from the float64 reference is not timed. Seconds are medians over rounds of the time
per call, with the device waited for at the end of a round; caches are as warm as the calls before left them.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from naiad.bench.cases import Case, Point, Provider, Result, Roofline, chosen
from naiad.bench.runner_libraries import KINDS, Library, numpy_type
from naiad.bench.timing import interleaved

# The error allowed, relative to the largest value of the reference.
TOLERANCE = {"float64": 1e-9, "float32": 3e-5, "float16": 5e-3, "bfloat16": 3e-2}


@dataclass
class Settings:
    """How to run: device "cpu" or "cuda", the libraries wanted, rounds and seconds per provider and round.

    timed: False on the simulated device, where only correctness means something.
    """

    device: str = "cpu"
    libraries: Sequence[str] = tuple(KINDS)
    dtypes: Sequence[str] = ()
    rounds: int = 7
    seconds: float = 0.02
    quick: bool = False
    timed: bool = True


class Runner:
    """Runs cases on one device with the libraries that are there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.missing = {n: KINDS[n].missing(settings.device) for n in settings.libraries}
        self.libraries: dict[str, Library] = {
            n: KINDS[n](settings.device) for n, why in self.missing.items() if not why
        }
        self.roofline = Roofline()

    # ------------------------------------------------------------ the roofline
    def measure_roofline(self, cases: Sequence[Case]) -> Roofline:
        """Copy bandwidth, and the matmul peak of every floating dtype that these cases use."""
        on_gpu, quick = self.settings.device == "cuda", self.settings.quick
        size = 1 << 20 if quick else 1 << 28 if on_gpu else 1 << 24
        copies = {name: library.copier(size) for name, library in self.libraries.items()}
        best = self._best(copies)
        if best:
            self.roofline.bandwidth, self.roofline.by["copy"] = 8 * size / best[0], best[1]
        copies.clear()
        n = 128 if quick else 8192 if on_gpu else 1024
        dtypes = {p["dtype"] for c in cases for p in c.points(self.settings.device, quick)}
        for dtype in sorted(d for d in dtypes if d in TOLERANCE and self._wanted(d)):
            values = np.random.default_rng(0).standard_normal((n, n))
            calls: dict[str, Callable[[], Any]] = {}
            for name, library in self.libraries.items():
                if library.takes(dtype):
                    a = library.array(values, dtype, False)
                    for suffix, wrap in library.variants():
                        calls[name + suffix] = wrap(lambda a=a: a @ a)
            best = self._best(calls)
            if best:
                self.roofline.peaks[dtype], self.roofline.by[dtype] = 2 * n**3 / best[0], best[1]
        return self.roofline

    def _best(self, calls: dict[str, Callable[[], Any]]) -> tuple[float, str] | None:
        working = {}
        for name, call in calls.items():
            try:
                call()
                working[name] = call
            except (RuntimeError, NotImplementedError, TypeError):  # no kernel for this dtype: not the peak then
                continue
        times = self._time(working)
        return min(((statistics.median(t), name) for name, t in times.items()), default=None)

    def _time(self, calls: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
        wait = next((lib.wait for lib in self.libraries.values() if self.settings.device == "cuda"), None)
        return interleaved(calls, self.settings.rounds, self.settings.seconds, wait)

    # ------------------------------------------------------------ cases
    def run(self, case: Case, tell: Callable[[str], None] = lambda text: None) -> list[Result]:
        """The results of a case at all its points."""
        results = []
        for point in case.points(self.settings.device, self.settings.quick):
            if self._wanted(point["dtype"]):
                tell(f"{case.name} {shown(point)}")
                results += self._point(case, point)
        return results

    def _wanted(self, dtype: str) -> bool:
        return not self.settings.dtypes or dtype in self.settings.dtypes

    def _point(self, case: Case, point: Point) -> list[Result]:
        seed = zlib.crc32(case.name.encode())
        inputs = case.inputs(np.random.default_rng(seed), **chosen(case.inputs, point))
        dtype = point["dtype"]
        rounded = {k: _round(v, dtype) for k, v in inputs.items()}
        expected = flat(case.reference(**chosen(case.reference, {**point, **rounded})))
        results: list[Result] = []
        calls: dict[str, Callable[[], Any]] = {}
        traffic: dict[str, int] = {}
        for provider in case.providers:
            if provider.library not in self.settings.libraries:
                continue
            first = Result(case.name, case.family, point, provider.name, provider.library, self.settings.device, "ok")
            library = self.libraries.get(provider.library)
            if library is None or not library.takes(dtype):
                first.status = "missing"
                first.note = self.missing[provider.library] or f"{provider.library} does not compute in {dtype}"
                results.append(first)
                continue
            call = self._prepare(case, provider, library, point, inputs, expected, first, traffic)
            for suffix, wrap in library.variants() if call else [("", None)]:
                result = Result(**{**vars(first), "provider": provider.name + suffix})
                results.append(result)
                if call is not None and wrap is not None and self.settings.timed:
                    calls[result.provider] = wrap(call)
        # PyTorch last: its idle threads go on spinning for a while, and would take cores from what came after.
        times = self._time(dict(sorted(calls.items(), key=lambda c: c[0].startswith("torch")))) if calls else {}
        for result in results:
            if result.status == "ok" and not self.settings.timed:
                result.status, result.note = "not timed", "simulated: right, but its time means nothing"
            result.seconds = times.get(result.provider, [])
            self._figures(case, point, inputs, result, traffic.get(result.library, 0))
        _compare(results)
        return results

    def _prepare(
        self,
        case: Case,
        provider: Provider,
        library: Library,
        point: Point,
        inputs: dict[str, np.ndarray],
        expected: list[np.ndarray],
        result: Result,
        traffic: dict[str, int],
    ) -> Callable[[], Any] | None:
        """The call to time, if what it gives is right; else the result says what is wrong."""
        try:
            operands = {k: library.array(v, point["dtype"], k in case.grads) for k, v in inputs.items()}
            given = chosen(provider.function, {**point, **operands})
            function, module = provider.function, library.module

            def call() -> Any:
                return function(module, **given)

            got = call()
            library.wait()
            traffic[library.name] = sum(_nbytes(r) for r in _tensors(got))
            outputs = [library.values(r) for r in _tensors(case.part(got) if case.part else got)]
        except NotImplementedError as error:
            result.status, result.note = "missing", str(error)
            return None
        except Exception as error:  # whatever an implementation raises is that implementation's result
            result.status, result.note = "failed", f"{type(error).__name__}: {error}"
            return None
        result.error = difference(outputs, expected)
        allowed = TOLERANCE.get(point["dtype"], 0.0) * case.tolerance
        if not result.error <= allowed:
            result.status = "wrong"
            result.note = (
                f"differs from the reference by {result.error:.2g} of its largest value; {allowed:.2g} allowed"
            )
            return None
        return call

    def _figures(self, case: Case, point: Point, inputs: dict, result: Result, output_bytes: int) -> None:
        if case.flops is not None:
            result.flops = float(case.flops(**chosen(case.flops, {**point, **inputs})))
        if case.bytes is not None:
            result.bytes = int(case.bytes(**chosen(case.bytes, {**point, **inputs})))
        elif output_bytes:
            floats = numpy_type(point["dtype"]).itemsize
            result.bytes = output_bytes + sum(
                v.size * (floats if v.dtype.kind == "f" else v.itemsize) for v in inputs.values()
            )
        if not result.seconds:
            return
        seconds = result.median = statistics.median(result.seconds)
        limits = {}
        if result.bytes:
            result.gigabytes_per_second = result.bytes / seconds / 1e9
            if self.roofline.bandwidth:
                limits["memory"] = result.bytes / self.roofline.bandwidth
        if result.flops:
            result.teraflops = result.flops / seconds / 1e12
            peak = self.roofline.peaks.get(point["dtype"])
            if peak:
                limits["compute"] = result.flops / peak
        if limits:
            result.bound = max(limits, key=lambda k: limits[k])
            result.roofline = 100 * limits[result.bound] / seconds


def _compare(results: list[Result]) -> None:
    """Fill in the ratio to the quickest other library."""
    for result in results:
        others = [r.median for r in results if r.median and r.library != result.library]
        if result.median and others:
            result.ratio = result.median / min(others)


def _round(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float inputs as the dtype has them, in float64: the reference sees what the providers see."""
    return values.astype(numpy_type(dtype)).astype(np.float64) if values.dtype.kind == "f" else values


def _tensors(result: Any) -> list[Any]:
    return [t for r in result for t in _tensors(r)] if isinstance(result, (list, tuple)) else [result]


def _nbytes(result: Any) -> int:
    return int(getattr(result, "nbytes", 0))


def flat(result: Any) -> list[np.ndarray]:
    """A reference's results as a list of arrays."""
    return [np.asarray(r) for r in _tensors(result)]


def difference(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference relative to the largest finite value; infinite where shapes, NaN or infinities differ."""
    if [g.shape for g in got] != [e.shape for e in expected]:
        return float("inf")
    worst = 0.0
    for g, e in zip(got, expected, strict=True):
        if not e.size:
            continue
        g, e = (a.astype(np.float64) if a.dtype.kind == "b" else a for a in (g, e))
        finite = np.isfinite(e)
        if not np.array_equal(np.isfinite(g), finite) or not np.array_equal(g[~finite], e[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            scale = np.abs(e[finite]).max()
            worst = max(worst, float(np.abs(g[finite] - e[finite]).max() / (scale or 1.0)))
    return worst


def shown(point: Point) -> str:
    """A point for people: n=4096 dtype=float32."""
    return " ".join(f"{k}={'x'.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in point.items())
