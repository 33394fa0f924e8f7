"""Complex operands on the CPU against PyTorch: every op of the table that both take with complex128.

Values, gradients and gradients of gradients, of sample calls with complex numbers in place of real floating operands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples, oracle

import naiad
from naiad.core.op import ENTRIES

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

# What PyTorch computes of complex numbers and we do not.
REFUSED = {
    "naiad.corrcoef": "clips parts",
    "naiad.logaddexp": "of real numbers only",
    "naiad.logcumsumexp": "of real numbers only",
    "nn.functional.adaptive_avg_pool1d": "means of windows of one size",
    "nn.functional.adaptive_avg_pool2d": "means of windows of one size",
    "nn.functional.adaptive_avg_pool3d": "means of windows of one size",
    "nn.functional.poisson_nll_loss": "of real numbers only",
    "nn.functional.rms_norm": "of real numbers only",
}


def on(library: Any, function: Any, call: Any) -> tuple[list, list]:
    """(results, leaves) of a call with complex operands."""
    leaves: list = []

    def make(operand: Any) -> Any:
        values = np.array(operand.values)
        if not operand.differentiable:
            return library.from_numpy(values)
        if values.dtype.kind != "c":
            values = values + 1j * np.random.default_rng(values.size).uniform(-1, 1, values.shape)
        leaves.append(library.from_numpy(values).to(library.complex128).requires_grad_())
        return leaves[-1]

    args, kwargs = call.build(make)
    return flat(function(*args, **kwargs)), leaves


def flat(result: Any) -> list:
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r)]
    return [result]


def total(library: Any, tensors: list) -> Any:
    """A real number that depends on every part of every element, each in a way of its own."""
    found = 0.0
    for t in tensors:
        parts = library.view_as_real(t.resolve_conj().resolve_neg()) if t.is_complex() else t
        weights = np.random.default_rng(parts.numel()).normal(size=tuple(parts.shape))
        weight = library.from_numpy(np.asarray(weights)).to(parts.dtype)
        found = found + (parts * weight * parts + parts * weight).sum()
    return found


def derivatives(library: Any, results: list, leaves: list) -> list:
    roots = [r for r in results if isinstance(r, library.Tensor) and r.requires_grad and r.numel()]
    if not roots:
        return []
    once = library.autograd.grad(total(library, roots), leaves, create_graph=True, allow_unused=True)
    rest = [g for g in once if g is not None and g.requires_grad]
    twice = library.autograd.grad(total(library, rest), leaves, allow_unused=True) if rest else ()
    return [*once, *twice]


def values(t: Any) -> Any:
    return t.detach().resolve_conj().resolve_neg().numpy() if hasattr(t, "resolve_neg") else t


def taken_by_torch(key: str) -> Any:
    """The calls that PyTorch takes with complex operands, what it makes of them, and the leaves."""
    for call in calls_of(ENTRIES[key]):
        if any(o.differentiable for o in call.operands()):
            try:
                yield call, *on(torch, oracle(torch, key), call)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):
                continue


KEYS = [key for key in keys_with_samples() if next(iter(taken_by_torch(key)), None)]


def test_most_ops_take_complex_numbers() -> None:
    assert len(KEYS) > 180
    assert set(REFUSED) <= set(KEYS)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in REFUSED])
def test_values_and_derivatives(key: str) -> None:
    for call, wanted, theirs in taken_by_torch(key):
        results, leaves = on(naiad, ENTRIES[key].function, call)
        assert len(results) == len(wanted)
        for mine, other in zip(map(values, results), map(values, wanted), strict=True):
            if isinstance(other, np.ndarray):
                assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
                np.testing.assert_allclose(mine, other, 1e-6, 1e-9)
            else:
                assert mine == other
        expected = derivatives(torch, wanted, theirs)
        own = derivatives(naiad, results, leaves)
        for i, other in enumerate(expected):
            mine = own[i] if i < len(own) else None
            nothing = np.zeros(())
            mine, other = (nothing if t is None else values(t) for t in (mine, other))
            assert np.allclose(mine, other, 1e-6, 1e-7), f"derivative {i} of {key}"


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_refused_says_so(key: str) -> None:
    refused = 0
    for call, _, _ in taken_by_torch(key):
        try:
            on(naiad, ENTRIES[key].function, call)
        except (NotImplementedError, TypeError) as error:
            assert "not implemented for" in str(error) or "not supported" in str(error)
            refused += 1
    assert refused


WRITES = {
    "real": lambda library, y: y.real.mul_(2),
    "imag": lambda library, y: y.imag.fill_(1.0),
    "row of imag": lambda library, y: y[0].imag.mul_(3),
    "pairs": lambda library, y: library.view_as_real(y)[..., 0].mul_(3),
    "pairs as numbers": lambda library, y: library.view_as_complex(library.view_as_real(y)).mul_(2j),
    "row": lambda library, y: y[0].mul_(1j),
}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("write", WRITES)
def test_gradients_through_writes_into_parts(write: str, device: str) -> None:
    if device == "cuda" and not naiad.cuda.is_available():
        pytest.skip("needs a cuda device: set NAIAD_CUDA=interpret for the simulated one")
    found = []
    for library, where in ((torch, "cpu"), (naiad, device)):
        x = library.from_numpy(np.array([[1 + 2j, 3 - 1j], [0.5j, 2 + 0j]])).to(where).requires_grad_()
        weight = library.from_numpy(np.array([[1 + 1j, 2j], [3, 1 - 1j]])).to(where)
        y = x * 1
        WRITES[write](library, y)
        (g,) = library.autograd.grad((y * weight).abs().square().sum(), x, create_graph=True)
        (gg,) = library.autograd.grad(g.abs().square().sum(), x)
        found.append([t.detach().resolve_conj().cpu().numpy() for t in (y, g, gg)])
    for wanted, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, 1e-12, 1e-12)
