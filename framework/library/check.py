"""Checking a registered op: body, rule, kernel and derivatives against one another, on every device there is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from naiad.autograd import gradcheck  # the function, which the next lines leave in its place
from naiad.autograd.api import grad
from naiad.autograd.gradcheck import GradcheckError
from naiad.core import backend
from naiad.core.device import device
from naiad.core.dtype import ALL, FLOAT, dtype
from naiad.core.strided import DeviceArray
from naiad.core.tensor import Tensor
from naiad.library.registry import UserOp, find
from naiad.library.samples import Call, Operand, Samples
from naiad.ops.creation import from_numpy

DTYPES = {d.name: d for d in ALL}
# What values of a dtype may differ by, relative to the largest; derivatives: ten times that.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3, "bfloat16": 2e-2}


class CheckError(AssertionError):
    """An op does not do what its body, rule or derivative says. The message names the first difference."""


@dataclass
class Report:
    """What was compared; `str(report)` is one line per subject."""

    name: str
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: all checks passed", *(f"  {line}" for line in self.lines)])


def check(op: Any, *, devices: Sequence[str] | None = None, gradients: bool = True) -> Report:
    """Run an op's samples and compare: the rule with what the body makes, the kernel with the body, the derivatives
    with finite differences and, on cuda, with those on the CPU; operands contiguous and not.

    op: a function or name registered with `naiad.library`. devices: those to run on; by default the CPU and, where
    there is one (a GPU, or NAIAD_CUDA=interpret), cuda. Returns a report. Raises CheckError at the first difference.
    """
    user_op = find(op)
    calls = _calls(user_op)
    wanted = list(devices) if devices is not None else ["cpu", *(["cuda"] if backend.device_count() else [])]
    report = Report(user_op.name)
    for name in user_op.dtypes:
        for target in wanted:
            for number, call in enumerate(calls, 1):
                _Sample(user_op, number, call, DTYPES[name], device(target)).run()
            what = "kernel = body" if target != "cpu" else "body = rule, nothing overwritten"
            simulated = " (simulated)" if target != "cpu" and backend.simulated() else ""
            report.lines.append(f"{target}{simulated}, {name}: {what}, {len(calls)} samples")
    if gradients and user_op.op.differentiable:
        checked = sum(_check_derivatives(user_op, number, call) for number, call in enumerate(calls, 1))
        report.lines.append(f"derivatives = finite differences, {checked} samples")
    if "cuda" not in wanted:
        report.lines.append(f"cuda: not checked: {backend.why_no_cuda() or 'not asked for'}")
    elif user_op.op.differentiable and gradients:
        for number, call in enumerate(calls, 1):
            _compare_gradients(user_op, number, call)
        report.lines.append(f"derivatives on cuda = those on the CPU, {len(calls)} samples")
    return report


def _calls(user_op: UserOp) -> list[Call]:
    if user_op.samples is None:
        raise CheckError(
            f"{user_op.name} has no sample calls to check: register it with samples=lambda s: [s.call(s(4, 5), ...)]"
        )
    calls = user_op.samples(Samples(user_op.name))
    if not isinstance(calls, list) or not calls or not all(isinstance(c, Call) for c in calls):
        raise CheckError(f"{user_op.name}: samples= must give a list of s.call(...), it gave {calls!r:.100}")
    return calls


# ---------------------------------------------------------------- one sample on one device
class _Sample:
    """One call in one dtype on one device."""

    def __init__(self, user_op: UserOp, number: int, call: Call, of: dtype, home: device) -> None:
        self.user_op, self.call, self.dtype, self.home = user_op, call, of, home
        self.where = f"{user_op.name}, sample {number} ({call}) in {of.name} on {home}"
        self.tolerance = TOLERANCE.get(of.name, 1e-5) * user_op.tolerance

    def run(self) -> None:
        expected = self._outputs("contiguous", device("cpu"))
        for layout in ("contiguous", "strided"):
            got = expected if self.home.type == "cpu" and layout == "contiguous" else self._outputs(layout, self.home)
            for i, (mine, other) in enumerate(zip(got, expected, strict=True)):
                name = "the result" if len(expected) == 1 else f"output {i}"
                label = f"{name} for {layout} operands"
                _same(self.where, label, mine, other, self.tolerance, self._hint(mine, other))

    def _hint(self, got: np.ndarray, expected: np.ndarray) -> str:
        if got.dtype.kind == "f" and np.isnan(got).any() and not np.isnan(expected).any():
            return ". NaN where nothing was written: does the grid reach all elements?" if backend.simulated() else ""
        return ""

    def _outputs(self, layout: str, home: device) -> list[np.ndarray]:
        operands, attrs = bind(self.user_op, self.call)
        xs = [_tensor(x, self.dtype, home, layout) if isinstance(x, Operand) else x for x in operands]
        before = [_values(x) if isinstance(x, Tensor) else None for x in xs]
        try:
            result = self.user_op.function(*xs, **attrs)
        except Exception as error:
            raise CheckError(f"{self.where}: {layout} operands: {type(error).__name__}: {error}") from error
        results = list(result) if isinstance(result, tuple) else [result]
        self._check_facts(results, xs, attrs)
        for name, tensor, old in zip(self.user_op.op.operands, xs, before, strict=True):
            if old is None:
                continue
            if not np.array_equal(_values(tensor), old, equal_nan=old.dtype.kind in "fc"):
                raise CheckError(f"{self.where}: writes into its operand {name}: make a new array instead")
            self._check_memory(name, tensor, results)
        return [_values(r) for r in results]

    def _check_memory(self, name: str, operand: Tensor, results: list[Tensor]) -> None:
        if isinstance(operand._array, DeviceArray):
            for tensor in (operand, *results):
                guard = getattr(tensor._array.buffer, "check", None)
                if guard is not None:
                    try:
                        guard()
                    except RuntimeError as error:
                        raise CheckError(f"{self.where}: {error}: is every store masked?") from None
        elif any(np.shares_memory(operand._array, r._array) for r in results):
            raise CheckError(f"{self.where}: the body returns a view of its operand {name}: return a copy")

    def _check_facts(self, results: list[Tensor], xs: list, attrs: dict) -> None:
        try:
            facts = self.user_op.op.infer(xs, attrs)
        except Exception as error:
            raise CheckError(f"{self.where}: the rule raises {type(error).__name__}: {error}") from error
        facts = facts if isinstance(facts, list) else [facts]
        if len(facts) != len(results):
            raise CheckError(f"{self.where}: {len(results)} results, but the rule speaks of {len(facts)}")
        for i, ((shape, of), result) in enumerate(zip(facts, results, strict=True)):
            if tuple(shape) != tuple(result.shape) or of is not result.dtype:
                raise CheckError(
                    f"{self.where}: the rule says output {i} is {of.name}{list(shape)}, the body made "
                    f"{result.dtype.name}{list(result.shape)}: on cuda the rule decides. Mend rule= or the body"
                )


def bind(user_op: UserOp, call: Call) -> tuple[list, dict]:
    """Operands in order and attributes of a sample call, with the body's defaults filled in. Raises CheckError."""
    try:
        bound = inspect.signature(user_op.function).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise CheckError(f"{user_op.name}: the sample s.call({call}) does not fit the body: {error}") from None
    bound.apply_defaults()
    names = user_op.op.operands
    return [bound.arguments[n] for n in names], {n: v for n, v in bound.arguments.items() if n not in names}


