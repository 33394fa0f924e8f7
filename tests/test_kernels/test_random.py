"""Philox in Triton against a Philox written here, and against the CPU's stream, bit for bit."""

import ml_dtypes
import numpy as np
import pytest

from naiad.core import random as core

random = pytest.importorskip("naiad.kernels.random", reason="needs Triton: pip install 'naiad[test]'")

DTYPES = ["float32", "float64", "float16", "bfloat16"]


def philox(seed, counter):
    """Philox4x32-10 in Python integers: the four lanes of one counter."""
    c = [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ key[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ key[1], p0 & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_known_answers():
    """The reference values of Random123 for counters and keys of zeros."""
    assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def draw(arrays, shape, dtype, seed, offset, low=0.0, high=1.0):
    out = arrays.empty(shape, dtype)
    random.uniform(out, seed=seed, offset=offset, low=low, high=high)
    return arrays.host(out)


@pytest.mark.parametrize("seed", [0, 42, 2**63 + 12345, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 7, 2**32 - 2, 2**40])
def test_lanes_of_a_draw(arrays, seed, offset):
    lanes = np.array([philox(seed, offset + c) for c in range(5)], np.uint32).ravel()
    got = draw(arrays, (18,), "float32", seed, offset)
    np.testing.assert_array_equal(got, (lanes[:18] >> 8).astype(np.float32) * np.float32(2**-24))
    pairs = lanes.astype(np.uint64).reshape(-1, 2)
    want = ((pairs[:, 0] << np.uint64(32) | pairs[:, 1]) >> np.uint64(11)) * 2.0**-53
    np.testing.assert_array_equal(draw(arrays, (9,), "float64", seed, offset), want[:9])
    want = (lanes[:18] >> 21).astype(np.float32) * np.float32(2**-11)
    np.testing.assert_array_equal(draw(arrays, (18,), "float16", seed, offset), want.astype(np.float16))
    want = (lanes[:18] >> 24).astype(np.float32) * np.float32(2**-8)
    np.testing.assert_array_equal(draw(arrays, (18,), "bfloat16", seed, offset), want.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (5, 7, 3)])
def test_equal_to_the_stream_of_the_cpu(arrays, dtype, shape):
    n = int(np.prod(shape))
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    want = core.unit_uniform(3, 11, n, kind).reshape(shape)
    np.testing.assert_array_equal(draw(arrays, shape, dtype, 3, 11), want)


def test_equal_over_many_programs(arrays):
    want = core.unit_uniform(1, 5, 200_003, np.dtype(np.float32))
    np.testing.assert_array_equal(draw(arrays, (200_003,), "float32", 1, 5), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranges_round_after_each_step(arrays, dtype):
    kind = np.dtype(dtype).type
    u = core.unit_uniform(9, 0, 1000, np.dtype(dtype))
    want = kind(-0.3) + (kind(0.7) - kind(-0.3)) * u
    np.testing.assert_array_equal(draw(arrays, (1000,), dtype, 9, 0, -0.3, 0.7), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_is_never_drawn_and_the_mean_is_a_half(arrays, dtype):
    u = draw(arrays, (20000,), dtype, 0, 0).astype(np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * 20000) + 2**-9


def test_an_empty_draw_launches_nothing(arrays, launched):
    assert draw(arrays, (0, 3), "float32", 0, 0).shape == (0, 3)
    assert launched == []
