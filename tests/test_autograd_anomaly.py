"""Looking for the op that gives a NaN in backward: `detect_anomaly` beside PyTorch's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import naiad
from naiad.autograd import anomaly_mode

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
LIBRARIES = pytest.mark.parametrize("m", [torch, naiad], ids=["torch", "naiad"])


def root_of_nothing(m: Any, x: Any) -> Any:
    """Has the gradient 0 / 0 with respect to `x`."""
    return (x.sqrt() * 0).sum()


def custom(m: Any, x: Any) -> Any:
    class Bad(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            return a * b, a + b

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g, h * float("nan")

    a, b = Bad.apply(x, x * 2)
    return (a + b).sum()


@LIBRARIES
@pytest.mark.parametrize(
    ("program", "text"),
    [
        (root_of_nothing, "Function 'SqrtBackward0' returned nan values in its 0th output."),
        (custom, "Function 'BadBackward' returned nan values in its 1th output."),
    ],
)
def test_names_the_function_and_the_call(m: Any, program: Any, text: str) -> None:
    x = m.zeros(2, requires_grad=True)
    with m.autograd.set_detect_anomaly(True):
        assert m.is_anomaly_enabled()
        result = program(m, x)
        with (
            pytest.warns(UserWarning, match=r"(?s)Traceback of forward call.*in " + program.__name__),
            pytest.raises(RuntimeError) as error,
        ):
            result.backward()
    assert str(error.value) == text
    assert not m.is_anomaly_enabled()


@LIBRARIES
def test_says_so_when_the_forward_call_was_not_watched(m: Any) -> None:
    result = root_of_nothing(m, m.zeros(2, requires_grad=True))
    with (
        pytest.warns(UserWarning) as told,
        pytest.raises(RuntimeError, match="SqrtBackward0"),
        m.autograd.detect_anomaly(),
    ):
        result.backward()
    first, second = (str(warning.message) for warning in told)
    assert first.startswith("Anomaly Detection has been enabled.")
    assert second.startswith("Error detected in SqrtBackward0. No forward pass information available.")


@LIBRARIES
def test_off_or_without_check_lets_nans_pass(m: Any) -> None:
    x = m.zeros(2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with m.autograd.set_detect_anomaly(True), m.autograd.set_detect_anomaly(False):
            root_of_nothing(m, x).backward()
        with m.autograd.set_detect_anomaly(True, check_nan=False):
            assert m.is_anomaly_enabled()
            assert not m.is_anomaly_check_nan_enabled()
            root_of_nothing(m, x).backward()
    assert x.grad.isnan().all()
    assert m.is_anomaly_check_nan_enabled()


@LIBRARIES
def test_gradients_are_the_same_and_numbers_are_accumulated(m: Any) -> None:
    x = m.tensor([1.0, -2.0], requires_grad=True)
    with m.autograd.set_detect_anomaly(True):
        first, second = x.exp().unbind()
        (first * second + x.sum()).backward()
        (gradient,) = m.autograd.grad((x**3).sum(), x, create_graph=True)
        (twice,) = m.autograd.grad(gradient.sum(), x)
    product = m.tensor([1.0, -2.0]).exp().prod()
    assert m.allclose(x.grad, product + 1)
    assert m.allclose(twice, 6 * x.detach())


def test_remembers_only_the_latest_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomaly_mode, "_MOST_CALLS", 5)
    x = naiad.ones(2, requires_grad=True)
    with naiad.autograd.set_detect_anomaly(True):
        y = x
        for _ in range(20):
            y = y * 2
        assert len(anomaly_mode._calls) == 5
    assert not anomaly_mode._calls
