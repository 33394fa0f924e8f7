"""The affine map of a linear layer and its gradients on the cuda device, against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

matmul = pytest.importorskip("naiad.kernels.matmul", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.linear import flat_matmul, flat_outer, linear_op  # noqa: E402

SHAPES = [(6, 5), (2, 3, 5), (5,), (0, 5), (2, 3, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
def test_linear_and_its_gradients(shape, dtype, layout):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=shape), rng.normal(size=(7, 5)), rng.normal(size=7)
    g = rng.normal(size=(*shape[:-1], 7))
    agree(linear_op, x, w, b, dtype=dtype, layout=layout)
    agree(linear_op, x, w, None, dtype=dtype, layout=layout)
    agree(flat_matmul, g, w, dtype=dtype, layout=layout)
    agree(flat_outer, g, x, dtype=dtype, layout=layout)


def test_a_bias_alone_is_the_sum_of_no_products():
    agree(linear_op, np.zeros((3, 0)), np.zeros((4, 0)), np.arange(4.0))
    agree(linear_op, np.ones((3, 2)), np.ones((4, 2)), np.array([2.0]))


def test_a_product_of_many_terms_is_the_sum_of_its_parts(arrays):
    a, b = np.random.default_rng(0).normal(size=(2, 64, 8)).astype(np.float32)
    for turned in (False, True):
        out = arrays.empty((8, 8))
        given = out.view((8, 8), (1, 8)) if turned else out
        matmul._in_parts(given, arrays.device(a).view((8, 64), (1, 8)), arrays.device(b), 4)
        want = a.T.astype(np.float64) @ b
        np.testing.assert_allclose(arrays.host(out), want.T if turned else want, rtol=1e-5, atol=1e-5)


def test_one_launch_per_linear_layer(launched):
    x, w, b = (on_cuda(np.ones(s, np.float32)) for s in ((2, 3, 5), (7, 5), (7,)))
    launched.clear()
    linear_op(x, w, b)
    assert launched == ["_matmul"]


def test_gradients_of_leaves_are_not_copied_but_never_shared(launched):
    x, w = (on_cuda(np.ones(s, np.float32)).requires_grad_() for s in ((3, 5), (7, 5)))
    g = on_cuda(np.ones((3, 7), np.float32))
    out = linear_op(x, w, None)
    launched.clear()
    out.backward(g)
    assert launched == ["_matmul", "_matmul"]
    y, z = (on_cuda(np.ones((3, 7), np.float32)).requires_grad_() for _ in range(2))
    (y + z).backward(g)
    y.grad.mul_(2.0)
    assert z.grad.cpu().tolist() == g.cpu().tolist() == np.ones((3, 7)).tolist()
    (y.reshape(-1).reshape(3, 7) * 1.0 + z.reshape(21).reshape(3, 7)).backward(g)
    z.grad.mul_(5.0)
    assert g.cpu().tolist() == np.ones((3, 7)).tolist()
