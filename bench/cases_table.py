"""Cases that are read off the op table: every public elementwise entry, and every op registered with naiad.library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import naiad
from naiad.bench.cases import Case
from naiad.core.elementwise import Elementwise
from naiad.core.op import ENTRIES, Entry
from naiad.core.trace import trace
from naiad.library import Operand, Samples, UserOp, registered
from naiad.library.check import bind


# ---------------------------------------------------------------- elementwise entries
def table_cases() -> list[Case]:
    """A case per public elementwise entry that takes floats: naiad beside PyTorch, right if equal to the entry's own
    NumPy body in float64 (which the tests compare with PyTorch)."""
    found = []
    for key, entry in ENTRIES.items():
        op = entry.facts.get("op")
        if (
            isinstance(op, Elementwise)
            and 2 in op.kinds
            and not entry.name.endswith("_")
            and entry.facts.get("samples") is None
        ):
            found.append(_entry_case(key, entry, op))
    return found


def _entry_case(key: str, entry: Entry, op: Elementwise) -> Case:
    domain, flags = entry.facts.get("domain"), op.flag_names
    bounds = domain if isinstance(domain, dict) else dict.fromkeys(op.operands, domain)
    cost = len(trace(op.body, op.operands)[0].lines)

    def inputs(random: Any, n: int) -> dict[str, np.ndarray]:
        made = {}
        for o in op.operands:
            low, high = bounds.get(o) or (-2.0, 2.0)
            made[o] = random.random(n) < 0.5 if o in flags else random.uniform(low, high, n)
        return made

    def reference(**operands: np.ndarray) -> np.ndarray:
        arrays = [operands[o] for o in op.operands]
        return entry.function(*map(naiad.from_numpy, arrays)).numpy()

    def ours(m: Any, **operands: Any) -> Any:
        return entry.function(*[operands[o] for o in op.operands])

    own = entry.facts.get("oracle")

    def theirs(m: Any, **operands: Any) -> Any:
        return (own(m) if own else _resolve(m, key))(*[operands[o] for o in op.operands])

    made = Case(
        f"table/{key}",
        inputs,
        reference,
        axes={"n": (1 << 26,), "dtype": ("float32", "bfloat16")},
        overrides={"cpu": {"n": (1 << 20,), "dtype": ("float32",)}, "quick": {"n": (1000,), "dtype": ("float32",)}},
        flops=lambda n: cost * n,
        tolerance=10.0,
        source="the op table",
    )
    made.provider("naiad")(_only(op.operands, ours))
    made.provider("torch")(_only(op.operands, theirs))
    made.reference = _only(op.operands, reference)
    return made


def _only(names: tuple[str, ...], function: Callable) -> Callable:
    """The function without the axes among its keywords."""
    return lambda *args, **given: function(*args, **{n: given[n] for n in names})


def _resolve(root: Any, key: str) -> Any:
    for part in key.removeprefix("naiad.").split("."):
        root = getattr(root, part)
    return root


# ---------------------------------------------------------------- ops of users
def library_cases() -> list[Case]:
    """A case per op registered with `naiad.library` that has calls to time (`bench=`, else `samples=`)."""
    return [_user_case(u) for u in registered() if u.bench or u.samples]


def _user_case(user_op: UserOp) -> Case:
    large = _calls(user_op, user_op.bench or user_op.samples)
    small = _calls(user_op, user_op.samples or user_op.bench)
    calls = {f"{i}: {_shapes(xs, attrs)}": (xs, attrs) for i, (xs, attrs) in enumerate(large)}
    checks = {f"check {i}: {_shapes(xs, attrs)}": (xs, attrs) for i, (xs, attrs) in enumerate(small)}
    everything, flops = calls | checks, user_op.flops
    names = user_op.op.operands

    def inputs(random: Any, call: str) -> dict[str, np.ndarray]:
        return {n: x.values for n, x in zip(names, everything[call][0], strict=True) if isinstance(x, Operand)}

    def run(function: Callable, given: dict[str, Any]) -> Any:
        xs, attrs = everything[given["call"]]
        return function(*[given.get(n, x) for n, x in zip(names, xs, strict=True)], **attrs)

    def body(*xs: Any, **attrs: Any) -> Any:
        if isinstance(user_op.op, Elementwise):
            return user_op.function(*map(naiad.from_numpy, xs), **attrs).numpy()
        return user_op.body(*xs, **attrs)

    made = Case(
        user_op.name,
        inputs,
        lambda **given: run(body, given),
        axes={"call": tuple(calls), "dtype": user_op.dtypes},
        overrides={"quick": {"call": tuple(checks)}},
        flops=None if flops is None else lambda **given: run(flops, given),
        tolerance=user_op.tolerance,
        source="naiad.library",
    )
    made.provider("naiad")(lambda m, **given: run(user_op.function, given))
    if not isinstance(user_op.op, Elementwise):
        made.provider("numpy")(lambda m, **given: run(user_op.body, given))
    return made


def _calls(user_op: UserOp, give: Callable | None) -> list[tuple[list, dict[str, Any]]]:
    return [bind(user_op, call) for call in give(Samples(user_op.name))] if give else []


def _shapes(xs: list, attrs: dict[str, Any]) -> str:
    shown = ["x".join(map(str, x.values.shape)) or "scalar" if isinstance(x, Operand) else repr(x) for x in xs]
    return ", ".join([*shown, *(f"{k}={v!r}" for k, v in attrs.items())])
