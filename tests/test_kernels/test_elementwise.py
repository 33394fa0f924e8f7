"""Generated elementwise kernels: every function, dtype and layout against NumPy."""

import math

import numpy as np
import pytest

from naiad.core import numpy_maths
from naiad.core.trace import trace

elementwise = pytest.importorskip("naiad.kernels.elementwise", reason="needs Triton: pip install 'naiad[test]'")

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, 1e-30, -1e30, math.inf, -math.inf, math.nan]
ULPS = {"float32": 4e-7, "float64": 1e-15, "float16": 1.1e-3, "bfloat16": 8e-3}

UNARY = "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split()
UNARY += "rsqrt sigmoid erf erfc erfinv lgamma digamma floor ceil trunc rint abs sgn conj real imag".split()
TESTS = ["isnan", "isinf", "isfinite", "signbit"]
BINARY = ["maximum", "minimum", "fmod", "trunc_div", "atan2", "hypot", "copysign", "pow"]


def run(arrays, body, inputs, out_dtype, layouts=None, shape=None):
    """body's kernel on the simulated device."""
    names = [f"x{i}" for i in range(len(inputs))]
    recorded, result = trace(body, names)
    lines = recorded.prune(result) if hasattr(result, "name") else []
    dtypes = [x.dtype.name if isinstance(x, np.ndarray) else ("scalar", x[1]) for x in inputs]
    launcher = elementwise.prepare("test body", names, lines, result, dtypes, out_dtype)
    shape = shape or np.broadcast_shapes(*(x.shape for x in inputs if isinstance(x, np.ndarray)))
    layouts = layouts or ["contiguous"] * len(inputs)
    given = [
        arrays.device(x, how).broadcast(shape) if isinstance(x, np.ndarray) else x[0]
        for x, how in zip(inputs, layouts, strict=True)
    ]
    out = arrays.empty(shape, out_dtype)
    launcher(out, *given)
    return arrays.host(out)


def expect(body, inputs):
    with np.errstate(all="ignore"):
        return body(numpy_maths, *(x.astype(np.float64) if x.dtype.kind in "fV" else x for x in inputs))


def close(got, want, dtype, absolute=1e-30):
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=ULPS[dtype], atol=absolute)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unary_functions(arrays, name, dtype):
    x = np.concatenate([np.random.default_rng(0).normal(size=50) * 3, SPECIAL]).astype(dtype)
    got = run(arrays, lambda m, x: getattr(m, name)(x), [x], dtype)
    want = expect(lambda m, x: getattr(m, name)(x), [x]).astype(dtype)
    slack = {"digamma": 40, "lgamma": 8, "erfinv": 8, "tan": 4}.get(name, 1)
    close(got / slack if slack > 1 else got, want / slack if slack > 1 else want, dtype, ULPS[dtype])


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_of_integers_and_halves(arrays, name):
    x = np.array([0, 1, 2, 7, 50], np.int64)
    integral = name in "floor ceil trunc rint abs sgn conj real imag".split()
    body = lambda m, x: getattr(m, name)(x)  # noqa: E731
    got = run(arrays, body, [x], "int64" if integral else "float32")
    want = expect(body, [x if integral else x.astype(np.float64)])
    np.testing.assert_allclose(got, want.astype(got.dtype), rtol=1e-5, atol=1e-6)
    for half in ("bfloat16", "float16"):
        h = arrays.cast(np.linspace(-4, 4, 33), half)
        got = run(arrays, body, [h], half)
        close(got, arrays.cast(expect(body, [h]), half), half, 1e-2)


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "uint8", "bool"])
def test_tests_of_value(arrays, name, dtype):
    x = arrays.cast(np.array(SPECIAL if dtype.startswith(("f", "bf")) else [0, 1, 2, 0]), dtype)
    got = run(arrays, lambda m, x: getattr(m, name)(x), [x], "bool")
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        np.testing.assert_array_equal(got, getattr(np, name)(wide))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_functions(arrays, name, dtype):
    x, y = (v.astype(dtype).ravel() for v in np.meshgrid(SPECIAL, SPECIAL))
    body = lambda m, x, y: getattr(m, name)(x, y)  # noqa: E731
    with np.errstate(all="ignore"):
        want = body(numpy_maths, x, y)
    close(run(arrays, body, [x, y], dtype), want, dtype)


