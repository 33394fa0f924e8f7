"""Matrix products against float64 NumPy."""

import numpy as np
import pytest

matmul = pytest.importorskip("naiad.kernels.matmul", reason="needs Triton: pip install 'naiad[test]'")

TOLERANCE = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}
SHAPES = [
    ((3, 4), (4, 5)),
    ((1, 1), (1, 1)),
    ((33, 70), (70, 17)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 3, 4), (4, 1, 4, 2)),
]


def product(arrays, a, b, layouts=("contiguous", "contiguous")):
    out = arrays.empty(np.matmul(a.astype("d"), b.astype("d")).shape, a.dtype.name)
    matmul.matmul(out, arrays.device(a, layouts[0]), arrays.device(b, layouts[1]))
    return arrays.host(out)


def normal(arrays, shape, dtype, seed):
    return arrays.cast(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("layouts", [(a, b) for a in ("contiguous", "transposed") for b in ("transposed", "strided")])
def test_shapes_and_layouts(arrays, shapes, layouts):
    a, b = (normal(arrays, s, "float64", i) for i, s in enumerate(shapes))
    np.testing.assert_allclose(product(arrays, a, b, layouts), a @ b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_float_dtypes(arrays, dtype):
    a, b = normal(arrays, (40, 65), dtype, 0), normal(arrays, (65, 50), dtype, 1)
    want = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(
        product(arrays, a, b).astype("d"), want, rtol=TOLERANCE[dtype], atol=8 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integers(arrays, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2 if dtype == "bool" else 100, s).astype(dtype) for s in ((20, 30), (30, 70)))
    np.testing.assert_array_equal(product(arrays, a, b), a @ b)


def test_large_integers_stay_exact(arrays):
    a = np.array([[2**40, 1]], np.int64)
    np.testing.assert_array_equal(product(arrays, a, a.T.copy()), [[2**80 % 2**64 + 1]])


def test_transposed_operands_and_heads_are_not_copied(arrays, launched):
    a, b = normal(arrays, (2, 5, 3, 4), "float32", 0), normal(arrays, (2, 5, 3, 4), "float32", 1)
    q = arrays.device(a).view((2, 3, 5, 4), (60, 4, 12, 1))  # heads before time
    k = arrays.device(b).view((2, 3, 4, 5), (60, 4, 1, 12))
    out = arrays.empty((2, 3, 5, 5))
    matmul.matmul(out, q, k)
    want = np.einsum("bihd,bjhd->bhij", a.astype("d"), b.astype("d"))
    np.testing.assert_allclose(arrays.host(out), want, rtol=2e-6, atol=1e-6)
    assert launched == ["_matmul"]


def test_a_batch_times_one_matrix_is_one_product(arrays):
    a, b = normal(arrays, (2, 3, 4), "float32", 0), normal(arrays, (4, 5), "float32", 1)
    out, x, y = matmul._matrices(arrays.empty((2, 3, 5)), arrays.device(a), arrays.device(b))
    assert (out.shape, x.shape, y.shape) == ((6, 5), (6, 4), (4, 5))


def test_tiles_in_groups_cover_the_product(arrays, monkeypatch):
    monkeypatch.setattr(matmul, "_tile", lambda m, n, k, dtype: (16, 16, 16, 4, 2))
    monkeypatch.setattr(matmul, "GROUP", 2)
    a, b = normal(arrays, (70, 20), "float64", 0), normal(arrays, (20, 50), "float64", 1)
    np.testing.assert_allclose(product(arrays, a, b), a @ b, rtol=1e-12, atol=1e-13)


def test_nothing_to_multiply(arrays, launched):
    assert product(arrays, np.zeros((0, 3)), np.zeros((3, 2))).shape == (0, 2)
    assert launched == []
    np.testing.assert_array_equal(product(arrays, np.zeros((2, 0)), np.zeros((0, 3))), np.zeros((2, 3)))


def test_nan_and_infinity_go_through(arrays):
    a = np.array([[1.0, np.inf], [np.nan, 1], [1, 1]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(product(arrays, a, np.eye(2)), a @ np.eye(2))


def test_wide_offsets_change_nothing(arrays, monkeypatch):
    monkeypatch.setattr(matmul, "needs_int64", lambda *args: True)
    a, b = normal(arrays, (2, 33, 20), "float64", 0), normal(arrays, (2, 20, 17), "float64", 1)
    np.testing.assert_allclose(product(arrays, a, b), a @ b, rtol=1e-12, atol=1e-13)
