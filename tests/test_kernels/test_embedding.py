"""Embedding and one-hot kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

pytest.importorskip("naiad.kernels.embedding", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.embedding import embedding_grad, embedding_op, one_hot_op, row_scale

INDEX = np.array([[3, 1, 3], [0, 3, 1]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("index", [INDEX, INDEX.astype(np.int32), INDEX.T, np.zeros((0, 2), int), np.array(2)])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("by_frequency", [False, True])
def test_lookup_and_gradient(dtype, index, padding, by_frequency):
    rng = np.random.default_rng(0)
    facts = dict(padding_idx=padding, by_frequency=by_frequency)
    agree(lambda w, i: embedding_op(w, i, **facts), rng.normal(size=(5, 6)), index, dtype=dtype, layout="transposed")
    g = rng.normal(size=(*index.shape, 6))
    agree(lambda g, i: embedding_grad(g, i, rows=5, **facts), g, index, dtype=dtype, layout="strided")


def test_many_halves_add_up_in_float32():
    agree(
        lambda g, i: embedding_grad(g, i, rows=2, padding_idx=None, by_frequency=False),
        *(np.ones((3000, 2)), np.zeros(3000, int)),
        dtype="bfloat16",
    )


def test_scales_of_rows():
    for by_frequency in (False, True):
        facts = dict(rows=5, padding_idx=1, by_frequency=by_frequency)
        got, want = row_scale(on_cuda(INDEX), **facts), row_scale(on_cuda(INDEX).cpu(), **facts)
        np.testing.assert_allclose(got.cpu().numpy(), want.numpy(), 1e-6)


def test_one_hot():
    agree(lambda i: one_hot_op(i, classes=5), INDEX)
    agree(lambda i: one_hot_op(i, classes=3), np.array(2))


@pytest.mark.traps
def test_a_class_that_one_hot_does_not_have_is_an_error():
    with pytest.raises(RuntimeError, match="Class values"):
        one_hot_op(on_cuda(INDEX), classes=3)


@pytest.mark.traps
def test_a_row_that_is_not_there_is_an_index_error():
    with pytest.raises(IndexError, match="out of range"):
        embedding_op(on_cuda(np.ones((3, 2), np.float32)), on_cuda(INDEX), padding_idx=None, by_frequency=False)