def test_maximum_keeps_nan_and_zero_keeps_its_sign(arrays):
    x = np.array([np.nan, 1, -0.0, 0.0], np.float32)
    got = run(arrays, lambda m, x: m.maximum(x, 2.0), [x], "float32")
    np.testing.assert_array_equal(got, [np.nan, 2, 2, 2])
    got = run(arrays, lambda m, x: -x, [x], "float32")
    np.testing.assert_array_equal(np.signbit(got)[2:], [False, True])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_integers_wrap_and_divide_as_in_c(arrays, dtype):
    info = np.iinfo(dtype)
    x = np.array([info.max, info.min, 7, 100, 5], dtype)
    y = np.array([2, 3, 3, 7, 1], dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(
            run(arrays, lambda m, x, y: x + y * 3 - 1, [x, y], dtype), x + y * np.array(3, dtype) - np.array(1, dtype)
        )
        for name in ("trunc_div", "fmod", "maximum", "minimum", "pow"):
            body = lambda m, x, y, name=name: getattr(m, name)(x, y)  # noqa: E731
            np.testing.assert_array_equal(run(arrays, body, [x, y], dtype), body(numpy_maths, x, y), err_msg=name)
        np.testing.assert_array_equal(
            run(arrays, lambda m, x, y: (x & y) ^ (~x | y), [x, y], dtype), (x & y) ^ (~x | y)
        )
        np.testing.assert_array_equal(run(arrays, lambda m, x, y: x << y, [x, y], dtype), x << y)
        np.testing.assert_array_equal(run(arrays, lambda m, x, y: x >> y, [x, y], dtype), x >> y)
    assert run(arrays, lambda m, x, y: x / y, [x, y], "float32").dtype == np.float32


def test_shifts_by_no_less_than_the_width_leave_nothing_but_the_sign(arrays):
    x, y = np.array([5, -5, 5], np.int32), np.array([32, 40, -1], np.int32)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x << y, [x, y], "int32"), [0, 0, 0])
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x >> y, [x, y], "int32"), [0, -1, 0])


def test_negative_exponents_of_integers(arrays):
    x, y = np.array([1, -1, -1, 2, 0, 3], np.int64), np.array([-3, -3, -4, -1, -2, 4], np.int64)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: m.pow(x, y), [x, y], "int64"), [1, -1, 1, 0, 0, 81])


def test_bool_arithmetic_and_comparison(arrays):
    x, y = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x + y, [x, y], "bool"), x | y)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x * y, [x, y], "bool"), x & y)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x < y, [x, y], "bool"), x < y)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: ~x ^ y, [x, y], "bool"), ~x ^ y)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x + 2, [x, y], "int64"), x + np.int64(2))
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: m.where(x, y, x), [x, y], "bool"), np.where(x, y, x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_computed_in_float32_and_rounded_once(arrays, dtype):
    rng = np.random.default_rng(1)
    x, y = (arrays.cast(rng.normal(size=300) * 100, dtype) for _ in range(2))
    got = run(arrays, lambda m, x, y: x * y + 0.1, [x, y], dtype)
    want = arrays.cast(x.astype(np.float32) * y.astype(np.float32) + np.float32(0.1), dtype)
    np.testing.assert_array_equal(got.view(np.uint16), want.view(np.uint16))


def test_constants_are_weak_and_exact_in_float64(arrays):
    x = np.array([1.0, 3.0])
    np.testing.assert_array_equal(run(arrays, lambda m, x: x * 0.1, [x], "float64"), x * 0.1)
    i = np.array([1, 3], np.int64)
    np.testing.assert_array_equal(run(arrays, lambda m, x: x * 0.5, [i], "float32"), np.float32([0.5, 1.5]))
    np.testing.assert_array_equal(run(arrays, lambda m, x: x > 1.5, [i], "bool"), [False, True])
    np.testing.assert_array_equal(run(arrays, lambda m, x: 7, [i], "int64"), [7, 7])
    np.testing.assert_array_equal(run(arrays, lambda m, x: m.where(x > 1, 1.0, 0.0), [i], "float32"), [0, 1])
    np.testing.assert_array_equal(
        run(arrays, lambda m, x: m.where(x > 1, -math.inf, x), [x], "float64"), [1, -math.inf]
    )


def test_run_time_scalars(arrays):
    x = np.array([1.0, 3.0])
    body = lambda m, x, a: x + a  # noqa: E731
    np.testing.assert_array_equal(run(arrays, body, [x, (0.1, "float64")], "float64"), x + 0.1)
    half = arrays.cast(x, "bfloat16")
    np.testing.assert_array_equal(run(arrays, body, [half, (0.5, "bfloat16")], "bfloat16").astype("f"), [1.5, 3.5])
    big = np.array([2**40, 1], np.int64)
    np.testing.assert_array_equal(run(arrays, body, [big, (2**41, "int64")], "int64"), big + 2**41)


@pytest.mark.parametrize("source", ["float32", "bfloat16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("target", ["float32", "float64", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_results_are_converted_to_the_output(arrays, source, target):
    x = arrays.cast(np.array([0, 1, 2.5, 100]), source)
    got = run(arrays, lambda m, x: m.real(x), [x], target)
    np.testing.assert_array_equal(got, arrays.cast(x, target))


LAYOUTS = ["contiguous", "transposed", "strided", "offset"]


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 4), (3, 1, 2, 2)])
def test_layouts(arrays, launched, first, second, shape):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=shape), rng.normal(size=shape)
    got = run(arrays, lambda m, x, y: x - 2 * y, [x, y], "float64", [first, second])
    np.testing.assert_array_equal(got, x - 2 * y)
    assert launched == ["_test_body"]


