"""Windows and look-ups in Triton, against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

import naiad

pytest.importorskip("naiad.kernels.windows", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.fold import col2im, im2col
from naiad.ops.pool_adaptive import adaptive_max_op
from naiad.ops.strides import fold_windows

FOLDS = [
    dict(kernel=(3, 2), dilation=(1, 1), padding=(0, 0), stride=(1, 1)),
    dict(kernel=(2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 3)),
]


@pytest.mark.parametrize("facts", FOLDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_unfolding_and_folding(facts, dtype, layout):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    agree(lambda x: im2col(x, **facts), x, dtype=dtype, layout=layout)
    columns = np.random.default_rng(1).normal(size=im2col(naiad.from_numpy(x), **facts).shape)
    agree(lambda c: col2im(c, size=(6, 5), **facts), columns, dtype=dtype, layout=layout)


@pytest.mark.parametrize("size_step", [(3, 1), (2, 3), (4, 2)])
def test_windows_along_a_dimension_fold_back(size_step):
    size, step = size_step
    facts = dict(shape=(2, 9, 3), dim=1, size=size, step=step)
    windows = (9 - size) // step + 1
    agree(lambda g: fold_windows(g, **facts), np.random.default_rng(0).normal(size=(2, windows, 3, size)))


@pytest.mark.parametrize("target", [(3,), (2, 3), (5, 7), (2, 1, 4)])
def test_adaptive_maxima(target):
    x = np.random.default_rng(0).permutation(2 * 5 * 7 * 6).reshape(2, 5, 7, 6) / 4.0
    agree(lambda x: adaptive_max_op(x, target=target), x)
    agree(lambda x: adaptive_max_op(x, target=target), np.where(x > 90, np.nan, x))


@pytest.mark.parametrize("side", ["left", "right"])
def test_searching(side):
    row = np.array([-np.inf, 0.0, 1.0, 1.0, 2.5, np.inf, np.nan])
    values = np.array([[-np.inf, -1.0, 0.0, 1.0], [2.0, 3.0, np.inf, np.nan]])
    agree(lambda r, v: naiad.searchsorted(r, v, side=side), row, values)
    agree(lambda r, v: naiad.searchsorted(r, v, side=side, out_int32=True), np.arange(9), np.arange(-2, 12))
    rows = np.sort(np.random.default_rng(0).normal(size=(2, 3, 10)))
    agree(lambda r, v: naiad.searchsorted(r, v, side=side), rows, np.random.default_rng(1).normal(size=(2, 3, 4)))
    agree(lambda r, v: naiad.searchsorted(r, v, side=side), np.zeros(0), np.ones(3))


def test_membership():
    agree(naiad.isin, np.arange(12).reshape(3, 4), np.array([1, 5, 99]))
    agree(naiad.isin, np.array([0.5, np.nan, 2.0]), np.array([2.0, np.nan]))
    agree(naiad.isin, np.arange(3), np.zeros(0, int))
    agree(naiad.isin, np.arange(3), np.array([1.0, 2.5]))
