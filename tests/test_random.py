"""Random numbers: the stream, reproducibility, and the statistics of every distribution."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

import naiad
from naiad.core.random import Generator, lanes

N = 20000


@pytest.fixture(autouse=True)
def seeded() -> None:
    naiad.manual_seed(1234)


DRAWS: dict[str, Any] = {
    "rand": lambda g: naiad.rand(7, 3, generator=g),
    "rand float64": lambda g: naiad.rand(5, dtype=naiad.float64, generator=g),
    "randn": lambda g: naiad.randn(5, generator=g),
    "randint": lambda g: naiad.randint(0, 10, (6,), generator=g),
    "randint wide": lambda g: naiad.randint(-(2**40), 2**40, (6,), generator=g),
    "randperm": lambda g: naiad.randperm(9, generator=g),
    "normal": lambda g: naiad.normal(0.0, 2.0, (5,), generator=g),
    "normal_": lambda g: naiad.empty(5).normal_(generator=g),
    "uniform_": lambda g: naiad.empty(5).uniform_(-1, 1, generator=g),
    "bernoulli": lambda g: naiad.bernoulli(naiad.full((9,), 0.5), generator=g),
    "bernoulli_": lambda g: naiad.empty(9).bernoulli_(0.3, generator=g),
    "multinomial": lambda g: naiad.multinomial(naiad.ones(5), 3, generator=g),
    "multinomial again": lambda g: naiad.multinomial(naiad.ones(2, 5), 9, True, generator=g),
    "exponential_": lambda g: naiad.empty(5).exponential_(2.0, generator=g),
    "random_": lambda g: naiad.empty(5, dtype=naiad.int32).random_(generator=g),
    "log_normal_": lambda g: naiad.empty(5).log_normal_(generator=g),
    "cauchy_": lambda g: naiad.empty(5).cauchy_(generator=g),
    "geometric_": lambda g: naiad.empty(5).geometric_(0.3, generator=g),
    "poisson": lambda g: naiad.poisson(naiad.full((5,), 4.0), generator=g),
    "binomial": lambda g: naiad.binomial(naiad.full((5,), 9.0), naiad.full((5,), 0.5), generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_decides_the_draw_and_the_stream_moves_on(name: str) -> None:
    draw = DRAWS[name]
    first = [draw(None) for _ in range(2)]
    naiad.manual_seed(1234)
    again = [draw(None) for _ in range(2)]
    own = draw(Generator().manual_seed(1234))
    assert naiad.equal(first[0], again[0])
    assert naiad.equal(first[1], again[1])
    assert naiad.equal(first[0], own)
    if first[0].numel() > 4 and "bernoulli" not in name:
        assert not naiad.equal(first[0], first[1])


def test_a_draw_takes_the_lanes_that_it_says() -> None:
    generator = Generator().manual_seed(5)
    drawn = naiad.rand(6, generator=generator)
    np.testing.assert_array_equal(drawn.numpy(), (lanes(5, 0, 6) >> 8) * np.float32(2.0**-24))
    normal = naiad.randn(4, generator=generator).double().numpy()  # two counters are gone
    u = (lanes(5, 2, 4) >> 8).astype(np.float64) * 2.0**-24
    r, angle = np.sqrt(-2 * np.log(1 - u[::2])), 2 * np.pi * u[1::2]
    np.testing.assert_allclose(normal[::2], r * np.cos(angle), 1e-4, 1e-6)
    np.testing.assert_allclose(normal[1::2], r * np.sin(angle), 1e-4, 1e-6)


def moments(x: naiad.Tensor) -> tuple[float, float]:
    array = x.double().numpy()
    return array.mean(), array.var()


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    [
        ("rand", 0.5, 1 / 12),
        ("randn", 0, 1),
        ("normal", 3, 4),
        ("uniform_", 1, 3),
        ("exponential_", 0.5, 0.25),
        ("geometric_", 1 / 0.3, 0.7 / 0.09),
        ("bernoulli_", 0.3, 0.21),
        ("poisson", 4, 4),
        ("poisson large", 1500, 1500),
        ("randint", 4.5, 8.25),
        ("log_normal_", np.exp(0.125), (np.exp(0.25) - 1) * np.exp(0.25)),
        ("binomial", 4.5, 2.25),
        ("randn half", 0, 1),
        ("randn double", 0, 1),
    ],
)
def test_moments(name: str, mean: float, variance: float) -> None:
    x = {
        "rand": lambda: naiad.rand(N),
        "randn": lambda: naiad.randn(N),
        "randn half": lambda: naiad.randn(N, dtype=naiad.float16),
        "randn double": lambda: naiad.randn(N, dtype=naiad.float64),
        "normal": lambda: naiad.normal(3.0, 2.0, (N,)),
        "uniform_": lambda: naiad.empty(N).uniform_(-2, 4),
        "exponential_": lambda: naiad.empty(N).exponential_(2),
        "geometric_": lambda: naiad.empty(N).geometric_(0.3),
        "bernoulli_": lambda: naiad.empty(N).bernoulli_(0.3),
        "poisson": lambda: naiad.poisson(naiad.full((N,), 4.0)),
        "poisson large": lambda: naiad.poisson(naiad.full((N,), 1500.0)),
        "randint": lambda: naiad.randint(10, (N,)),
        "log_normal_": lambda: naiad.empty(N).log_normal_(0, 0.5),
        "binomial": lambda: naiad.binomial(naiad.full((N,), 9.0), naiad.full((N,), 0.5)),
    }[name]()
    found = moments(x)
    assert abs(found[0] - mean) < 5 * sqrt(variance / N)
    assert abs(found[1] / variance - 1) < 0.15


def test_normals_follow_their_distribution() -> None:
    x = np.sort(naiad.randn(N).double().numpy())
    from math import erf

    expected = np.array([0.5 * (1 + erf(v / sqrt(2))) for v in x])
    assert np.abs(expected - (np.arange(N) + 0.5) / N).max() < 1.95 / sqrt(N)  # Kolmogorov-Smirnov at 0.1%


def test_cauchy_quartiles() -> None:
    x = naiad.empty(N).cauchy_(1, 2)
    np.testing.assert_allclose([x.quantile(q).item() for q in (0.25, 0.5, 0.75)], [-1, 1, 3], atol=0.15)


def test_integers_are_even_and_in_range() -> None:
    for low, high in ((-3, 4), (0, 2**40), (-(2**63), 2**63 - 1), (2**24, 2**26)):
        x = naiad.randint(low, high, (N,)).numpy()
        assert x.min() >= low
        assert x.max() < high
        assert abs((x / 2.0 - low / 2.0).mean() / ((high - 1) / 2.0 - low / 2.0) - 0.5) < 0.02
    counts = np.bincount(naiad.randint(7, (N,)).numpy())
    assert (np.abs(counts - N / 7) < 5 * sqrt(N / 7)).all()
    assert naiad.empty(N, dtype=naiad.uint8).random_().float().mean().item() == pytest.approx(127.5, abs=3)


def test_permutations() -> None:
    assert sorted(naiad.randperm(100).tolist()) == list(range(100))
    firsts = np.bincount([int(naiad.randperm(4)[0]) for _ in range(400)], minlength=4)
    assert (firsts > 60).all()


def test_multinomial_proportions() -> None:
    weights = naiad.tensor([1.0, 0.0, 3.0, 6.0])
    counts = np.bincount(naiad.multinomial(weights, N, True).numpy(), minlength=4) / N
    np.testing.assert_allclose(counts, [0.1, 0, 0.3, 0.6], atol=0.02)
    firsts = naiad.multinomial(weights.expand(4000, 4), 2).numpy()
    assert (firsts[:, 0] != firsts[:, 1]).all()
    np.testing.assert_allclose(np.bincount(firsts[:, 0], minlength=4) / 4000, [0.1, 0, 0.3, 0.6], atol=0.04)
    assert naiad.multinomial(weights, 3).sort().values.tolist() == [0, 2, 3]
    assert naiad.multinomial(naiad.ones(2, 3), 2).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: naiad.multinomial(naiad.zeros(2), 1), "sum of probabilities <= 0"),
        (lambda: naiad.multinomial(naiad.tensor([1.0, -1.0]), 1), "element < 0"),
        (lambda: naiad.multinomial(naiad.ones(2), 3), "without replacement"),
        (lambda: naiad.bernoulli(naiad.tensor([1.5])), "p_in"),
        (lambda: naiad.normal(0.0, -1.0, (2,)), "std >= 0"),
        (lambda: naiad.randint(3, 3, (2,)), "less than"),
        (lambda: naiad.empty(2).uniform_(1, 0), "range"),
        (lambda: naiad.empty(2).exponential_(-1), "lambda"),
        (lambda: naiad.poisson(naiad.tensor([-1.0])), "non-negative"),
        (lambda: naiad.ones(2, requires_grad=True).normal_(), "leaf Variable"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call()


def test_integers_have_no_uniforms() -> None:
    with pytest.raises(NotImplementedError, match="int64"):
        naiad.rand(3, dtype=naiad.int64)
    with pytest.raises(NotImplementedError, match="uniform_"):
        naiad.zeros(2, dtype=naiad.int32).uniform_()


def test_fork_rng_leaves_the_stream_alone() -> None:
    before = naiad.get_rng_state()
    with naiad.random.fork_rng():
        naiad.manual_seed(7)
        naiad.randn(100)
    assert naiad.equal(naiad.get_rng_state(), before)


def test_states_can_be_kept() -> None:
    state = naiad.get_rng_state()
    first = naiad.rand(5)
    naiad.set_rng_state(state)
    assert naiad.equal(naiad.rand(5), first)


def test_likes_and_forms() -> None:
    x = naiad.zeros(2, 3, dtype=naiad.float64)
    assert naiad.rand_like(x).dtype is naiad.float64
    assert naiad.randn_like(x, dtype=naiad.float32).shape == (2, 3)
    assert naiad.randint_like(x, 5).max() < 5
    assert naiad.randn((2, 3)).shape == naiad.randn(2, 3).shape == naiad.randn(size=(2, 3)).shape
    assert naiad.normal(naiad.zeros(3), naiad.ones(2, 1)).shape == (2, 3)
    assert naiad.randn(3, requires_grad=True).is_leaf
    assert naiad.randn(5, dtype=naiad.complex64).dtype is naiad.complex64
    assert naiad.empty(3).uniform_(**{"from": 2.0, "to": 3.0}).min() >= 2


def test_the_same_stream_on_the_simulated_device() -> None:
    if not naiad.cuda.is_available():
        pytest.skip("no cuda device, real or simulated: set NAIAD_CUDA=interpret")
    for draw in (lambda d: naiad.rand(9, device=d), lambda d: naiad.randn(9, device=d)):
        naiad.manual_seed(3)
        host = draw("cpu")
        naiad.manual_seed(3)
        np.testing.assert_allclose(draw("cuda").cpu().numpy(), host.numpy(), 1e-6)


def test_one_stream_for_all_devices() -> None:
    def draws(device: str) -> list:
        naiad.manual_seed(5)
        first = naiad.rand(3)
        return [first.tolist(), naiad.rand(3, device=device).cpu().tolist(), naiad.rand(2).tolist()]

    if not naiad.cuda.is_available():
        pytest.skip("needs a cuda device: set NAIAD_CUDA=interpret for the simulated one")
    assert draws("cpu") == draws("cuda")


def test_seeding_cuda_seeds_the_stream() -> None:
    naiad.manual_seed(1)
    naiad.cuda.manual_seed_all(9)
    seeded = naiad.rand(2).tolist() if naiad.cuda.is_available() else None
    naiad.manual_seed(9)
    assert seeded is None or seeded == naiad.rand(2).tolist()
