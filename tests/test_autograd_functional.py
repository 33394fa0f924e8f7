"""`autograd.functional` beside PyTorch's: values, shapes, nesting, further derivatives and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

Case = Callable[[Any, Any], Any]


def flat(result: Any) -> list[Any]:
    """Nested tuples of tensors as a nested list of arrays, with what tells tuples from tensors."""
    if isinstance(result, (tuple, list)):
        return ["tuple", *[flat(part) for part in result]]
    return ["tensor", result.detach().numpy(), result.requires_grad]


def assert_same(found: Any, expected: Any) -> None:
    assert found[0] == expected[0] and len(found) == len(expected)
    for x, y in zip(found[1:], expected[1:], strict=True):
        if isinstance(y, list):
            assert_same(x, y)
        elif isinstance(y, bool):
            assert x == y
        else:
            assert x.shape == y.shape and x.dtype == y.dtype
            np.testing.assert_allclose(x, y, 1e-12, 1e-12)


def matrix(m: Any, *shape: int) -> Any:
    return m.from_numpy(np.random.default_rng(3).standard_normal(shape))


CASES: dict[str, Case] = {
    "jacobian": lambda m, f: f.jacobian(lambda x: x.exp().sum(1), matrix(m, 2, 3)),
    "jacobian of a scalar": lambda m, f: f.jacobian(lambda x: (x**3).sum(), matrix(m, 2, 3)),
    "jacobian of two inputs": lambda m, f: f.jacobian(lambda x, y: x * y, (matrix(m, 3), matrix(m, 1))),
    "jacobian of two outputs": lambda m, f: f.jacobian(lambda x: (x.sin(), x.sum()), matrix(m, 2)),
    "jacobian of all": lambda m, f: f.jacobian(lambda x, y: (x + y, x.exp()), (matrix(m, 2), matrix(m, 2))),
    "a constant": lambda m, f: f.jacobian(lambda x: m.ones(2, dtype=m.float64), matrix(m, 3)),
    "vectorized": lambda m, f: f.jacobian(lambda x: x.tanh(), matrix(m, 3), vectorize=True),
    "with graph": lambda m, f: f.jacobian(lambda x: x**3, matrix(m, 2).requires_grad_(), create_graph=True),
    "history of the input": lambda m, f: f.jacobian(lambda x: x**3, matrix(m, 2).requires_grad_()),
    "hessian": lambda m, f: f.hessian(lambda x: (x**3).sum() * x[0], matrix(m, 3)),
    "hessian of a matrix": lambda m, f: f.hessian(lambda x: (x @ x).sum(), matrix(m, 2, 2)),
    "hessian of two": lambda m, f: f.hessian(lambda x, y: (x * y * y).sum(), (matrix(m, 2), matrix(m, 2))),
    "hessian of a line": lambda m, f: f.hessian(lambda x: x.sum(), matrix(m, 2)),
    "hessian of one element": lambda m, f: f.hessian(lambda x: (x**2).sum(0, keepdim=True), matrix(m, 2)),
    "vjp": lambda m, f: f.vjp(lambda x: x.exp().sum(1), matrix(m, 2, 3), matrix(m, 2)),
    "vjp of a scalar": lambda m, f: f.vjp(lambda x: x.exp().sum(), matrix(m, 2, 3)),
    "vjp of two": lambda m, f: f.vjp(lambda x, y: 2 * x + 3 * y, (matrix(m, 2), matrix(m, 2)), matrix(m, 2)),
    "jvp": lambda m, f: f.jvp(lambda x: x.exp().sum(1), matrix(m, 2, 3), matrix(m, 2, 3)),
    "jvp of two": lambda m, f: f.jvp(
        lambda x, y: (x * y, y), (matrix(m, 2), matrix(m, 2)), (matrix(m, 2), matrix(m, 2))
    ),
    "jvp with graph": lambda m, f: f.jvp(
        lambda x: x**3, matrix(m, 2).requires_grad_(), matrix(m, 2), create_graph=True
    ),
    "vhp": lambda m, f: f.vhp(lambda x: (x**3).sum(), matrix(m, 2, 2), matrix(m, 2, 2)),
    "vhp of two": lambda m, f: f.vhp(
        lambda x, y: (x * x * y).sum(), (matrix(m, 2), matrix(m, 2)), (matrix(m, 2), matrix(m, 2))
    ),
    "hvp": lambda m, f: f.hvp(lambda x: (x**3).sum() * x[0], matrix(m, 3), matrix(m, 3)),
    "hvp of a line": lambda m, f: f.hvp(lambda x: x.sum(), matrix(m, 3), matrix(m, 3)),
}

ERRORS: dict[str, Case] = {
    "independent": lambda m, f: f.jacobian(lambda x, y: x * 1, (m.ones(2), m.ones(2)), strict=True),
    "constant": lambda m, f: f.vjp(lambda x: m.ones(()), m.ones(2), strict=True),
    "no vector": lambda m, f: f.vjp(lambda x: x * 2, m.ones(2)),
    "no vector for jvp": lambda m, f: f.jvp(lambda x: x * 2, m.ones(2)),
    "size of v": lambda m, f: f.jvp(lambda x: x * 2, m.ones(2), m.ones(3)),
    "number of v": lambda m, f: f.vjp(lambda x: x * 2, m.ones(2), (m.ones(2), m.ones(2))),
    "several elements": lambda m, f: f.hessian(lambda x: x * 2, m.ones(2)),
    "several tensors": lambda m, f: f.hvp(lambda x: (x, x), m.ones(2), m.ones(2)),
    "no tensor": lambda m, f: f.jacobian(lambda x: x, 1.0),
    "no tensor comes out": lambda m, f: f.jacobian(lambda x: 1.0, m.ones(2)),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    found, expected = (CASES[name](m, m.autograd.functional) for m in (naiad, torch))
    assert_same(flat(found), flat(expected))


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError, ValueError)) as expected:
        ERRORS[name](torch, torch.autograd.functional)
    with pytest.raises(expected.type):
        ERRORS[name](naiad, naiad.autograd.functional)


def test_a_jacobian_can_be_differentiated() -> None:
    def third(m: Any) -> Any:
        x = matrix(m, 3).requires_grad_()
        m.autograd.functional.hessian(lambda y: (y**4).sum(), x, create_graph=True).sum().backward()
        return x.grad.numpy()

    np.testing.assert_allclose(third(naiad), third(torch), 1e-12)


def test_grad_mode_does_not_matter() -> None:
    with naiad.no_grad():
        found = naiad.autograd.functional.jacobian(lambda x: x**2, naiad.ones(2))
    assert found.tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_an_output_without_elements_has_a_jacobian_without_rows() -> None:
    assert naiad.autograd.functional.jacobian(lambda x: x[:0], naiad.ones(2)).shape == (0, 2)


def test_forward_mode_is_refused() -> None:
    with pytest.raises(NotImplementedError, match='use "reverse-mode"'):
        naiad.autograd.functional.jacobian(lambda x: x, naiad.ones(2), strategy="forward-mode")
    with pytest.raises(AssertionError, match="strategy"):
        naiad.autograd.functional.jacobian(lambda x: x, naiad.ones(2), strategy="sideways")
