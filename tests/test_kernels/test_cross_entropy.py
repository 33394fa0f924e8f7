"""Cross entropy kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

pytest.importorskip("naiad.kernels.cross_entropy", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.cross_entropy import cross_entropy_grad, cross_entropy_op, nll_grad, nll_op

SHAPES = [(6, 5), (5,), (2, 5, 3), (2, 4, 3, 2), (3, 9000)]


def operands(shape, seed=0):
    rng = np.random.default_rng(seed)
    classes = shape[1] if len(shape) > 1 else shape[0]
    target = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    return rng.normal(0, 2, shape), np.asarray(target), rng.uniform(0.5, 2, classes)


def facts(reduction="mean", smoothing=0.0, ignore=-100):
    return dict(ignore=ignore, reduction=reduction, smoothing=smoothing)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_and_gradients(shape, reduction, smoothing):
    x, target, w = operands(shape)
    given = facts(reduction, smoothing, ignore=int(target.flat[0]) if target.size > 1 else -100)
    g = np.random.default_rng(1).normal(size=target.shape if reduction == "none" else ())
    tolerance = 1e-4 if x.size > 1000 else None
    for weight in (w, None):
        agree(lambda x, t, w: cross_entropy_op(x, t, w, **given), x, target, weight, tolerance=tolerance)
        agree(lambda x, t, w: nll_op(x, t, w, **given), x, target, weight, tolerance=tolerance)
        agree(lambda g, p, t, w: cross_entropy_grad(g, p, t, w, **given), g, np.exp(-abs(x)), target, weight)
        agree(lambda g, t, w: nll_grad(g, t, w, shape=shape, **given), g, target, weight)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_dtypes_and_layouts(dtype, layout):
    x, target, w = operands((6, 5, 2))
    agree(lambda x, t, w: cross_entropy_op(x, t, w, **facts()), x, target, w, dtype=dtype, layout=layout)
    agree(lambda x, t: cross_entropy_op(x, t, None, **facts()), x, target.astype(np.uint8), dtype=dtype)


def test_everything_ignored_or_nothing_there():
    x, _, _ = operands((4, 3))
    given = facts(ignore=1)
    agree(lambda x, t: cross_entropy_op(x, t, None, **given), x, np.full(4, 1))
    agree(lambda x, t: cross_entropy_op(x, t, None, **facts("sum")), np.zeros((0, 3)), np.zeros(0, int))
    agree(lambda x, t: nll_op(x, t, None, **facts()), np.zeros((0, 3)), np.zeros(0, int))


def test_infinite_scores_and_a_weight_of_zero():
    x = np.array([[0.0, -np.inf, 1.0], [np.inf, 0.0, 1.0], [1.0, 2.0, -np.inf]])
    agree(lambda x, t, w: nll_op(x, t, w, **facts("none")), x, np.array([1, 0, 1]), np.array([0.0, 1.0, 1.0]))
    agree(lambda x, t: cross_entropy_op(x, t, None, **facts("none"))[0], x[[0, 2]], np.array([1, 0]))


@pytest.mark.traps
def test_a_class_out_of_range_is_an_index_error():
    with pytest.raises(IndexError, match="class"):
        cross_entropy_op(on_cuda(np.zeros((2, 3), np.float32)), on_cuda(np.array([0, 3])), None, **facts())
