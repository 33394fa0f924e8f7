"""The gradients of select, slices and splits on the cuda device: one launch where one dimension is cut, and right."""

import numpy as np
import pytest

import naiad

pytest.importorskip("naiad.kernels.embed", reason="needs Triton: pip install 'naiad[test]'")
ONE = {
    "select": lambda x: x[1],
    "select last": lambda x: x[:, :, -1],
    "select in the middle": lambda x: x.select(1, 2),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "every second": lambda x: x[:, 1::2],
    "every third of the last": lambda x: x[..., ::3],
    "empty": lambda x: x[2:2],
    "all": lambda x: x[0:],
}
SEVERAL = {
    "chunk": lambda x: x.chunk(2, dim=2)[1],
    "two slices": lambda x: x[1:, :2],
    "slice and select": lambda x: x[0, 1:],
    "new dimension": lambda x: x[:, None, 0],
    "permuted": lambda x: x.permute(2, 0, 1)[1:3],
}


def gradients(cut, device, dtype):
    """The gradient of a cut tensor (3, 4, 7), and that gradient's; the kernels of the first."""
    x = naiad.arange(84.0).reshape(3, 4, 7).to(device, dtype).requires_grad_()
    y = cut(x)
    g = naiad.arange(float(y.numel())).reshape(y.shape).to(device, dtype).requires_grad_()
    with naiad.cuda.ledger() as made:
        (first,) = naiad.autograd.grad(y, x, g, create_graph=True)
    (second,) = naiad.autograd.grad(first, g, first.detach() + 1)
    return first.detach().cpu(), second.cpu(), made.kernels


@pytest.mark.parametrize("dtype", [naiad.float32, naiad.bfloat16, naiad.float64, naiad.complex64])
@pytest.mark.parametrize("name", ONE | SEVERAL)
def test_gradients_are_those_of_the_cpu(name, dtype):
    cut = (ONE | SEVERAL)[name]
    cpu, cuda = gradients(cut, "cpu", dtype), gradients(cut, "cuda", dtype)
    for here, there in zip(cpu[:2], cuda[:2], strict=True):
        assert there.dtype is dtype
        np.testing.assert_array_equal(there.to(naiad.complex128).numpy(), here.to(naiad.complex128).numpy())
    if name in ONE and dtype is not naiad.complex64:
        assert cuda[2] == ["_embed"]


def test_a_gradient_that_is_not_contiguous_and_large_dimensions():
    x = naiad.zeros(5, 6, 2000, device="cuda", requires_grad=True)
    g = naiad.arange(5.0 * 2000).reshape(2000, 5).cuda().t()
    x[:, 3].backward(g)
    found = x.grad.cpu()
    np.testing.assert_array_equal(found[:, 3].numpy(), g.cpu().numpy())
    assert float(found.abs().sum()) == float(g.cpu().sum())
