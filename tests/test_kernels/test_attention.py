"""Attention kernels against the op's NumPy body in float64, and against the composition of other ops."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

import naiad

pytest.importorskip("naiad.kernels.attention", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.attention_fused import _ATTENTION, _GRADIENTS

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


def check(name, mask, causal, dtype="float32", layout="contiguous", drop=None):
    q, k, v, g, _ = operands(name)
    facts = dict(scale=0.4, causal=causal, drop=drop)
    tolerance = {"float32": 5e-5, "float16": 1e-2, "bfloat16": 0.1}[dtype]
    given = dict(dtype=dtype, layout=layout, tolerance=tolerance)
    attend = _ATTENTION[drop is not None]
    agree(lambda *a: attend(*a, **facts)[0], q, k, v, mask, **given)
    here = [None if x is None else naiad.from_numpy(x) for x in (q, k, v, mask)]
    out, lse = (x.numpy() for x in attend(*here, **facts))

    def gradient(which, g, out, q, k, v, mask):
        rows = naiad.from_numpy(lse.astype(np.float32)).to(g.device)
        return _GRADIENTS[which][drop is not None](g, out, rows, q, k, v, mask, **facts)

    learns = mask is not None and mask.dtype != bool
    for which in ("q", "k", "v", "both", *(["mask"] if learns else [])):
        agree(lambda *a, which=which: gradient(which, *a), g, out, q, k, v, mask, **given)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("causal", [False, True])
def test_forward_and_gradients(name, causal):
    check(name, None, causal)


@pytest.mark.parametrize("drop", [None, (0.25, 5, 3)])
def test_more_pairs_of_batch_and_head_than_a_grid_takes_are_several_launches(drop, monkeypatch, launched):
    """At 65536 pairs the interpreter takes minutes: the limit is lowered. It refuses grids that a GPU refuses."""
    from naiad.kernels import attention

    assert attention.MOST_PAIRS <= 65535
    monkeypatch.setattr(attention, "MOST_PAIRS", 3)
    mask = np.random.default_rng(1).normal(size=(2, 4, 9, 17))
    check("shared", mask, False, drop=drop)
    assert launched.count("_attention_fwd") == 3 and launched.count("_attention_bwd_mask") == 3


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_dtypes_and_layouts(dtype, layout):
    check("shared", None, True, dtype, layout)


@pytest.mark.parametrize(("name", "causal", "p"), [
    ("shared", False, 0.25), ("shared", True, 0.9), ("ragged", True, 0.5), ("square", False, 0.25),
    ("square", True, 0.9), ("long", True, 0.25),
])  # fmt: skip
def test_dropout(name, causal, p):
    check(name, None, causal, drop=(p, 2**40 + 3, 2**32 - 5))


@pytest.mark.parametrize(("keys", "dtype"), [(16, "float32"), (17, "bfloat16"), (17, "float32"), (260, "float16")])
def test_dropout_marks_the_weights_that_the_cpu_marks(keys, dtype):
    """Values that are one-hot show the weights: those left out are the same ones, whatever the rounding."""
    q, k = (np.random.default_rng(i).normal(size=(2, 3, n, 8)) for i, n in ((0, 21), (1, keys)))
    found = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(9)
        naiad.rand(5)
        xs = [naiad.from_numpy(x).to(device, getattr(naiad, dtype)) for x in (q, k)]
        for start in range(0, keys, 256):
            state = naiad.get_rng_state()
            v = naiad.eye(keys, dtype=xs[0].dtype, device=device)[:, start : start + 256].expand(2, 3, -1, -1)
            found.append((F.scaled_dot_product_attention(*xs, v, dropout_p=0.3).cpu() != 0).numpy())
            after = naiad.get_rng_state()
            naiad.set_rng_state(state)
        found.append(after.numpy())
    half = len(found) // 2
    for cpu, cuda in zip(found[:half], found[half:], strict=True):
        np.testing.assert_array_equal(cuda, cpu)
    assert 0.6 < found[0].mean() < 0.8


def test_dropout_of_everything():
    x = naiad.ones(1, 1, 4, 8, device="cuda", requires_grad=True)
    out = F.scaled_dot_product_attention(x, x, x, dropout_p=1.0)
    out.sum().backward()
    assert not out.any()
    assert not x.grad.any()


@pytest.mark.parametrize(
    "shape",
    [(9, 17), (17,), (2, 1, 9, 17), (4, 1, 17), (2, 4, 9, 1), (1, 4, 9, 17), (9, 1), (2, 1, 1, 17), (1, 1, 1, 1)],
)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks(shape, kind):
    _, _, _, _, rng = operands("shared")
    mask = rng.random(shape) < 0.7
    mask.reshape(-1, shape[-1])[-1] = False  # a row that sees nothing
    check("shared", mask if kind == "bool" else np.where(mask, rng.normal(size=shape), -np.inf), False)


def test_public_function_takes_two_launches_backward(launched):
    q, k, v, g, _ = operands("square")
    q, k, v, g = (on_cuda(x.astype(np.float32)) for x in (q, k, v, g))
    for x in (q, k, v):
        x.requires_grad_()
    launched.clear()
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert launched == ["_attention_fwd"]
    out.backward(g)
    assert launched[1:] == ["_attention_bwd_kv", "_attention_bwd_q"]
    cpu = [x.detach().cpu().requires_grad_() for x in (q, k, v)]
    F.scaled_dot_product_attention(*cpu, is_causal=True).backward(g.cpu())
    for got, want in zip((q, k, v), cpu, strict=True):
        np.testing.assert_allclose(got.grad.cpu().numpy(), want.grad.numpy(), 1e-4, 1e-5)


SHAPES = {
    "vectors in rows": ((5, 8), (7, 8), (7, 3)),
    "one head": ((3, 5, 8), (3, 7, 8), (3, 7, 8)),
    "one batch of keys": ((2, 3, 5, 8), (1, 3, 7, 8), (1, 3, 7, 4)),
    "one head of keys": ((2, 3, 5, 8), (2, 1, 7, 8), (2, 1, 7, 4)),
    "keys of lower rank": ((2, 3, 5, 8), (7, 8), (7, 4)),
    "five dimensions": ((2, 2, 3, 5, 8), (2, 2, 3, 7, 8), (2, 1, 3, 7, 4)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("mask", [None, (5, 7), (2, 1, 5, 7), (2, 2, 1, 5, 7)])
def test_no_call_makes_a_buffer_of_queries_and_keys(name, mask, launched):
    """Whatever broadcasts, with dropout and a mask that learns: the fused kernels, and the CPU's results."""
    rng = np.random.default_rng(3)
    if mask is not None and len(mask) > len(SHAPES[name][0]):
        mask = mask[-len(SHAPES[name][0]) :]
    if name == "one head" and mask and len(mask) > 2:
        mask = (3, 1, 7)
    shapes = [*SHAPES[name], *([mask] if mask else [])]
    values = [rng.normal(size=s).astype(np.float32) for s in shapes]
    results = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(3)
        xs = [naiad.from_numpy(x.copy()).to(device).requires_grad_() for x in values]
        launched.clear()
        out = F.scaled_dot_product_attention(*xs, dropout_p=0.2)
        out.backward(out.detach() * 0.5 + 1)
        results.append([out, *(x.grad for x in xs)])
    assert launched.count("_attention_fwd") == 1
    assert launched.count("_attention_bwd_mask") == (mask is not None)
    assert not {"_matmul", "_softmax"} & set(launched)
    for cpu, cuda in zip(*results, strict=True):
        np.testing.assert_allclose(cuda.detach().cpu().numpy(), cpu.detach().numpy(), 2e-4, 2e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_masks_are_differentiable_again(dropout):
    q, k, v, _, rng = operands("shared")
    bias = rng.normal(size=(1, 2, 3, 17))

    def second(device):
        naiad.manual_seed(4)
        given = (q[:1, :2, :3], k[:1, :2], v[:1, :2], bias)
        xs = [naiad.from_numpy(x.astype(np.float32)).to(device).requires_grad_() for x in given]
        out = F.scaled_dot_product_attention(*xs, dropout_p=dropout)
        first = naiad.autograd.grad((out * out).sum(), xs, create_graph=True)
        return *first, *naiad.autograd.grad(sum((g * g).sum() for g in first), xs)

    for got, want in zip(second("cuda"), second("cpu"), strict=True):
        np.testing.assert_allclose(got.detach().cpu().numpy(), want.detach().numpy(), 1e-3, 1e-4)


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
    agree(lambda q, k: _ATTENTION[0](q, k, k, None, scale=1.0, causal=False, drop=None), full, empty)
    agree(lambda q, k: _ATTENTION[0](q, k, k, None, scale=1.0, causal=False, drop=None), empty, full)
