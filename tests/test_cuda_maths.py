"""gcd, lcm, frexp, polygamma and running log-sum-exps on the simulated device, at the ends of their domains."""

from __future__ import annotations

import numpy as np
import pytest

import naiad

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_divisors_and_multiples(dtype: str) -> None:
    info = np.iinfo(dtype)
    ends = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 12, 90]
    pool = np.concatenate([ends, np.random.default_rng(0).integers(info.min, info.max, 40)]).astype(dtype)
    x, y = naiad.tensor(pool)[:, None], naiad.tensor(pool)
    for function in (naiad.gcd, naiad.lcm):
        found = function(x.to("cuda"), y.to("cuda"))
        assert found.dtype is x.dtype
        np.testing.assert_array_equal(found.cpu().numpy(), function(x, y).numpy())


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_mantissa_and_exponent(dtype: str) -> None:
    info = naiad.finfo(getattr(naiad, dtype))
    numbers = [0.0, -0.0, 1.0, -3.5, 1e-3, info.max, -info.tiny, info.tiny / 4, np.inf, -np.inf, np.nan]
    x = naiad.tensor(numbers, dtype=getattr(naiad, dtype))
    for found, wanted in zip(naiad.frexp(x.to("cuda")), naiad.frexp(x), strict=True):
        assert found.dtype is wanted.dtype
        np.testing.assert_array_equal(found.cpu().double().numpy(), wanted.double().numpy())
        assert np.array_equal(np.signbit(found.cpu().double().numpy()), np.signbit(wanted.double().numpy()))


@pytest.mark.parametrize("dtype", [naiad.float32, naiad.float64])
def test_derivatives_of_digamma_up_to_the_fourth(dtype: naiad.dtype) -> None:
    numbers = [0.1, 0.5, 1.0, 7.5, 11.9, 12.1, 400.0, -0.5, -3.25, -20.125, np.inf, np.nan, 0.0, -2.0]

    def orders(device: str) -> list[np.ndarray]:
        x = naiad.tensor(numbers, dtype=dtype, device=device).requires_grad_()
        value, found = naiad.digamma(x), []
        for _ in range(4):
            (value,) = naiad.autograd.grad(value.sum(), x, create_graph=True)
            found.append(value.detach().cpu().numpy())
        return found[1:]  # of order 2 and more

    for found, wanted in zip(orders("cuda"), orders("cpu"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6 if dtype is naiad.float32 else 1e-12)


def test_gradients_of_running_log_sum_exps_of_long_rows_and_of_infinities() -> None:
    x = naiad.tensor(np.random.default_rng(2).standard_normal((1, 1100)) * 30)
    x[0, :3] = -np.inf
    g = naiad.tensor(np.random.default_rng(3).standard_normal((1, 1100)))

    def gradients(device: str) -> list[np.ndarray]:
        leaf = x.to(device).requires_grad_()
        (once,) = naiad.autograd.grad(leaf.logcumsumexp(1), leaf, g.to(device), create_graph=True)
        (twice,) = naiad.autograd.grad(once[:, 3:].square().sum(), leaf)
        return [once.detach().cpu().numpy(), twice.cpu().numpy()]

    for found, wanted in zip(gradients("cuda"), gradients("cpu"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)
