"""Copies, reductions, softmax and indexing kernels against float64 NumPy."""

import numpy as np
import pytest

reduce = pytest.importorskip("naiad.kernels.reduce", reason="needs Triton: pip install 'naiad[test]'")
from naiad.kernels import copy, indexing, softmax  # noqa: E402

FLOATS = ["float32", "float64", "float16", "bfloat16"]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}
LAYOUTS = ["contiguous", "transposed", "strided", "offset"]


def sample(arrays, shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if "int" in dtype:
        return rng.integers(0 if dtype.startswith("u") else -9, 9, shape).astype(dtype)
    return arrays.cast(rng.normal(size=shape), dtype)


def close(got, want, dtype):
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


# Copies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["float32", "bfloat16", "int64", "bool"])
@pytest.mark.parametrize("target", ["float64", "float16", "int32", "bool"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_copy_converts_between_any_layouts(arrays, source, target, layout):
    x = sample(arrays, (3, 4, 2), source)
    out = arrays.device(arrays.cast(np.zeros((3, 4, 2)), target), layout)
    copy.copy(out, arrays.device(x, "transposed"))
    np.testing.assert_array_equal(arrays.host(out), arrays.cast(x, target))


def test_copy_broadcasts_and_leaves_the_rest_of_a_view_alone(arrays):
    base = arrays.device(np.zeros((4, 6), np.float32))
    inner = base.view((2, 3), (6, 2), 7)  # rows 1 and 2, every other column from 1
    copy.copy(inner, arrays.device(np.float32([1, 2, 3])))
    want = np.zeros((4, 6), np.float32)
    want[1:3, 1::2] = [1, 2, 3]
    np.testing.assert_array_equal(arrays.host(base), want)


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "uint8", "bool"])
def test_fill(arrays, dtype):
    out = arrays.empty((5, 3), dtype, gap=2)
    copy.fill(out, value=1)
    np.testing.assert_array_equal(arrays.host(out), arrays.cast(np.ones((5, 3)), dtype))


# Reductions -----------------------------------------------------------------------------------------------------------

DIMS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (-1,), (0, 1, 2)]
NUMPY = {"sum": np.sum, "mean": np.mean, "prod": np.prod, "amax": np.max, "amin": np.min, "any": np.any, "all": np.all}


def reduced(arrays, name, x, dim, layout="contiguous", out_dtype=None):
    result = {"any": "bool", "all": "bool"}.get(name, x.dtype.name)
    if name in ("sum", "prod") and x.dtype.kind in "biu":
        result = "int64"
    out = arrays.empty(np.any(x, axis=dim).shape, out_dtype or result)
    getattr(reduce, name)(out, arrays.device(x, layout), dim=dim, keepdim=False)
    return arrays.host(out)


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reductions_over_any_dimensions(arrays, name, dim, layout):
    x = sample(arrays, (3, 4, 5), "float64")
    np.testing.assert_allclose(reduced(arrays, name, x, dim, layout), NUMPY[name](x, axis=dim), rtol=1e-13)


INTEGERS = ["int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in NUMPY for d in FLOATS + INTEGERS if n != "mean" or d in FLOATS]
)
def test_reductions_of_every_dtype(arrays, name, dtype):
    x = sample(arrays, (7, 9), dtype)
    wide = x.astype(np.float64) if "float" in dtype else x.astype(np.int64) if name in ("sum", "prod") else x
    got, want = reduced(arrays, name, x, (1,)), NUMPY[name](wide, axis=1)
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    else:
        close(got, want, dtype)


