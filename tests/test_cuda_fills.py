"""Random fills and sequences on cuda: made there, without a copy from the host, and the same as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad
from naiad.core import backend

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)
FLOATS = ["float32", "float64", "bfloat16", "float16"]
LIMIT = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1e-2}


def both(make: Callable[[str], naiad.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """What is made on the CPU and, without a copy between host and device, on cuda."""
    naiad.manual_seed(5)
    here = make("cpu")
    naiad.manual_seed(5)
    before = backend.transfers.count
    there = make("cuda")
    assert backend.transfers.count == before, "values went between host and device"
    assert there.device.type == "cuda"
    assert (there.dtype, there.shape) == (here.dtype, here.shape)
    state = naiad.get_rng_state().tolist()
    naiad.manual_seed(5)
    make("cpu")
    assert naiad.get_rng_state().tolist() == state
    there = there.cpu()
    return tuple(t.double().numpy() if t.dtype.is_floating_point else t.numpy() for t in (here, there))  # type: ignore[return-value]


def filled(dtype: str, name: str, *args: Any) -> Callable[[str], naiad.Tensor]:
    return lambda device: getattr(naiad.empty(7, 301, dtype=getattr(naiad, dtype), device=device), name)(*args)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("name", "args"),
    [("exponential_", (2.5,)), ("log_normal_", (0.5, 0.25)), ("normal_", (1.0, 3.0)), ("uniform_", (-1.0, 2.0))],
)
def test_continuous_fills(name: str, args: tuple, dtype: str) -> None:
    here, there = both(filled(dtype, name, *args))
    np.testing.assert_allclose(there, here, LIMIT[dtype], LIMIT[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_cauchy_fills_far_from_their_poles(dtype: str) -> None:
    here, there = both(filled(dtype, "cauchy_", 1.0, 2.0))
    near = np.abs(here) < 100  # the tangent magnifies how its argument was rounded by its square
    assert near.mean() > 0.95
    np.testing.assert_allclose(there[near], here[near], 50 * LIMIT[dtype], 50 * LIMIT[dtype])


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "uint8"])
def test_discrete_fills_are_equal(dtype: str) -> None:
    for name, args in (("geometric_", (0.3,)), ("random_", ()), ("random_", (3, 100)), ("bernoulli_", (0.3,))):
        here, there = both(filled(dtype, name, *args))
        np.testing.assert_array_equal(there, here, err_msg=name)


def test_fills_of_bools() -> None:
    for name, args in (("random_", ()), ("bernoulli_", (0.25,)), ("geometric_", (0.3,))):
        np.testing.assert_array_equal(*both(filled("bool", name, *args)), err_msg=name)


def test_a_view_is_filled_and_what_lies_around_it_is_not() -> None:
    def make(device: str) -> naiad.Tensor:
        whole = naiad.zeros(6, 8, device=device)
        whole[::2, 1:5].exponential_()
        return whole

    here, there = both(make)
    np.testing.assert_allclose(there, here, 1e-6)
    assert not there[1::2].any()
    assert not there[:, 5:].any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_bernoulli_of_probabilities(dtype: str) -> None:
    chances = np.linspace(0, 1, 300).astype(np.float32).reshape(3, 100)
    p = {device: naiad.from_numpy(chances).to(device, getattr(naiad, dtype)) for device in ("cpu", "cuda")}
    np.testing.assert_array_equal(*both(lambda device: naiad.bernoulli(p[device])))
    np.testing.assert_array_equal(*both(lambda device: naiad.empty(2, 3, 100, device=device).bernoulli_(p[device])))


def test_normals_of_tensors() -> None:
    mean = {device: naiad.arange(30.0, device=device).view(3, 10) for device in ("cpu", "cuda")}
    for make in (
        lambda device: naiad.normal(mean[device], 2.0),
        lambda device: naiad.normal(0.5, 2.0, (3, 10), device=device),
    ):
        np.testing.assert_allclose(*both(make)[::-1], 1e-6, 1e-6)
    naiad.manual_seed(5)
    here = naiad.normal(mean["cpu"], mean["cpu"][0]).numpy()
    naiad.manual_seed(5)
    np.testing.assert_allclose(naiad.normal(mean["cuda"], mean["cuda"][0]).cpu().numpy(), here, 1e-6, 1e-6)
    with pytest.raises(RuntimeError, match="std >= 0"):
        naiad.normal(0.0, mean["cuda"] - 1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_poisson_numbers_are_equal(dtype: str) -> None:
    rates = np.concatenate([np.zeros(3), np.linspace(0.1, 9, 200), [100, 439, 441, 560, 600, 1500]])
    rate = {device: naiad.from_numpy(rates).to(device, getattr(naiad, dtype)) for device in ("cpu", "cuda")}
    here, there = both(lambda device: naiad.poisson(rate[device]))
    np.testing.assert_array_equal(there, here)
    assert not here[:3].any()


def test_poisson_numbers_have_the_mean_and_the_variance_of_their_rate() -> None:
    for rate in (0.5, 30.0, 700.0, 1e5):
        drawn = naiad.poisson(naiad.full((20_000,), rate, dtype=naiad.float64)).numpy()
        assert abs(drawn.mean() - rate) < 5 * (rate / 20_000) ** 0.5
        assert abs(drawn.var() / rate - 1) < 5 * (2 / 20_000 + 1 / rate / 20_000) ** 0.5


@pytest.mark.traps
def test_a_negative_rate_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="non-negative"):
        naiad.poisson(naiad.tensor([-1.0], device="cuda"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binomial_numbers_are_equal(dtype: str) -> None:
    chances = np.array([0.0, 1e-3, 0.1, 0.5, 0.50001, 0.9, 1.0, np.nan])
    of = getattr(naiad, dtype)
    counts = {d: naiad.tensor([[0], [1], [10], [300], [1000], [5000]], device=d).to(of) for d in ("cpu", "cuda")}
    p = {device: naiad.from_numpy(chances).to(device, of) for device in ("cpu", "cuda")}
    here, there = both(lambda device: naiad.binomial(counts[device], p[device]))
    np.testing.assert_array_equal(there, here)
    assert np.isnan(here[:, -1]).all()
    np.testing.assert_array_equal(here[:, 0], 0)
    np.testing.assert_array_equal(here[:, 6], counts["cpu"].numpy()[:, 0])


def test_binomial_numbers_have_their_mean_and_variance() -> None:
    for n, p in ((1, 0.3), (20, 0.9), (400, 0.5), (900, 0.5), (100_000, 0.02), (100_000, 0.7)):
        count = naiad.full((20_000,), float(n), dtype=naiad.float64)
        drawn = naiad.binomial(count, naiad.full_like(count, p)).numpy()
        spread = n * p * (1 - p)
        assert abs(drawn.mean() - n * p) < 5 * (spread / 20_000) ** 0.5
        assert abs(drawn.var() / spread - 1) < 5 * (2 / 20_000 + 1 / spread / 20_000) ** 0.5


@pytest.mark.parametrize("n", [0, 1, 2, 1000, 4099])
def test_permutations_are_equal(n: int) -> None:
    here, there = both(lambda device: naiad.randperm(n, device=device))
    np.testing.assert_array_equal(there, here)
    np.testing.assert_array_equal(np.sort(there), np.arange(n))


@pytest.mark.parametrize(("n", "replacement"), [(1, False), (9, True), (4, False), (5, False)])
@pytest.mark.parametrize("rows", [(), (3,)])
def test_multinomial_draws_are_equal(n: int, replacement: bool, rows: tuple) -> None:
    weights = naiad.tensor([0.5, 0.0, 2.0, 0.1, 1.0, 3.0]).expand(*rows, 6)
    drawn = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(11)
        drawn.append(naiad.multinomial(weights.to(device), n, replacement).cpu())
    assert drawn[0].shape == (*rows, n)
    np.testing.assert_array_equal(drawn[1].numpy(), drawn[0].numpy())
    assert not (drawn[1] == 1).any()


def test_multinomial_of_bad_weights() -> None:
    for bad in ([1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(RuntimeError, match="contains either `inf`, `nan` or element < 0"):
            naiad.multinomial(naiad.tensor(bad, device="cuda"), 1)
    with pytest.raises(RuntimeError, match="sum of probabilities <= 0"):
        naiad.multinomial(naiad.zeros(2, 3, device="cuda"), 1)


SEQUENCES = {
    "arange": lambda **at: naiad.arange(5, 1000, 3, **at),
    "arange down": lambda **at: naiad.arange(10, -7, -2, **at),
    "arange of floats": lambda **at: naiad.arange(0.1, 70.0, 0.3, **at),
    "nothing": lambda **at: naiad.arange(0, **at),
    "linspace": lambda **at: naiad.linspace(-1.7, 2.3, 1001, **at),
    "linspace of one": lambda **at: naiad.linspace(2.5, 9, 1, **at),
    "eye": lambda **at: naiad.eye(17, 23, **at),
    "tall eye": lambda **at: naiad.eye(23, 5, **at),
    "full": lambda **at: naiad.full((3, 5), 7, **at),
}


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_equal(name: str, dtype: str) -> None:
    if (dtype == "bool" and name in ("arange of floats", "nothing")) or (
        dtype in ("uint8", "bool") and name in ("arange", "arange down", "linspace")
    ):
        dtype = "int16"
    np.testing.assert_array_equal(*both(lambda device: SEQUENCES[name](device=device, dtype=getattr(naiad, dtype))))


def test_sequences_of_the_default_dtype() -> None:
    for make in SEQUENCES.values():
        np.testing.assert_array_equal(*both(lambda device, make=make: make(device=device)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logspace(dtype: str) -> None:
    of = getattr(naiad, dtype)
    for base in (10.0, 2.0, 0.5):
        here, there = both(lambda device, b=base: naiad.logspace(-2, 3, 101, b, dtype=of, device=device))
        np.testing.assert_allclose(there, here, LIMIT[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("length", [0, 1, 2, 33])
def test_windows(length: int, dtype: str) -> None:
    of = getattr(naiad, dtype)
    for name in ("hann", "hamming", "blackman", "bartlett"):
        make = getattr(naiad, f"{name}_window")
        for periodic in (True, False):
            here, there = both(lambda device, m=make, p=periodic: m(length, p, device=device, dtype=of))
            np.testing.assert_allclose(there, here, LIMIT[dtype], 1e-12, err_msg=name)


def test_uneven_adaptive_means_and_affine_grids() -> None:
    theta = {d: naiad.tensor([[[0.5, 0.1, 0.2], [0.0, 1.5, -0.3]]], device=d) for d in ("cpu", "cuda")}
    images = {d: naiad.arange(3 * 7 * 10.0, device=d).view(1, 3, 7, 10) for d in ("cpu", "cuda")}
    functions = naiad.nn.functional
    for align in (False, True):
        grids = both(lambda device, a=align: functions.affine_grid(theta[device], (1, 1, 4, 5), align_corners=a))
        np.testing.assert_allclose(*grids, 1e-6, 1e-7)
    for size in ((3, 4), (2, 10), (5, 1), (9, 12)):
        np.testing.assert_allclose(*both(lambda device, s=size: functions.adaptive_avg_pool2d(images[device], s)), 1e-6)


@pytest.mark.parametrize("size", [(3, 3), (4, 7), (7, 4), (1, 5), (5, 1), (0, 3), (3, 0), (40, 50)])
def test_places_of_triangles(size: tuple[int, int]) -> None:
    for offset in range(-9, 10):
        for make, oracle in ((naiad.tril_indices, np.tril_indices), (naiad.triu_indices, np.triu_indices)):
            here, there = both(lambda device, make=make, o=offset: make(*size, o, device=device))
            np.testing.assert_array_equal(there, here)
            np.testing.assert_array_equal(there, np.stack(oracle(size[0], offset, size[1])))
