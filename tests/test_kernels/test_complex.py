"""Generated kernels with complex values against NumPy: functions, layouts, run-time numbers, copies and products."""

import math

import numpy as np
import pytest

from naiad.core import numpy_maths
from naiad.core.trace import trace

elementwise = pytest.importorskip("naiad.kernels.elementwise", reason="needs Triton: pip install 'naiad[test]'")

FUNCTIONS = "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sigmoid sgn conj".split()
FUNCTIONS += "sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh".split()
REAL = ["abs", "real", "imag", "isnan", "isinf", "isfinite"]
BINARY = ["add", "sub", "mul", "div", "pow", "eq", "ne"]
TOLERANCE = {"complex64": 4e-6, "complex128": 1e-13}
EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 1e-20, 1e15, -3e12]


def run(arrays, body, inputs, out, layouts=None):
    """body's kernel on operands of one shape; a tuple (number, dtype) is a run-time number."""
    names = [f"x{i}" for i in range(len(inputs))]
    recorded, result = trace(body, names)
    lines = recorded.prune(result) if hasattr(result, "name") else []
    dtypes = [x.dtype.name if isinstance(x, np.ndarray) else ("scalar", x[1]) for x in inputs]
    launcher = elementwise.prepare("test body", names, lines, result, dtypes, out)
    shape = np.broadcast_shapes(*(x.shape for x in inputs if isinstance(x, np.ndarray)))
    layouts = layouts or ["contiguous"] * len(inputs)
    given = [
        arrays.device(x, how).broadcast(shape) if isinstance(x, np.ndarray) else x[0]
        for x, how in zip(inputs, layouts, strict=True)
    ]
    made = arrays.empty(shape, out)
    launcher(made, *given)
    return arrays.host(made)


def numbers(dtype, shape=(200,), seed=0):
    parts = np.random.default_rng(seed).normal(size=(2, *shape)) * 2
    return (parts[0] + 1j * parts[1]).astype(dtype)


def expected(body, *inputs):
    with np.errstate(all="ignore"):
        return body(numpy_maths, *(x.astype(np.complex128) for x in inputs))


def close(got, want, tolerance):
    error = np.abs(got - want) / np.maximum(np.abs(want), 1e-3)
    assert error.max() < tolerance


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(arrays, name, dtype):
    def body(m, x):
        return getattr(m, name)(x)

    x = numbers(dtype)
    close(run(arrays, body, [x], dtype), expected(body, x), TOLERANCE[dtype])


@pytest.mark.parametrize("name", "exp log sqrt sinh cosh asin acos atan asinh acosh atanh conj".split())
def test_branch_cuts_and_signs_of_zeros(arrays, name):
    x = np.array([complex(a, b) for a in EDGES for b in EDGES])
    with np.errstate(all="ignore"):
        want = getattr(numpy_maths, name)(x)
    got = run(arrays, lambda m, x: getattr(m, name)(x), [x], "complex128")
    for part in ("real", "imag"):
        mine, other = getattr(got, part), getattr(want, part)
        np.testing.assert_allclose(mine, other, 1e-12, 1e-30)
        known = ~np.isnan(other)
        np.testing.assert_array_equal(np.signbit(mine[known]), np.signbit(other[known]))


@pytest.mark.parametrize(
    "z", [complex(math.inf, 1), complex(-math.inf, 2), complex(1, math.inf), complex(0, -math.inf)]
)
def test_infinities_go_where_they_should(arrays, z):
    x = np.array([z], np.complex64)
    for name in ("log", "sqrt", "asin", "acos", "atan", "asinh", "acosh", "atanh"):
        got = run(arrays, lambda m, x, name=name: getattr(m, name)(x), [x], "complex64")
        np.testing.assert_allclose(got, getattr(numpy_maths, name)(x), 1e-6, err_msg=name)


def test_large_numbers_do_not_overflow_on_the_way(arrays):
    x = np.array([3e38 + 3e38j, 1e-30 + 1e-30j, 89 + 0.785j], np.complex64)
    for name in ("log", "sqrt"):
        got = run(arrays, lambda m, x, name=name: getattr(m, name)(x), [x], "complex64")
        np.testing.assert_allclose(got, getattr(numpy_maths, name)(x.astype(np.complex128)), 1e-6)
    quotient = run(arrays, lambda m, x, y: x / y, [x[:1] / 4, x[:1] / 2], "complex64")
    np.testing.assert_allclose(quotient, [0.5], 1e-6)
    grown = run(arrays, lambda m, x: m.exp(x), [x[2:]], "complex64")
    np.testing.assert_allclose(grown, np.exp(x[2:].astype(np.complex128)), 1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", REAL)
def test_real_results(arrays, name, dtype):
    x = numbers(dtype)
    x[:4] = [complex(math.nan, 1), complex(1, math.inf), complex(math.inf, math.nan), 0]
    out = "bool" if name.startswith("is") else "float32" if dtype == "complex64" else "float64"
    got = run(arrays, lambda m, x: getattr(m, name)(x), [x], out)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, getattr(numpy_maths, name)(x), 1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(arrays, name, dtype):
    def body(m, x, y):
        return getattr(m, name)(x, y) if name == "pow" else numpy_maths.UFUNCS[name](x, y) if m is numpy_maths else {
            "add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "eq": x == y, "ne": x != y
        }[name]  # fmt: skip

    x, y = numbers(dtype), numbers(dtype, seed=1)
    y[:20] = x[:20]
    y[20:40] = x[20:40].real
    got = run(arrays, body, [x, y], "bool" if name in ("eq", "ne") else dtype)
    close(got.astype(np.complex128), expected(body, x, y).astype(np.complex128), 4 * TOLERANCE[dtype])


def test_powers_of_nothing(arrays):
    x = np.array([0, 0, 0, 2, 0], np.complex64)
    y = np.array([0, 2, 1j, 0, -1], np.complex64)
    got = run(arrays, lambda m, x, y: m.pow(x, y), [x, y], "complex64")
    assert got[[0, 1, 3]].tolist() == [1, 0, 1]
    assert np.isnan(got[[2, 4]]).all()


@pytest.mark.parametrize("exponent", [1, 2, 3, 7, -1, -3, 0.5, 0, 1.5 + 1j])
def test_powers_by_a_number_in_the_body(arrays, exponent):
    def body(m, x):
        return m.pow(x, exponent)

    x = numbers("complex128")
    close(run(arrays, body, [x], "complex128"), expected(body, x), 1e-12)


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "offset", "expanded"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_layouts(arrays, layout, dtype):
    x, y = numbers(dtype, (5, 6)), numbers(dtype, (5, 6), 1)
    if layout == "expanded":
        x, layout = numbers(dtype, (1, 1)), "contiguous"

    def body(m, x, y):
        return x * y

    close(run(arrays, body, [x, y], dtype, [layout, "contiguous"]), expected(body, x, y), TOLERANCE[dtype])


def test_run_time_numbers_and_real_values(arrays):
    x, c = numbers("complex64"), np.arange(200) % 3 == 0

    def body(m, x, c, a):
        return m.where(c, x * a, m.real(x) + 1)

    got = run(arrays, body, [x, c, (2 - 1j, "complex64")], "complex64")
    np.testing.assert_allclose(got, np.where(c, x * (2 - 1j), x.real + 1), 1e-6)


def test_what_has_no_meaning_is_refused(arrays):
    for body in (lambda m, x: m.floor(x), lambda m, x: x < x, lambda m, x: m.maximum(x, 0.0)):
        with pytest.raises(NotImplementedError, match="has no Triton form for complex64"):
            run(arrays, body, [numbers("complex64")], "complex64")