def test_more_than_two_groups_of_dimensions(arrays):
    x = sample(arrays, (2, 3, 2, 3, 2, 3), "float64")
    np.testing.assert_allclose(reduced(arrays, "sum", x, (0, 2, 4)), x.sum((0, 2, 4)), rtol=1e-13)
    np.testing.assert_allclose(reduced(arrays, "amax", x, (1, 3, 5), "transposed"), x.max((1, 3, 5)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_wins_and_infinities_count(arrays, dtype):
    x = arrays.cast(np.array([[1, np.nan, 3], [np.nan] * 3, [np.inf, 1, -np.inf], [1, 2, 3]]), dtype)
    np.testing.assert_array_equal(reduced(arrays, "amax", x, (1,)).astype("f"), [np.nan, np.nan, np.inf, 3])
    np.testing.assert_array_equal(reduced(arrays, "amin", x, (1,)).astype("f"), [np.nan, np.nan, -np.inf, 1])
    np.testing.assert_array_equal(reduced(arrays, "sum", x, (1,)).astype("f"), [np.nan, np.nan, np.nan, 6])
    np.testing.assert_array_equal(reduced(arrays, "any", x, (1,)), [True] * 4)


def test_extremes_of_integers_at_their_bounds(arrays):
    for dtype in ("int64", "int32", "int8", "uint8"):
        info = np.iinfo(dtype)
        x = np.array([[info.min, info.min], [info.max, info.max]], dtype)
        np.testing.assert_array_equal(reduced(arrays, "amax", x, (1,)), [info.min, info.max])
        np.testing.assert_array_equal(reduced(arrays, "amin", x, (1,)), [info.min, info.max])


def test_reductions_over_no_elements(arrays):
    x = np.zeros((3, 0), np.float32)
    for name, want in (("sum", 0), ("prod", 1), ("mean", np.nan), ("any", False), ("all", True)):
        np.testing.assert_array_equal(reduced(arrays, name, x, (1,)), np.full(3, want))


def test_zero_dimensional_and_undimensioned_reductions(arrays):
    x = np.array(3.0)
    np.testing.assert_array_equal(reduced(arrays, "sum", x, ()), 3)
    y = sample(arrays, (2, 3), "float64")
    out = arrays.empty((2, 3), "float64")
    reduce.sum(out, arrays.device(y), dim=(), keepdim=False)
    np.testing.assert_array_equal(arrays.host(out), y)


def test_sums_of_halves_do_not_overflow_on_the_way(arrays):
    x = arrays.cast(np.array([[60000, 60000, -60000]]), "float16")
    np.testing.assert_array_equal(reduced(arrays, "sum", x, (1,)), [60000])


def test_long_rows_are_split_over_programs(arrays, launched, monkeypatch):
    monkeypatch.setattr(reduce, "SPLIT_STEPS", 1)
    monkeypatch.setattr(reduce, "_tile", lambda rows, n, stride: (2, 64, 4))
    x = sample(arrays, (3, 1000), "float32")
    close(reduced(arrays, "sum", x, (1,)), x.astype(np.float64).sum(1), "float32")
    close(reduced(arrays, "mean", x, (0, 1)), x.astype(np.float64).mean(), "float32")
    np.testing.assert_array_equal(reduced(arrays, "amax", x, (1,)), x.max(1))
    np.testing.assert_array_equal(reduced(arrays, "all", x, (1,)), x.all(1))
    assert len(launched) == 8


# Softmax --------------------------------------------------------------------------------------------------------------


def exact_softmax(x, dim):
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        e = np.exp(x - np.max(x, dim, keepdims=True))
        return e / e.sum(dim, keepdims=True)


def exact_log_softmax(x, dim):
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        x = x - np.max(x, dim, keepdims=True)
        return x - np.log(np.exp(x).sum(dim, keepdims=True))


EXACT = {"softmax": exact_softmax, "log_softmax": exact_log_softmax}


def forward(arrays, name, x, dim, layout="contiguous"):
    out = arrays.empty(x.shape, x.dtype.name)
    getattr(softmax, name)(out, arrays.device(x, layout), dim=dim)
    return arrays.host(out)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_softmax(arrays, name, dtype, dim, layout):
    x = sample(arrays, (4, 3, 5), dtype)
    close(forward(arrays, name, x, dim, layout), EXACT[name](x, dim), dtype)


@pytest.mark.parametrize("name", EXACT)
def test_rows_too_long_for_a_tile(arrays, name, monkeypatch):
    monkeypatch.setattr(softmax, "LONGEST", 16)
    monkeypatch.setattr(softmax, "STEP", 16)
    x = sample(arrays, (3, 50), "float32") * 20
    x[1, :20] = -np.inf  # the first steps see nothing finite
    x[2] = -np.inf
    close(forward(arrays, name, x, 1), EXACT[name](x, 1), "float32")
    g, y = sample(arrays, (3, 50), "float64", 1), EXACT[name](sample(arrays, (3, 50), "float64"), 1)
    out = arrays.empty((3, 50), "float64")
    getattr(softmax, f"{name}_backward")(out, arrays.device(g), arrays.device(y), dim=1)
    close(arrays.host(out), exact_backward(name, g, y, 1), "float64")


@pytest.mark.parametrize("name", EXACT)
def test_softmax_of_infinities_and_nan(arrays, name):
    x = np.float32([[1, np.nan, 2], [np.nan] * 3, [np.inf, 0, 1], [-np.inf] * 3, [-np.inf, 0, 1], [1e4, -1e4, 0]])
    close(forward(arrays, name, x, 1), EXACT[name](x, 1), "float32")


def exact_backward(name, g, y, dim):
    if name == "softmax":
        return y * (g - (g * y).sum(dim, keepdims=True))
    return g - np.exp(y) * g.sum(dim, keepdims=True)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_softmax_backward(arrays, name, dtype, dim):
    y = arrays.cast(EXACT[name](sample(arrays, (4, 3, 5), "float64"), dim), dtype)
    g = sample(arrays, (4, 3, 5), dtype, 1)
    out = arrays.empty(y.shape, dtype)
    getattr(softmax, f"{name}_backward")(out, arrays.device(g, "transposed"), arrays.device(y), dim=dim)
    close(arrays.host(out), exact_backward(name, g.astype(np.float64), y.astype(np.float64), dim), dtype)


def test_softmax_backward_of_an_expanded_gradient(arrays):
    y = exact_softmax(sample(arrays, (3, 4), "float64"), 1)
    g = arrays.device(np.array(2.0)).broadcast((3, 4))
    out = arrays.empty((3, 4), "float64")
    softmax.log_softmax_backward(out, g, arrays.device(np.log(y)), dim=1)
    close(arrays.host(out), 2 - y * 8, "float64")


def test_softmax_of_zero_dimensional_and_empty_arrays(arrays, launched):
    np.testing.assert_array_equal(forward(arrays, "softmax", np.array(3.0), -1), 1)
    del launched[:]
    assert forward(arrays, "softmax", np.zeros((2, 0)), 1).shape == (2, 0)
    assert launched == []


# Indexing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "uint8", "bool"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_index_select(arrays, dtype, dim, layout):
    x = sample(arrays, (4, 3, 5), dtype)
    index = np.array([2, 0, 0, 1, 2, 2], np.int64)
    want = np.take(x, index, dim)
    out = arrays.empty(want.shape, dtype)
    indexing.index_select(out, arrays.device(x, layout), arrays.device(index, "strided"), dim=dim)
    np.testing.assert_array_equal(arrays.host(out), want)


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int32", "uint8"])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_index_add_counts_duplicates(arrays, dtype, dim):
    x = sample(arrays, (4, 3, 5), dtype)
    index = np.array([2, 0, 2, 1, 2, 2], np.int32)
    shape = tuple(6 if d == dim else s for d, s in enumerate(x.shape))
    source = sample(arrays, shape, dtype, 1)
    out = arrays.empty(x.shape, dtype)
    indexing.index_add(
        out, arrays.device(x, "transposed"), arrays.device(index), arrays.device(source, "strided"), dim=dim
    )
    want = np.moveaxis(x.astype(np.float64 if "float" in dtype else np.int64), dim, 0).copy()
    np.add.at(want, index, np.moveaxis(source, dim, 0).astype(want.dtype))
    want = np.moveaxis(want, 0, dim)
    if "float" in dtype:
        close(arrays.host(out), want, dtype)
    else:
        np.testing.assert_array_equal(arrays.host(out), want.astype(dtype))


def test_many_small_additions_to_one_bfloat16_are_not_lost(arrays):
    x, index = arrays.cast(np.zeros(1), "bfloat16"), np.zeros(1000, np.int64)
    out = arrays.empty((1,), "bfloat16")
    ones = arrays.device(arrays.cast(np.ones(1000), "bfloat16"))
    indexing.index_add(out, arrays.device(x), arrays.device(index), ones, dim=0)
    assert float(arrays.host(out)[0]) == 1000


@pytest.mark.traps
@pytest.mark.parametrize("bad", [4, -1, 2**40])
def test_an_index_out_of_range_is_an_error(arrays, bad):
    x, index = arrays.device(np.zeros((4, 2), np.float32)), arrays.device(np.array([0, bad], np.int64))
    out = arrays.empty((2, 2))
    with pytest.raises(IndexError, match="index out of range in index_select"):
        indexing.index_select(out, x, index, dim=0)
    with pytest.raises(IndexError, match="index out of range in index_add"):
        indexing.index_add(arrays.empty((4, 2)), x, index, out, dim=0)


def test_nothing_to_select_or_add(arrays, launched):
    x, index = arrays.device(np.ones((4, 2), np.float32)), arrays.device(np.zeros(0, np.int64))
    indexing.index_select(arrays.empty((0, 2)), x, index, dim=0)
    assert launched == []
    out = arrays.empty((4, 2))
    indexing.index_add(out, x, index, arrays.empty((0, 2)), dim=0)
    np.testing.assert_array_equal(arrays.host(out), np.ones((4, 2)))


# All families ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch):
    """Offsets in int64 everywhere, as arrays of more than 2**31 elements have them."""
    for module in (reduce, softmax, indexing):
        monkeypatch.setattr(module, "needs_int64", lambda *args: True)


@pytest.mark.usefixtures("wide")
def test_wide_offsets_change_nothing(arrays):
    x, index = sample(arrays, (4, 3, 5), "float64"), np.array([2, 0, 2], np.int64)
    np.testing.assert_allclose(reduced(arrays, "sum", x, (0, 2)), x.sum((0, 2)))
    close(forward(arrays, "softmax", x, 1), exact_softmax(x, 1), "float64")
    out = arrays.empty((4, 3, 5), "float64")
    softmax.softmax_backward(out, arrays.device(x), arrays.device(x), dim=0)
    close(arrays.host(out), exact_backward("softmax", x, x, 0), "float64")
    out = arrays.empty((3, 3, 5), "float64")
    indexing.index_select(out, arrays.device(x), arrays.device(index), dim=0)
    np.testing.assert_array_equal(arrays.host(out), x[index])
    total = arrays.empty((4, 3, 5), "float64")
    indexing.index_add(total, arrays.device(x), arrays.device(index), out, dim=0)
    want = x.copy()
    np.add.at(want, index, x[index])
    np.testing.assert_allclose(arrays.host(total), want)


def test_complex_is_refused_by_name(arrays):
    x = arrays.device(np.zeros((2, 2), np.complex64))
    with pytest.raises(NotImplementedError, match="_reduce: complex64 is not supported on cuda"):
        reduce.sum(arrays.empty((2,), "complex64"), x, dim=(0,))
