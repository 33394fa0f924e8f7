"""What is measured: the data model of the runner, and how a case of one's own is declared.

    @naiad.bench.case(
        "mine/scale_add",
        axes={"n": (1 << 20, 1 << 24), "dtype": ("float32", "bfloat16")},
        inputs=lambda random, n: {"x": random.standard_normal(n), "y": random.standard_normal(n)},
        flops=lambda n: 2 * n,
    )
    def scale_add(x, y):                    # the reference: NumPy, called with float64
        return x * 2 + y

    @scale_add.provider("naiad")            # an implementation: its library's module, then operands by name
    @scale_add.provider("torch")
    def _(m, x, y):
        return m.add(y, x, alpha=2)

**The model**, which is meant to stay as the runner grows:

- A `Case` is one piece of work. `axes` spans its points: each choice of one value per axis is a *point*, a dict. The
  axis `dtype` (float32 if there is none) is the type that floating inputs are given; other axes are the case's own.
  `overrides` replaces axes on a device kind ("cpu", "cuda"), or with "quick" in smoke runs and on the simulated device.
- A `Provider` is one implementation of a case, in one library ("naiad", "torch", "cupy", "numpy"); several may be in
  the same library under different names. It is offered on a machine where its library is installed and has the device.
- A `Result` is one provider at one point on one device: whether it was right (status), seconds per call for every
  round, and what follows from these and the case's bytes and FLOPs. Everything that could not be run is a Result too,
  with the reason in `note`: nothing is left out silently.
- A `Run` is a list of results with the facts of the machine and the roofline measured there; JSON is a Run.

Functions of a case (inputs, reference, providers, bytes, flops, part) get those operands and axes that they name.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

LIBRARIES = ("naiad", "numpy", "torch", "cupy")
SCHEMA = 1  # of JSON files; grows when a field changes its meaning
Point = dict[str, Any]


@dataclass(frozen=True)
class Provider:
    """One implementation: `function(module, **operands and axes that it names)` gives a result or a list of them."""

    name: str
    library: str
    function: Callable[..., Any]


@dataclass
class Case:
    """One piece of work; see the module's docstring.

    inputs: (random, **axes) -> operands by name, as float64 (cast to the point's dtype), integer or bool arrays.
    reference: (**operands as float64, **axes) -> what the result should be. part: (result) -> what of it is compared,
    where all of it would take too long in NumPy; the reference gives that part. bytes: least memory traffic of a call,
    by default all inputs once and all results once. flops: operations of a call; None where they do not matter.
    grads: operands that require a gradient. tolerance: a factor on the error allowed.
    """

    name: str
    inputs: Callable[..., dict[str, np.ndarray]]
    reference: Callable[..., Any]
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    providers: list[Provider] = field(default_factory=list)
    bytes: Callable[..., int] | None = None
    flops: Callable[..., float] | None = None
    part: Callable[[Any], Any] | None = None
    grads: tuple[str, ...] = ()
    tolerance: float = 1.0
    source: str = ""

    @property
    def family(self) -> str:
        """What stands before the first / or :: of the name."""
        return self.name.replace("::", "/").partition("/")[0]

    def points(self, kind: str, quick: bool = False) -> Iterator[Point]:
        """All points on a kind of device, each with a dtype."""
        axes = {"dtype": ("float32",), **self.axes, **self.overrides.get(kind, {})}
        if quick:
            axes |= self.overrides.get("quick", {})
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))

    def provider(self, library: str, name: str | None = None) -> Callable[[Callable], Callable]:
        """Add an implementation in a library; decorates `(module, **operands)`. `name` tells two of one apart."""
        if library not in LIBRARIES:
            raise ValueError(
                f"case {self.name}: a provider's library is one of {', '.join(LIBRARIES)}, not {library!r}"
            )
        shown = name or library
        if any(p.name == shown for p in self.providers):
            raise ValueError(f"case {self.name} has a provider {shown!r} already: give this one a name=")

        def decorate(function: Callable) -> Callable:
            self.providers.append(Provider(shown, library, function))
            return function

        return decorate


@dataclass
class Result:
    """One provider at one point; figures that were not measured are None.

    status: "ok"; "wrong" (differs from the reference: not timed); "failed" (raised); "not timed" (a simulated device);
    "missing" (no such library here, or not for this device or dtype). error: largest difference, relative to the
    largest value. seconds: per call, one per round. bound: what limits it by the roofline, "memory" or "compute".
    roofline: percent of what that limit allows. ratio: median time over that of the quickest other library; below 1
    this one is quicker.
    """

    case: str
    family: str
    point: Point
    provider: str
    library: str
    device: str
    status: str
    note: str = ""
    error: float | None = None
    seconds: list[float] = field(default_factory=list)
    median: float | None = None
    bytes: int | None = None
    flops: float | None = None
    gigabytes_per_second: float | None = None
    teraflops: float | None = None
    bound: str | None = None
    roofline: float | None = None
    ratio: float | None = None


@dataclass
class Roofline:
    """The most that was seen on the device in this run: bytes/s of a copy, FLOP/s of a matrix product by dtype."""

    bandwidth: float | None = None
    peaks: dict[str, float] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)  # what was measured -> the provider that reached it


@dataclass
class Run:
    """Everything that one call of the runner found."""

    facts: dict[str, Any]
    roofline: Roofline
    results: list[Result]
    schema: int = SCHEMA


CASES: dict[str, Case] = {}


def case(name: str, **facts: Any) -> Callable[[Callable], Case]:
    """Declare a case; decorates its reference. Facts are those of `Case`. ValueError: the name is taken."""

    def decorate(reference: Callable) -> Case:
        if name in CASES and CASES[name].source != reference.__module__:
            raise ValueError(f"there is a case {name!r} already, from {CASES[name].source}")
        made = CASES[name] = Case(name, reference=reference, source=reference.__module__, **facts)
        return made

    return decorate


def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


@cache
def _names(function: Callable) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters), any(p.kind is p.VAR_KEYWORD for p in parameters)


def chosen(function: Callable, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given values that a function names."""
    names, everything = _names(function)
    return {k: v for k, v in given.items() if everything or k in names}
