"""What must hold for every entry of the op table: derivatives of first and second order, rules, completeness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples, op_of

import naiad
from naiad.autograd import gradcheck, gradgradcheck
from naiad.core.dtype import FROM_NUMPY
from naiad.core.elementwise import Elementwise
from naiad.core.op import ENTRIES, OPS, PUBLIC
from naiad.core.primitive import Factory, Primitive, View
from naiad.library.samples import Call, Operand

KEYS = keys_with_samples()
LIMIT = 40  # elements of a sample that finite differences are taken of: they cost one call per element


# Arguments by which a gradient is defined otherwise than as the derivative, as in PyTorch.
NOT_A_DERIVATIVE = {"padding_idx", "scale_grad_by_freq", "max_norm"}


def differentiable_calls(key: str) -> list[Call]:
    """Sample calls with a differentiable operand, small enough for finite differences."""
    op = op_of(key)
    if op is not None and not op.differentiable:
        return []
    found = []
    for call in calls_of(ENTRIES[key]):
        sizes = [o.values.size for o in call.operands() if o.differentiable]
        plain = not NOT_A_DERIVATIVE & set(call.kwargs) and not any(np.isnan(o.values).any() for o in call.operands())
        if plain and sizes and 0 < sum(sizes) <= LIMIT:
            found.append(call)
    return found


def as_function(key: str, call: Call) -> tuple[Any, list[naiad.Tensor]]:
    """The call as a function of its differentiable operands, and those operands."""
    operands = [o for o in call.operands() if o.differentiable]
    leaves = [naiad.from_numpy(_double(o.values)).requires_grad_() for o in operands]

    def function(*tensors: naiad.Tensor) -> Any:
        given = iter(tensors)
        args, kwargs = call.build(lambda o: next(given) if o.differentiable else naiad.from_numpy(np.array(o.values)))
        result = ENTRIES[key].function(*args, **kwargs)
        results = result if isinstance(result, (tuple, list)) else (result,)
        return tuple(r for r in results if isinstance(r, naiad.Tensor) and r.requires_grad)

    return function, leaves


def _double(values: np.ndarray) -> np.ndarray:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


@pytest.mark.parametrize("key", [k for k in KEYS if differentiable_calls(k)])
def test_gradcheck(key: str) -> None:
    for call in differentiable_calls(key):
        function, leaves = as_function(key, call)
        if function(*leaves):
            assert gradcheck(function, tuple(leaves), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("key", [k for k in KEYS if differentiable_calls(k)])
def test_gradgradcheck(key: str) -> None:
    for call in differentiable_calls(key):
        function, leaves = as_function(key, call)
        if function(*leaves) and sum(t.numel() for t in leaves) <= LIMIT // 2:
            assert gradgradcheck(function, tuple(leaves), atol=1e-5, rtol=1e-4)


class Witness:
    """A mode that compares what every op's rule says with what the op does."""

    rank = 0

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def process(self, op: Any, xs: Any, attrs: Any) -> Any:
        before = None
        if not op.name.endswith("_") and not isinstance(op, Factory) and hasattr(op, "infer"):
            try:
                before = op.infer(naiad.core.dispatch.settle(op, xs)[0], attrs or {})
            except NotImplementedError:
                before = None  # its result's shape depends on values
        result = naiad.core.dispatch.apply(op, xs, attrs)
        if before is not None:
            self.seen.add(op.name)
            facts = before if isinstance(before, list) else [before]
            results = result if isinstance(result, tuple) else (result,)
            for (shape, dtype), out in zip(facts, results, strict=True):
                assert tuple(shape) == out._array.shape, f"{op.name}: rule says {shape}, result has {out.shape}"
                assert dtype is out.dtype, f"{op.name}: rule says {dtype}, result has {out.dtype}"
                assert FROM_NUMPY[out._array.dtype] is out.dtype
        return result


@pytest.mark.parametrize("key", KEYS)
def test_rules_tell_the_truth(key: str) -> None:
    witness = Witness()

    def build(o: Operand) -> naiad.Tensor:
        return naiad.from_numpy(o.values.astype(np.float32) if o.values.dtype == np.float64 else np.array(o.values))

    for call in calls_of(ENTRIES[key]):
        args, kwargs = call.build(build)
        with naiad.core.state.mode(witness):
            ENTRIES[key].function(*args, **kwargs)


def test_every_op_is_complete() -> None:
    """Each op has a body and a rule, and says of each operand how it is differentiated or that it is not."""
    for op in list(OPS.values()):
        if isinstance(op, Elementwise):
            assert op.body is not None
        elif isinstance(op, View):
            assert op.geometry is not None and op.grads
        elif isinstance(op, Primitive):
            assert op.body is not None
            assert not op.differentiable or len(op.grads) == (1 if op.variadic else len(op.operands)), op.name


def test_every_public_function_is_documented() -> None:
    missing = [
        f"{space}.{name}"
        for space, names in PUBLIC.items()
        for name, function in names.items()
        if not name.startswith("__") and not (function.__doc__ or "").strip()
    ]
    assert not missing, f"no docstring: {missing}"
