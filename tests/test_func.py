"""`func.functional_call` beside PyTorch's: values, gradients, shared weights, buffers and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

Call = Callable[[Any], Any]


def model(m: Any) -> Any:
    """Two linear layers that share a weight, one of them under two names, and a batch norm."""

    class Net(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = m.nn.Linear(2, 2), m.nn.Linear(2, 2)
            self.b, self.c.weight, self.norm = self.a, self.a.weight, m.nn.BatchNorm1d(2)

        def forward(self, x: Any, k: float = 1.0) -> Any:
            return self.norm(self.c(self.b(x))) * k

    net = Net()
    with m.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(m.arange(1.0, parameter.numel() + 1).reshape(parameter.shape) / (i + 1))
    return net


def x(m: Any) -> Any:
    return m.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])


CALLS: dict[str, Call] = {
    "one": lambda m: m.func.functional_call(model(m), {"c.bias": m.ones(2)}, x(m)),
    "shared": lambda m: m.func.functional_call(model(m), {"a.weight": m.eye(2)}, (x(m),), {"k": 2.0}),
    "not tied": lambda m: m.func.functional_call(model(m), {"c.weight": m.eye(2)}, x(m), tie_weights=False),
    "two dicts": lambda m: m.func.functional_call(model(m), ({"a.bias": m.ones(2)}, {"norm.weight": m.ones(2)}), x(m)),
    "an unknown name": lambda m: m.func.functional_call(model(m), {"foo": m.ones(2)}, x(m)),
    "an unknown path": lambda m: m.func.functional_call(model(m), {"foo.bar": m.ones(2)}, x(m)),
    "two values": lambda m: m.func.functional_call(
        model(m), {"a.weight": m.eye(2), "b.weight": m.eye(2), "c.weight": m.ones(2, 2)}, x(m)
    ),
    "two dicts, one name": lambda m: m.func.functional_call(model(m), [{"a.bias": m.ones(2)}] * 2, x(m)),
    "no tensor": lambda m: m.func.functional_call(model(m), {"a.bias": 1.0}, x(m)),
    "no dict": lambda m: m.func.functional_call(model(m), 1, x(m)),
    "strict": lambda m: m.func.functional_call(model(m), {"a.bias": m.ones(2)}, x(m), strict=True),
    "strict and complete": lambda m: m.func.functional_call(
        model(m), {**dict(model(m).named_parameters()), **dict(model(m).named_buffers())}, x(m), strict=True
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_errors(name: str) -> None:
    try:
        expected = CALLS[name](torch)
    except Exception as error:
        with pytest.raises(type(error)):
            CALLS[name](naiad)
        return
    np.testing.assert_allclose(CALLS[name](naiad).detach().numpy(), expected.detach().numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize("kind", ["Linear", "LSTM"])
def test_gradients_flow_to_what_was_given(kind: str) -> None:
    """One step of learning to learn: the gradient through an inner step of descent."""

    def outer(m: Any) -> Any:
        net = getattr(m.nn, kind)(2, 2)
        start = {n: m.full(tuple(p.shape), 0.3).requires_grad_() for n, p in net.named_parameters()}

        def loss(parameters: Any) -> Any:
            out = m.func.functional_call(net, parameters, x(m))
            return ((out[0] if isinstance(out, tuple) else out) ** 2).sum()

        grads = m.autograd.grad(loss(start), list(start.values()), create_graph=True)
        stepped = {n: p - 0.1 * g for (n, p), g in zip(start.items(), grads, strict=True)}
        loss(stepped).backward()
        assert all(p.grad is None for p in net.parameters())
        return [p.grad.numpy() for p in start.values()]

    for found, expected in zip(outer(naiad), outer(torch), strict=True):
        np.testing.assert_allclose(found, expected, 1e-4, 1e-5)


def test_buffers_that_were_given_are_updated_and_the_module_keeps_its_own() -> None:
    net = model(naiad)
    own = net.norm.running_mean
    given = {"norm.running_mean": naiad.zeros(2)}
    naiad.func.functional_call(net, given, x(naiad))
    assert given["norm.running_mean"].abs().sum() > 0
    assert net.norm.running_mean is own and own.abs().sum() == 0
    with pytest.raises(RuntimeError):
        naiad.func.functional_call(net, {"a.weight": naiad.ones(3, 3)}, x(naiad))
    assert net.a.weight.shape == (2, 2)
