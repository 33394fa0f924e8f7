"""Pooling kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

import naiad

pytest.importorskip("naiad.kernels.pool", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.pool import max_pool_grad, max_pool_op, pick_place, place_indices
from naiad.ops.pool_avg import avg_pool_grad, avg_pool_op

# size, kernel, stride, padding, dilation, ceil
CASES = {
    "1d": ((7,), (3,), (2,), (1,), (1,), False),
    "1d dilated": ((9,), (2,), (1,), (1,), (3,), False),
    "2d": ((5, 6), (2, 3), (2, 1), (1, 1), (1, 1), False),
    "2d ceil": ((5, 7), (3, 3), (2, 2), (1, 1), (1, 1), True),
    "3d": ((4, 5, 3), (2, 2, 2), (2, 1, 1), (0, 1, 1), (1, 1, 1), True),
}


def facts_of(name):
    size, kernel, stride, padding, dilation, ceil = CASES[name]
    return size, dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_maxima_and_their_gradient(name, dtype, layout):
    size, facts = facts_of(name)
    x = np.random.default_rng(0).permutation(6 * int(np.prod(size))).reshape(2, 3, *size) / 8.0
    agree(lambda x: max_pool_op(x, places=True, **facts), x, dtype=dtype, layout=layout)
    _, place = max_pool_op(naiad.from_numpy(x), places=True, **facts)
    g = np.random.default_rng(1).normal(size=place.shape)
    agree(lambda g, p: max_pool_grad(g, p, size=size, **facts), g, place.numpy(), dtype=dtype, layout=layout)
    agree(lambda x, p: pick_place(x, p, **facts), x, place.numpy(), dtype=dtype, layout=layout)
    agree(lambda p: place_indices(p, size=size, **facts), place.numpy())


@pytest.mark.parametrize("name", [n for n in CASES if "dilated" not in n])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("include_pad", [False, True])
@pytest.mark.parametrize("override", [None, 3])
def test_means_and_their_gradient(name, dtype, include_pad, override):
    size, facts = facts_of(name)
    del facts["dilation"]
    facts.update(include_pad=include_pad, override=override)
    x = np.random.default_rng(0).normal(size=(2, 3, *size))
    agree(lambda x: avg_pool_op(x, **facts), x, dtype=dtype)
    g = np.random.default_rng(1).normal(size=avg_pool_op(naiad.from_numpy(x), **facts).shape)
    agree(lambda g: avg_pool_grad(g, size=size, **facts), g, dtype=dtype, layout="strided")


def test_nan_infinities_integers_and_nothing():
    facts = dict(kernel=(2,), stride=(1,), padding=(0,), dilation=(1,), ceil=False, places=True)
    agree(lambda x: max_pool_op(x, **facts), np.array([[1.0, np.nan, 3.0, -np.inf, -np.inf, np.inf]]))
    agree(lambda x: max_pool_op(x, **facts), np.array([[-5, -7, 2, 2]]))
    agree(lambda x: max_pool_op(x, **facts), np.zeros((0, 4)))
