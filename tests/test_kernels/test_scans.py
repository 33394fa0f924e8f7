"""Positions, variances and running sums in Triton, against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

import naiad

pytest.importorskip("naiad.kernels.scan", reason="needs Triton: pip install 'naiad[test]'")

SHAPES = {"rows": ((3, 5), 1), "columns": ((4, 3), 0), "middle": ((2, 5, 3), 1), "long": ((2, 5000), 1)}
LAYOUTS = ["contiguous", "transposed", "strided"]


def sample(shape):
    """Multiples of 1/4 with ties, which every dtype holds."""
    return np.random.default_rng(0).integers(-20, 20, shape) / 4


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_positions(name, layout):
    shape, dim = SHAPES[name]
    x = sample(shape)
    for function in (naiad.argmax, naiad.argmin, naiad.max, naiad.min):
        agree(lambda x, f=function: f(x, dim), x, layout=layout)
    agree(naiad.argmax, x, layout=layout)
    agree(lambda x: naiad.max(x, dim), (x * 4).astype(np.int64), layout=layout)
    agree(lambda x: naiad.argmin(x, dim, keepdim=True), (x * 4).astype(np.int8), layout=layout)
    agree(lambda x: naiad.count_nonzero(x, dim), x, layout=layout)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_is_the_extreme_and_the_first_is_told(dtype):
    x = np.array([[1, np.nan, 3, np.nan], [np.inf, 1, np.inf, 2], [-np.inf, -np.inf, -np.inf, -np.inf], [1, 2, 2, 1]])
    for function in (naiad.argmax, naiad.argmin, naiad.max, naiad.min):
        agree(lambda x, f=function: f(x, 1), x, dtype=dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_variance_and_log_sum_exp(dtype, name, layout):
    shape, dim = SHAPES[name]
    x = np.random.default_rng(0).normal(3, 1, shape)
    tolerance = 1e-4 if dtype == "float32" else None
    agree(lambda x: naiad.var(x, dim), x, dtype=dtype, layout=layout, tolerance=tolerance)
    agree(lambda x: naiad.var(x, correction=0), x, dtype=dtype, layout=layout, tolerance=tolerance)
    agree(lambda x: naiad.logsumexp(x, dim), x, dtype=dtype, layout=layout)
    agree(lambda x: naiad.logsumexp(x, tuple(range(x.ndim))), x, dtype=dtype, layout=layout)


def test_variance_far_from_zero_and_in_parts(arrays):
    agree(lambda x: naiad.var(x), 1000 + np.random.default_rng(0).normal(size=(70000,)), tolerance=1e-3)
    from naiad.kernels import statistics

    x = np.random.default_rng(1).normal(5, 2, (2, 700)).astype(np.float32)
    kept, statistics._splits = statistics._splits, lambda programs, steps: 3
    tiles, statistics._tile = statistics._tile, lambda *facts: (2, 128, 4)
    try:
        for function, want in ((statistics.var, x.var(1, ddof=1)), (statistics.logsumexp, np.log(np.exp(x).sum(1)))):
            out = arrays.empty((2,))
            function(out, arrays.device(x), dim=(1,))
            np.testing.assert_allclose(arrays.host(out), want, rtol=1e-5)
    finally:
        statistics._splits, statistics._tile = kept, tiles


def test_log_sum_exp_of_infinities():
    x = np.array([[np.inf, 0, 1], [-np.inf] * 3, [np.nan, 1, 2], [-np.inf, 0, 1], [1000, 1000, 999]])
    agree(lambda x: naiad.logsumexp(x, 1), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_running_sums(dtype, name, layout):
    shape, dim = SHAPES[name]
    agree(lambda x: naiad.cumsum(x, dim), sample(shape), dtype=dtype, layout=layout)


@pytest.mark.parametrize("name", ["rows", "columns", "middle"])
def test_other_scans(name):
    shape, dim = SHAPES[name]
    x = sample(shape)
    agree(lambda x: naiad.cumprod(x, dim), x)
    agree(lambda x: naiad.cumsum(x, dim), (x * 4).astype(np.int32))
    for function in (naiad.cummax, naiad.cummin):
        agree(lambda x, f=function: f(x, dim), x)
        agree(lambda x, f=function: f(x, dim), (x * 4).astype(np.int8))
    agree(lambda x: naiad.logcumsumexp(x, dim), np.where(x > 4, -np.inf, x))


def test_running_extremes_keep_a_nan():
    x = np.array([[1.0, 3.0, np.nan, 5.0, np.nan], [2.0, 2.0, 1.0, 3.0, 3.0]])
    for function in (naiad.cummax, naiad.cummin):
        agree(lambda x, f=function: f(x, 1), x)


def test_nothing_and_numbers():
    agree(lambda x: naiad.cumsum(x, 0), np.array(3.0))
    agree(lambda x: naiad.cumsum(x, 1), np.zeros((2, 0)))
    agree(lambda x: naiad.cummax(x, 0), np.array(3.0))
    agree(lambda x: naiad.argmax(x), np.array(3.0))
    agree(lambda x: naiad.logsumexp(x, 1), np.zeros((2, 0)))
    agree(lambda x: naiad.argmax(x, 1), np.zeros((0, 2)))
