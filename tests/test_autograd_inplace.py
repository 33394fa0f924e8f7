"""In-place ops on tensors and views with a history, against real PyTorch: values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def write_through_a_view(m: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = y.transpose(0, 1)
    v.mul_(w.transpose(0, 1))
    return y * y


def write_into_the_base(m: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v = y.transpose(0, 1)
    y.mul_(w)
    return v * v


def two_views_and_the_base(m: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    v, r = y.transpose(0, 1), y.reshape(12)
    v.mul_(w.transpose(0, 1))
    r.add_(1.0)
    y.mul_(3.0)
    return v * r.reshape(3, 4).transpose(0, 1)


def a_view_of_a_view(m: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    y.transpose(0, 1).reshape(4, 3, 1).mul_(w.transpose(0, 1).reshape(4, 3, 1))
    return y.sigmoid()


def history_arrives_through_a_view(m: Any, x: Any, w: Any) -> Any:
    base = m.zeros(3, 4, dtype=m.float64)
    base.transpose(0, 1).copy_(x.transpose(0, 1))
    return base * w


def old_values_are_kept(m: Any, x: Any, w: Any) -> Any:
    y = x * 2.0
    y.mul_(w)  # w's gradient needs y as it was
    y.mul_(w)
    return y


def output_saved_in_place(m: Any, x: Any, w: Any) -> Any:
    y = x * w
    y.sigmoid_()
    return y * w


def relu_in_place_after_its_input_was_saved(m: Any, x: Any, w: Any) -> Any:
    y = x + w
    y.relu_()
    return y.sum() * w


def fill_forgets(m: Any, x: Any, w: Any) -> Any:
    y = x * w
    y.zero_()
    y.add_(w)
    return y


def subtract_and_scale(m: Any, x: Any, w: Any) -> Any:
    y = x * 1.0
    y -= w
    y /= 2.0
    y += x
    y *= w
    return y


CASES = [
    write_through_a_view,
    write_into_the_base,
    two_views_and_the_base,
    a_view_of_a_view,
    history_arrives_through_a_view,
    old_values_are_kept,
    output_saved_in_place,
    relu_in_place_after_its_input_was_saved,
    fill_forgets,
    subtract_and_scale,
]


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_equals_torch(case: Callable) -> None:
    random = np.random.default_rng(3)
    values = [random.standard_normal((3, 4)) for _ in range(2)]
    results = []
    for module in (naiad, torch):
        x, w = (module.from_numpy(v.copy()).requires_grad_() for v in values)
        out = case(module, x, w)
        out.sum().backward()
        results.append([t.detach().numpy() if t is not None else None for t in (out, x.grad, w.grad)])
    for ours, theirs in zip(*results, strict=True):
        if ours is None or theirs is None:
            assert (ours if ours is not None else 0.0) is not None
            np.testing.assert_allclose(0.0 if ours is None else ours, 0.0 if theirs is None else theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_dtype_shape_and_overlap_are_checked() -> None:
    ints = naiad.tensor([1, 2])
    with pytest.raises(RuntimeError, match="result type float32 can't be cast to the desired output type int64"):
        ints.add_(1.5)
    with pytest.raises(RuntimeError, match=r"output with shape \[2\] doesn't match the broadcast shape \[3, 2\]"):
        ints.add_(naiad.ones(3, 2, dtype=naiad.int64))
    with pytest.raises(RuntimeError, match=r"more than one element .* clone\(\) the tensor"):
        naiad.zeros(1).expand(3).add_(1.0)


def test_an_infinite_gradient_does_not_reach_what_was_overwritten():
    x = naiad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    y[0] = 5.0
    (y * float("inf")).sum().backward()
    assert x.grad.tolist() == [0.0, float("inf"), float("inf")]
