"""Attention kernels against the op's NumPy body in float64, and against the composition of other ops."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

import naiad

pytest.importorskip("naiad.kernels.attention", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.attention_fused import _KERNELS, attention_op

F = naiad.nn.functional
# batch, heads, heads of key and value, queries, keys, width, width of values
CASES = {
    "square": (2, 2, 2, 20, 20, 8, 8),
    "ragged": (1, 3, 3, 5, 37, 6, 10),
    "shared": (2, 4, 2, 9, 17, 16, 16),
    "long": (1, 1, 1, 300, 290, 4, 4),
}


def operands(name):
    b, h, shared, length, keys, e, ev = CASES[name]
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(b, h, length, e)), rng.normal(size=(b, shared, keys, e))
    v, g = rng.normal(size=(b, shared, keys, ev)), rng.normal(size=(b, h, length, ev))
    return q, k, v, g, rng


def check(name, mask, causal, dtype="float32", layout="contiguous"):
    q, k, v, g, _ = operands(name)
    facts = dict(scale=0.4, causal=causal)
    tolerance = {"float32": 5e-5, "float16": 1e-2, "bfloat16": 0.1}[dtype]
    given = dict(dtype=dtype, layout=layout, tolerance=tolerance)
    agree(lambda *a: attention_op(*a, **facts)[0], q, k, v, mask, **given)
    here = [None if x is None else naiad.from_numpy(x) for x in (q, k, v, mask)]
    out, lse = (x.numpy() for x in attention_op(*here, **facts))

    def gradient(which, g, out, q, k, v, mask):
        rows = naiad.from_numpy(lse.astype(np.float32)).to(g.device)
        return _KERNELS[which](g, out, rows, q, k, v, mask, **facts)

    for which in "qkv":
        agree(lambda *a, which=which: gradient(which, *a), g, out, q, k, v, mask, **given)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("causal", [False, True])
def test_forward_and_gradients(name, causal):
    check(name, None, causal)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_dtypes_and_layouts(dtype, layout):
    check("shared", None, True, dtype, layout)


@pytest.mark.parametrize("shape", [(9, 17), (2, 1, 9, 17), (4, 1, 17), (2, 4, 9, 1)])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks(shape, kind):
    _, _, _, _, rng = operands("shared")
    mask = rng.random(shape) < 0.7
    mask.reshape(-1, shape[-1])[-1] = False  # a row that sees nothing
    check("shared", mask if kind == "bool" else np.where(mask, rng.normal(size=shape), -np.inf), False)


def test_public_function_takes_three_launches_backward(launched):
    q, k, v, g, _ = operands("square")
    q, k, v, g = (on_cuda(x.astype(np.float32)) for x in (q, k, v, g))
    for x in (q, k, v):
        x.requires_grad_()
    launched.clear()
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert launched == ["_attention_fwd"]
    out.backward(g)
    assert launched[1:] == ["_attention_bwd_q", "_attention_bwd_kv", "_attention_bwd_kv"]
    cpu = [x.detach().cpu().requires_grad_() for x in (q, k, v)]
    F.scaled_dot_product_attention(*cpu, is_causal=True).backward(g.cpu())
    for got, want in zip((q, k, v), cpu, strict=True):
        np.testing.assert_allclose(got.grad.cpu().numpy(), want.grad.numpy(), 1e-4, 1e-5)


def test_gradients_are_differentiable_again():
    q, k, v, _, _ = operands("shared")

    def second(device):
        xs = [naiad.from_numpy(x[:1, :2, :3].astype(np.float32)).to(device).requires_grad_() for x in (q, k, v)]
        out = F.scaled_dot_product_attention(*xs)
        first = naiad.autograd.grad((out * out).sum(), xs, create_graph=True)
        return naiad.autograd.grad(sum((g * g).sum() for g in first), xs)

    for got, want in zip(second("cuda"), second("cpu"), strict=True):
        np.testing.assert_allclose(got.cpu().numpy(), want.numpy(), 1e-3, 1e-4)


def test_nothing_to_attend_to():
    empty, full = np.zeros((1, 1, 0, 4)), np.ones((1, 1, 3, 4))
    agree(lambda q, k: attention_op(q, k, k, None, scale=1.0, causal=False), full, empty)
    agree(lambda q, k: attention_op(q, k, k, None, scale=1.0, causal=False), empty, full)