def _tensor(operand: Operand, of: dtype, home: device, layout: str = "contiguous") -> Tensor:
    values = np.array(operand.values)
    spread = layout == "strided" and values.ndim > 0
    if spread:  # gaps between the elements, and dimensions in another order in memory
        every_other = tuple(slice(None, None, 2) for _ in values.shape)
        wide = np.zeros(tuple(2 * n for n in values.shape[::-1]), values.dtype)
        wide[every_other] = values.T
        values = wide
    tensor = from_numpy(values)
    tensor = (tensor.to(of) if operand.differentiable else tensor).to(home)
    return tensor[every_other].permute(*reversed(range(values.ndim))) if spread else tensor


def _values(tensor: Tensor) -> np.ndarray:
    array = tensor.detach().cpu()._array
    return np.array(array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.itemsize == 2 else array)


def _same(
    where: str,
    what: str,
    got: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
    hint: str = "",
    by: str = "the body",
) -> None:
    """Raise CheckError naming the first element that differs."""
    if got.shape != expected.shape:
        raise CheckError(f"{where}: {what} has shape {list(got.shape)}, {by} gives {list(expected.shape)}")
    if not got.size:
        return
    if expected.dtype.kind in "fc":
        finite = np.abs(expected[np.isfinite(expected)])
        allowed = tolerance * np.maximum(np.abs(expected), finite.max() if finite.size else 1.0)
        with np.errstate(invalid="ignore"):
            right = (np.abs(got - expected) <= allowed) | (got == expected) | (np.isnan(got) & np.isnan(expected))
    else:
        right = got == expected
    if not right.all():
        first = tuple(int(i) for i in np.argwhere(~right)[0])
        raise CheckError(
            f"{where}: {what} differs at {list(first)}: {got[first]!s}, where {by} gives {expected[first]!s}; "
            f"{int((~right).sum())} of {right.size} elements differ{hint}"
        )