@pytest.mark.parametrize("shapes", [((4, 1), (1, 5)), ((), (3,)), ((2, 1, 3), (4, 1)), ((1, 1), (3, 2)), ((), ())])
def test_broadcasting_by_strides(arrays, shapes):
    rng = np.random.default_rng(3)
    x, y = (np.asarray(rng.normal(size=s)) for s in shapes)
    np.testing.assert_array_equal(run(arrays, lambda m, x, y: x * y, [x, y], "float64"), x * y)


def test_many_dimensions_that_do_not_collapse(arrays):
    x = np.random.default_rng(4).normal(size=(2, 3, 2, 3, 2, 2, 3, 2))
    got = run(arrays, lambda m, x, y: x + y, [x, x], "float64", ["transposed", "contiguous"])
    np.testing.assert_array_equal(got, x + x)


def test_empty_arrays_launch_nothing(arrays, launched):
    assert run(arrays, lambda m, x: m.exp(x), [np.zeros((0, 3), "f")], "float32").shape == (0, 3)
    assert launched == []


def test_strided_output_is_written_in_place(arrays):
    x = np.arange(12.0).reshape(3, 4)
    recorded, result = trace(lambda m, x: x * 2, ["x"])
    launcher = elementwise.prepare("double", ["x"], recorded.prune(result), result, ["float64"], "float64")
    target = arrays.device(np.zeros((4, 3)), "strided")
    launcher(target.view((3, 4), target.strides[::-1]), arrays.device(x))
    np.testing.assert_array_equal(arrays.host(target), (x * 2).T)


def test_operands_may_have_the_names_that_the_kernel_uses(arrays):
    recorded, result = trace(lambda m, inside, index: inside + index, ["inside", "index"])
    launcher = elementwise.prepare(
        "odd-name", ["inside", "index"], recorded.prune(result), result, ["float32"] * 2, "float32"
    )
    out, x = arrays.empty((3,)), arrays.device(np.float32([1, 2, 3]))
    launcher(out, x, x)
    np.testing.assert_array_equal(arrays.host(out), [2, 4, 6])


def test_several_programs(arrays):
    x = np.random.default_rng(5).normal(size=70000).astype(np.float32)
    np.testing.assert_array_equal(run(arrays, lambda m, x: x + 1, [x], "float32"), x + 1)


def test_offsets_pass_int32(arrays):
    """Elements 2**30 apart: three of them span more than 2**31 elements of an array that is never touched between."""

    class Sparse:
        def __init__(self, nbytes):
            self.bytes = np.empty(nbytes, np.uint8)  # pages appear when touched
            self.ptr = self.bytes.ctypes.data

    buffer = Sparse(2**31 + 8)
    array = arrays.empty((3,), "uint8")
    far = type(array)(buffer, (3,), (2**30,), 0, np.dtype("uint8"))
    arrays.host(far)[...] = [1, 2, 3]
    recorded, result = trace(lambda m, x: x + x, ["x"])
    launcher = elementwise.prepare("far", ["x"], recorded.prune(result), result, ["uint8"], "uint8")
    assert "to(tl.int64)" in launcher.source(("flat", "strided"), 1, True)
    launcher(array, far)
    np.testing.assert_array_equal(arrays.host(array), [2, 4, 6])


def test_equal_bodies_share_one_kernel(arrays):
    made = []
    for _ in range(2):
        recorded, result = trace(lambda m, x: x * 3, ["x"])
        launcher = elementwise.prepare("triple", ["x"], recorded.prune(result), result, ["float32"], "float32")
        made.append(launcher.kernel(("flat", "flat"), 1, False))
    assert made[0] is made[1]
