"""erf, erfc, erfinv, lgamma, digamma, trigamma against mpmath and PyTorch."""

import math

import numpy as np
import pytest

from naiad.core import special

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
mpmath = pytest.importorskip("mpmath", reason="comes with PyTorch: pip install 'naiad[oracle]'")

NAMES = ("erf", "erfc", "erfinv", "lgamma", "digamma", "trigamma")
ORACLE = {"trigamma": lambda x: torch.polygamma(1, x)}


@pytest.fixture(autouse=True)
def _quiet():
    """As dispatch does: NumPy's own warnings are off."""
    with np.errstate(all="ignore"):
        yield


def _reference(name, x):
    """The function at the double x, with 40 digits."""
    with mpmath.workdps(40):
        x = mpmath.mpf(x)
        if name == "erfinv":
            guess = torch.erfinv(torch.tensor(float(x), dtype=torch.float64)).item()
            return mpmath.findroot(lambda v: mpmath.erf(v) - x, guess) if x else x
        family = {"lgamma": lambda v: mpmath.re(mpmath.loggamma(v)), "digamma": lambda v: mpmath.psi(0, v)}
        family |= {"trigamma": lambda v: mpmath.psi(1, v), "erf": mpmath.erf, "erfc": mpmath.erfc}
        return family[name](x)


def _inputs(name, count):
    rng = np.random.default_rng(len(name) + count)
    if name in ("erf", "erfc"):
        return np.concatenate([rng.uniform(-6, 26, count), 10.0 ** rng.uniform(-20, 0, count)])
    if name == "erfinv":
        tails = 1 - 10.0 ** rng.uniform(-15, 0, count)
        return np.concatenate([rng.uniform(-1, 1, count), tails, -tails, 10.0 ** rng.uniform(-20, 0, count)])
    # Close to the zeros of lgamma at 1 and 2 and to the poles at 0, and far out.
    near = np.repeat([1.0, 2.0], count // 2) + rng.choice([-1, 1], count // 2 * 2) * 10.0 ** rng.uniform(
        -9, 0, count // 2 * 2
    )
    return np.concatenate([rng.uniform(0, 12, count), near[near > 0], 10.0 ** rng.uniform(-12, 25, count)])


def _ulps(name, got, x):
    exact = [_reference(name, v) for v in x.tolist()]
    unit = np.spacing(np.abs(np.array([float(v) for v in exact], dtype=got.dtype))).astype(np.float64)
    return np.array([abs(float(mpmath.mpf(float(g)) - e)) for g, e in zip(got, exact, strict=True)]) / unit


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_within_four_units(name):
    x = _inputs(name, 150)
    ulps = _ulps(name, getattr(special, name)(x), x)
    if name == "digamma":  # at its zero only the absolute error can be small
        ulps[np.abs(x - 1.4616321) < 0.1] = 0
    assert ulps.max() <= 4, (x[ulps.argmax()], ulps.max())


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_rounded_once_or_close_to_it(name):
    x = _inputs(name, 150).astype(np.float32)
    x = x[np.abs(x) < 1] if name == "erfinv" else x[(x > 1e-12) & (x < 10)] if name == "erfc" else x
    got = getattr(special, name)(x)
    assert got.dtype == np.float32
    assert _ulps(name, got, x).max() <= (2.5 if name == "erf" else 0.51)


def test_float32_erf_everywhere():
    x = np.linspace(-5, 5, 400_001, dtype=np.float32)
    exact = special.erf(x.astype(np.float64))
    got = special.erf(x)
    assert (np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 2.5
    assert np.array_equal(got, -got[::-1])
    assert (got[x > 4.2] == 1).all()


@pytest.mark.parametrize("name", ["lgamma", "digamma", "trigamma"])
def test_between_the_negative_poles(name):
    x = np.random.default_rng(3).uniform(-30, 0, 400)
    got = getattr(special, name)(x)
    exact = np.array([float(_reference(name, v)) for v in x])
    np.testing.assert_allclose(got, exact, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values_are_pytorchs(name, dtype):
    edge = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 2.0, -2.0, -7.0, 1.5, -1.5, 30.0, 1e-30, -1e-30, 171.0]
    x = np.array(edge + [-1e9, 1e30], dtype)
    if name == "trigamma":  # at the negative poles PyTorch gives π²/sin² of a rounded angle; ours is the limit
        poles = (x < 0) & (x == np.rint(x)) & np.isfinite(x)
        assert (special.trigamma(x[poles]) == np.inf).all()
        x = x[~poles]
    with np.errstate(all="ignore"):
        got = getattr(special, name)(x)
    expected = ORACLE.get(name, getattr(torch, name, None))(torch.from_numpy(x)).numpy()
    assert got.dtype == dtype
    # PyTorch's trigamma carries nine digits only.
    rtol = 1e-5 if dtype == np.float32 else 1e-9 if name == "trigamma" else 1e-12
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-12)
    assert np.array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(expected[~np.isnan(expected)]))


def test_overflow_and_underflow_edges():
    assert np.isinf(special.lgamma(2.6e305))
    assert special.lgamma(np.float64(2.5e305)) == pytest.approx(float(_reference("lgamma", 2.5e305)), rel=1e-15)
    assert np.isinf(special.lgamma(np.float32(1e38)))
    assert special.erfc(27.3) == 0
    assert 0 < special.erfc(26.5) == pytest.approx(math.erfc(26.5), rel=1e-12)
    assert special.erfc(np.float32(-9)) == 2


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_layouts(name):
    function = getattr(special, name)
    x = np.random.default_rng(0).uniform(0.05, 0.95, (5, 6, 7)).astype(np.float32)
    whole = function(x)
    assert function(np.float32(0.5)).shape == () and function(np.float32(0.5)).dtype == np.float32
    assert function(np.array(0.5)).dtype == np.float64
    assert function(0.5) == function(np.array([0.5]))[0]
    for empty in (np.zeros(0), np.zeros((0, 3), np.float32), np.zeros((3, 0)).T):
        assert function(empty).shape == empty.shape
    np.testing.assert_array_equal(function(x.T), whole.T)
    np.testing.assert_array_equal(function(x[::2, 1:, ::3]), whole[::2, 1:, ::3])
    np.testing.assert_array_equal(function(x.transpose(1, 0, 2)), whole.transpose(1, 0, 2))
    np.testing.assert_array_equal(function(np.broadcast_to(x[:, :1], x.shape)), np.broadcast_to(whole[:, :1], x.shape))
    assert function(x.astype(np.float16)).dtype == np.float16
    long = np.resize(x, 40_000)  # several pieces
    np.testing.assert_array_equal(function(long), np.resize(whole, 40_000))


def test_the_input_is_left_alone():
    for name in NAMES:
        for dtype in (np.float32, np.float64):
            x = np.linspace(-3, 3, 13, dtype=dtype)
            getattr(special, name)(x)
            np.testing.assert_array_equal(x, np.linspace(-3, 3, 13, dtype=dtype))
