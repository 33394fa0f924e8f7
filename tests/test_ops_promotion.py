"""Type promotion of binary ops against PyTorch: every pair of dtypes, 0-d tensors, and Python numbers."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
DTYPES += ["complex64", "complex128"]
NUMBERS = [True, 3, 2.5, 1 + 2j]
OPS = ["add", "mul", "sub", "true_divide", "pow", "maximum", "eq", "lt", "atan2", "fmod", "floor_divide", "where"]


def operand(module: Any, dtype: str, shape: tuple) -> Any:
    return module.ones(shape, dtype=getattr(module, dtype))


def outcome(module: Any, op: str, a: Any, b: Any) -> Any:
    """The result's dtype, or that it is refused."""
    try:
        if op == "where":
            result = module.where(module.ones(2, dtype=module.bool), a, b)
        else:
            result = getattr(module, op)(a, b)
    except (RuntimeError, NotImplementedError, TypeError):
        return "refused"
    return str(result.dtype).split(".")[-1]


@pytest.fixture(autouse=True)
def complex_halves() -> Any:
    """PyTorch warns of complex32, which naiad does not have: what it makes in complex32 is complex64 here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ComplexHalf")
        yield


def same(op: str, make: Any, what: str) -> None:
    ours, theirs = outcome(naiad, op, *make(naiad)), outcome(torch, op, *make(torch))
    if theirs == "complex32" or (re.search(r"\bfloat16", what) and ("complex" in what or "j" in what)):
        assert ours in ("complex64", theirs) or op in ("eq", "lt"), what
        return
    assert ours == theirs, f"{op} of {what}: {ours}, PyTorch {theirs}"


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), ())])
def test_pairs_of_dtypes(op: str, shapes: tuple) -> None:
    for a in DTYPES:
        for b in DTYPES:
            same(op, lambda m, a=a, b=b: (operand(m, a, shapes[0]), operand(m, b, shapes[1])), f"{a} {b} {shapes}")


@pytest.mark.parametrize("op", ["add", "mul", "sub", "true_divide", "pow", "eq", "fmod", "floor_divide", "where"])
@pytest.mark.parametrize("shape", [(2,), ()])
def test_numbers(op: str, shape: tuple) -> None:
    for a in DTYPES:
        for number in NUMBERS:
            if op == "sub" and number is True:
                continue  # PyTorch refuses it; here a bool is the number 1
            same(op, lambda m, a=a, n=number: (operand(m, a, shape), n), f"{a}{list(shape)} and {number!r}")


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "**", "//", "%", "&", "|", "^", "<<", ">>", "<", "=="])
def test_operators_with_numbers_on_the_left(sign: str) -> None:
    def apply(module: Any, dtype: str, number: Any) -> Any:
        try:
            result = eval(f"number {sign} x", {"number": number, "x": operand(module, dtype, (2,))})
        except (RuntimeError, NotImplementedError, TypeError):
            return "refused"
        return str(result.dtype).split(".")[-1], np.round(result.to(module.complex128).numpy(), 12).tolist()

    for dtype in DTYPES:
        for number in (True, 3, 2.5):
            if sign == "-" and number is True:
                continue  # PyTorch refuses it; here a bool is the number 1
            assert apply(naiad, dtype, number) == apply(torch, dtype, number), f"{number} {sign} {dtype}"


def test_result_type_agrees() -> None:
    for a in DTYPES:
        for b in [*DTYPES, 2, 2.5]:
            if a == "float16" and b in ("complex64", "complex128"):
                continue  # complex32 in PyTorch
            pair = [(operand(m, a, (2,)), operand(m, b, ()) if isinstance(b, str) else b) for m in (naiad, torch)]
            assert str(naiad.result_type(*pair[0])).split(".")[1] == str(torch.result_type(*pair[1])).split(".")[1]
            if isinstance(b, str):
                casts = [m.can_cast(getattr(m, a), getattr(m, b)) for m in (naiad, torch)]
                assert casts[0] == casts[1], f"can_cast {a} {b}"


@pytest.mark.parametrize("of", ["float32", "float64", "int64", "int32", "float16", "bool", "uint8"])
@pytest.mark.parametrize("kind", ["float32", "int64", "float16"])
def test_search_among_values_of_another_dtype(of, kind):
    found = []
    for t in (naiad, torch):
        sequence = t.tensor([1, 2, 3]).to(getattr(t, of))
        values = t.tensor([0.0, 2.5, 3.0, 5.0]).to(getattr(t, kind))
        found.append([t.searchsorted(sequence, values).tolist(), t.bucketize(values, sequence, right=True).tolist()])
        found[-1] += [t.searchsorted(sequence, 2.5).item(), t.bucketize(1.5, sequence).item()]
    assert found[0] == found[1]