# ---------------------------------------------------------------- derivatives
def _with_derivative(user_op: UserOp, operands: list) -> list[int]:
    """Numbers of the operands that are floats and have a formula."""
    if not user_op.op.grads:
        user_op.op.plan(0)
    formulas = user_op.op.grads
    return [
        i
        for i, (x, formula) in enumerate(zip(operands, formulas, strict=True))
        if formula is not None and isinstance(x, Operand) and x.differentiable and x.values.dtype.kind == "f"
    ]


def _check_derivatives(user_op: UserOp, number: int, call: Call) -> int:
    """Compare with finite differences in float64; whether there was anything to compare."""
    where = f"{user_op.name}, sample {number} ({call})"
    operands, attrs = bind(user_op, call)
    places = _with_derivative(user_op, operands)
    if not places:
        return 0
    fixed = [from_numpy(np.array(x.values)) if isinstance(x, Operand) else x for x in operands]
    wanted = tuple(from_numpy(np.array(operands[i].values, np.float64)).requires_grad_() for i in places)

    def run(*tensors: Tensor) -> Tensor:
        given = dict(zip(places, tensors, strict=True))
        out = user_op.function(*[given.get(i, x) for i, x in enumerate(fixed)], **attrs)
        return out[0] if isinstance(out, tuple) else out

    try:
        gradcheck(run, wanted)  # type: ignore[operator]  # mypy takes the submodule of that name
    except GradcheckError as error:
        raise CheckError(f"{where}: the derivative is not that of the body: {error}") from None
    except Exception as error:
        raise CheckError(f"{where}: the derivative raises {type(error).__name__}: {error}") from error
    return 1


def _compare_gradients(user_op: UserOp, number: int, call: Call) -> None:
    operands, attrs = bind(user_op, call)
    places = _with_derivative(user_op, operands)
    for name in user_op.dtypes if places else ():
        if DTYPES[name].kind != FLOAT:
            continue
        where = f"{user_op.name}, sample {number} ({call}) in {name} on cuda"
        try:
            expected, got = (_gradients(user_op, operands, attrs, places, DTYPES[name], h) for h in ("cpu", "cuda"))
        except Exception as error:
            raise CheckError(f"{where}: the derivative raises {type(error).__name__}: {error}") from error
        for i, mine, other in zip(places, got, expected, strict=True):
            tolerance = 10 * TOLERANCE[name] * user_op.tolerance
            _same(where, f"the gradient of {user_op.op.operands[i]}", mine, other, tolerance, by="the CPU")


def _gradients(user_op: UserOp, operands: list, attrs: dict, places: list[int], of: dtype, home: str) -> list:
    xs = [_tensor(x, of, device(home)) if isinstance(x, Operand) else x for x in operands]
    wanted = [xs[i].requires_grad_() for i in places]
    out = user_op.function(*xs, **attrs)
    out = out[0] if isinstance(out, tuple) else out
    seed = np.random.default_rng(0).uniform(0.5, 1.5, tuple(out.shape))
    found = grad([out], wanted, [from_numpy(np.asarray(seed)).to(out.dtype).to(device(home))])
    return [_values(g) for g in found if g is not None]
