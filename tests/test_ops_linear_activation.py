"""A linear layer and its activation as one kernel: values, derivatives, launches."""

from __future__ import annotations

import pytest

import naiad
from naiad import nn
from naiad.nn import functional as F
from naiad.nn.modules.linear import activated
from naiad.ops.linear_activation import ACTIVATIONS, linear_activation

needs_cuda = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)


def operands(device, dtype=naiad.float32, bias=True):
    naiad.manual_seed(3)
    shapes = [(2, 5, 6), (7, 6), (7,)]
    made = [naiad.randn(*shape).to(device, dtype).requires_grad_() for shape in shapes]
    return made if bias else [*made[:2], None]


def composed(input, weight, bias, name):
    return getattr(F, name)(F.linear(input, weight, bias))


@needs_cuda
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [naiad.float32, naiad.float64, naiad.bfloat16])
def test_value_is_that_of_the_two_ops(name, bias, dtype):
    leaves = operands("cuda", dtype, bias)
    with naiad.no_grad(), naiad.cuda.ledger() as seen:
        out = linear_activation(*leaves, name)
    assert len(seen.launches) == 1
    expected = composed(*operands("cpu", naiad.float64, bias), name)
    tolerance = {naiad.bfloat16: 3e-2, naiad.float32: 1e-5, naiad.float64: 1e-12}[dtype]
    naiad.testing.assert_close(out.cpu().double(), expected.detach(), rtol=tolerance, atol=tolerance)


@needs_cuda
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_first_and_second_order(name):
    results = []
    for device, function in (("cuda", linear_activation), ("cpu", composed)):
        leaves = operands(device, naiad.float64)
        once = naiad.autograd.grad((function(*leaves, name) ** 2).sum(), leaves, create_graph=True)
        twice = naiad.autograd.grad(sum((g * g).sum() for g in once), leaves)
        results.append([g.detach().cpu() for g in (*once, *twice)])
    for got, expected in zip(*results, strict=True):
        naiad.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@needs_cuda
def test_relu_is_fused_under_grad_too_and_under_autocast():
    leaves = operands("cuda")
    with naiad.cuda.ledger() as seen:
        linear_activation(*leaves, "relu").grad_fn.name()
    assert len(seen.launches) == 1
    with naiad.autocast("cuda", naiad.bfloat16):
        out = linear_activation(*leaves, "relu")
    assert out.dtype is naiad.bfloat16
    out.float().sum().backward()
    assert all(t.grad is not None and t.grad.dtype is naiad.float32 for t in leaves)


@needs_cuda
def test_a_product_of_no_terms_is_the_bias():
    input, weight, bias = naiad.ones(2, 0).cuda(), naiad.ones(3, 0).cuda(), naiad.tensor([1.0, -1.0, 2.0]).cuda()
    assert linear_activation(input, weight, bias, "relu").tolist() == [[1.0, 0.0, 2.0]] * 2


def test_the_same_on_the_cpu_and_in_the_layers():
    leaves = operands("cpu")
    assert naiad.equal(linear_activation(*leaves, "gelu"), composed(*leaves, "gelu"))
    layer, x = nn.Linear(4, 3), naiad.randn(2, 4)
    assert naiad.equal(activated(layer, F.relu, x), F.relu(layer(x)))
    seen = []
    layer.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert naiad.equal(activated(layer, F.relu, x), F.relu(layer.forward(x)))
    assert seen == [naiad.Size([2, 3])]


def test_what_is_wrong_is_said_of_the_linear_layer():
    with pytest.raises(RuntimeError, match=r"linear: mat1 and mat2 shapes cannot be multiplied \(2x5 and 6x7\)"):
        linear_activation(naiad.ones(2, 5), naiad.ones(7, 6), None, "relu")
