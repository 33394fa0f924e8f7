"""Convolution kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

pytest.importorskip("naiad.kernels.conv", reason="needs Triton: pip install 'naiad[test]'")
from naiad.kernels import conv_rows
from naiad.ops.conv import conv_input_grad, conv_op, conv_weight_grad

# input size, kernel, stride, padding, dilation, channels in and out, groups
CASES = {
    "1d": ((9,), (3,), (1,), (0,), (1,), 3, 4, 1),
    "1d strided": ((11,), (4,), (3,), (2,), (2,), 4, 6, 2),
    "2d": ((6, 5), (3, 2), (1, 1), (1, 0), (1, 1), 3, 5, 1),
    "2d strided": ((7, 8), (3, 3), (2, 3), (1, 2), (2, 1), 4, 6, 2),
    "2d depthwise": ((5, 5), (3, 3), (1, 1), (1, 1), (1, 1), 3, 6, 3),
    "2d pointwise": ((4, 3), (1, 1), (1, 1), (0, 0), (1, 1), 20, 18, 1),
    "3d": ((4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 2, 3, 1),
}


def operands(name, batch=2):
    size, kernel, stride, padding, dilation, c, o, groups = CASES[name]
    rng = np.random.default_rng(0)
    facts = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    x, w, b = rng.normal(size=(batch, c, *size)), rng.normal(size=(o, c // groups, *kernel)), rng.normal(size=o)
    steps = zip(size, kernel, stride, padding, dilation, strict=True)
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in steps]
    return x, w, b, rng.normal(size=(batch, o, *out)), facts


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
def test_forward_and_both_gradients(name, layout):
    x, w, b, g, facts = operands(name)
    agree(lambda x, w, b: conv_op(x, w, b, **facts), x, w, b, layout=layout)
    agree(lambda x, w: conv_op(x, w, None, **facts), x, w, layout=layout)
    agree(lambda g, w: conv_input_grad(g, w, size=x.shape[2:], **facts), g, w, layout=layout)
    agree(lambda g, x: conv_weight_grad(g, x, kernel=w.shape[2:], **facts), g, x, layout=layout)


@pytest.mark.parametrize("dtype", [*FLOATS, "float64"])
def test_dtypes(dtype):
    x, w, b, g, facts = operands("2d strided")
    tolerance = {"float16": 1e-2, "bfloat16": 0.1}.get(dtype)
    agree(lambda x, w, b: conv_op(x, w, b, **facts), x, w, b, dtype=dtype, tolerance=tolerance)
    agree(lambda g, w: conv_input_grad(g, w, size=x.shape[2:], **facts), g, w, dtype=dtype, tolerance=tolerance)
    agree(lambda g, x: conv_weight_grad(g, x, kernel=(3, 3), **facts), g, x, dtype=dtype, tolerance=tolerance)


def test_channels_last_is_read_where_it_lies(launched):
    x, w, _, _, facts = operands("2d")
    last = on_cuda(x.transpose(0, 2, 3, 1).astype(np.float32)).permute(0, 3, 1, 2)
    w = on_cuda(w.astype(np.float32))
    launched.clear()
    got = conv_op(last, w, None, **facts)
    assert launched == ["_conv"]
    want = conv_op(last.cpu().contiguous(), w.cpu(), None, **facts)
    np.testing.assert_allclose(got.cpu().numpy(), want.numpy(), 1e-5, 1e-5)


def test_no_images():
    x, w, b, g, facts = operands("2d")
    agree(lambda x, w, b: conv_op(x, w, b, **facts), x[:0], w, b)
    agree(lambda g, w: conv_input_grad(g, w, size=x.shape[2:], **facts), g[:0], w)
    agree(lambda g, x: conv_weight_grad(g, x, kernel=w.shape[2:], **facts), g[:0], x[:0])


# input size, kernel, stride, padding, dilation, channels in and out, groups: channels in sixteens
ROWS = {
    "1d": ((9,), (3,), (2,), (1,), (1,), 16, 32, 1),
    "2d": ((6, 5), (3, 2), (1, 1), (1, 0), (1, 1), 32, 16, 1),
    "2d strided in groups": ((7, 8), (3, 3), (2, 3), (1, 2), (2, 1), 48, 32, 1),
    "2d groups": ((5, 6), (3, 3), (1, 2), (1, 1), (1, 1), 32, 64, 2),
    "2d pointwise": ((4, 3), (1, 1), (1, 1), (0, 0), (1, 1), 80, 48, 1),
    "3d": ((4, 3, 5), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 16, 16, 1),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
def test_channels_that_lie_together(name, layout, monkeypatch, launched):
    monkeypatch.setattr(conv_rows, "PRODUCTS", 0)
    monkeypatch.setitem(CASES, name, ROWS[name])
    x, w, b, g, facts = operands(name)
    agree(lambda x, w, b: conv_op(x, w, b, **facts), x, w, b, layout=layout)
    agree(lambda x, w: conv_op(x, w, None, **facts), x, w, layout=layout)
    agree(lambda g, w: conv_input_grad(g, w, size=x.shape[2:], **facts), g, w, layout=layout)
    agree(lambda g, x: conv_weight_grad(g, x, kernel=w.shape[2:], **facts), g, x, layout=layout)
    assert {"_conv_rows", "_conv_rows_weight_grad"} <= set(launched)
    assert not {"_conv", "_conv_weight_grad"} & set(launched)


@pytest.mark.parametrize("dtype", FLOATS)
def test_channels_that_lie_together_in_dtypes(dtype, monkeypatch, launched):
    monkeypatch.setattr(conv_rows, "PRODUCTS", 0)
    monkeypatch.setitem(CASES, "2d groups", ROWS["2d groups"])
    x, w, b, g, facts = operands("2d groups")
    tolerance = {"float16": 2e-2, "bfloat16": 0.2}.get(dtype)
    agree(lambda x, w, b: conv_op(x, w, b, **facts), x, w, b, dtype=dtype, tolerance=tolerance)
    agree(lambda g, w: conv_input_grad(g, w, size=x.shape[2:], **facts), g, w, dtype=dtype, tolerance=tolerance)
    agree(lambda g, x: conv_weight_grad(g, x, kernel=(3, 3), **facts), g, x, dtype=dtype, tolerance=tolerance)
    assert {"_conv_rows", "_conv_rows_weight_grad"} <= set(launched)


def test_images_that_lie_so_already_are_not_copied(monkeypatch, launched):
    monkeypatch.setattr(conv_rows, "PRODUCTS", 0)
    monkeypatch.setitem(CASES, "2d", ROWS["2d"])
    x, w, _, _, facts = operands("2d")
    last = on_cuda(x.transpose(0, 2, 3, 1).astype(np.float32)).permute(0, 3, 1, 2)
    w = on_cuda(w.astype(np.float32))
    launched.clear()
    conv_op(last, w, None, **facts)
    assert [name for name in launched if name != "_conv_rows"] == launched[:1]  # the weights


def test_small_sums_take_one_launch(launched):
    x, w = on_cuda(np.ones((2, 16, 5, 5), np.float32)), on_cuda(np.ones((16, 16, 3, 3), np.float32))
    launched.clear()
    conv_op(x, w, None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    assert launched == ["_conv"]
