"""Normalization kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

import naiad

pytest.importorskip("naiad.kernels.norm", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.norm import normalized, normalized_grad, normalized_weight_grad

F = naiad.nn.functional

# view, axes, affine: layer norm over one and two dimensions, group, batch, instance and RMS norm
VIEWS = {
    "layer": ((5, 7), (1,), (1, 7)),
    "layer2": ((3, 4, 6), (1, 2), (1, 4, 6)),
    "group": ((2, 3, 2, 5), (2, 3), (1, 3, 2, 1)),
    "batch": ((4, 3, 5), (0, 2), (1, 3, 1)),
    "instance": ((2, 3, 1, 5), (2, 3), (1, 3, 1, 1)),
    "long": ((2, 20000), (1,), (1, 20000)),
    "one": ((3, 1), (1,), (1, 1)),
    "rms": ((5, 7), (1,), (1, 7)),
    "rms long": ((2, 20000), (1,), (1, 20000)),
}


def operands(kind, seed=0):
    rng = np.random.default_rng(seed)
    view, axes, affine = VIEWS[kind]
    x = rng.normal(1, 2, view)
    w, b = rng.normal(1, 0.5, (2, int(np.prod(affine))))
    return (
        x,
        rng.normal(size=view),
        w,
        b,
        dict(view=view, axes=axes, affine=affine, eps=1e-5, centred=not kind.startswith("rms")),
    )


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_forward(kind, dtype):
    x, _, w, b, facts = operands(kind)
    agree(lambda x, w, b: normalized(x, w, b, **facts)[0], x, w, b, dtype=dtype)
    given = slice(1 if facts["centred"] else 2, 3)  # there is no mean of what is not centred
    agree(lambda x: [t.to(x.dtype) for t in normalized(x, None, None, **facts)[given]], x, dtype=dtype)


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients(kind, dtype):
    x, g, w, _, facts = operands(kind)
    mean = x.mean(facts["axes"], keepdims=True) * facts["centred"]
    var = ((x - mean) ** 2).mean(facts["axes"], keepdims=True)
    agree(lambda *a: normalized_grad(*a, **facts), g, x, w, mean, var, dtype=dtype)
    tolerance = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 0.1}[dtype]
    agree(lambda *a: normalized_weight_grad(*a, **facts), g, x, mean, var, dtype=dtype, tolerance=tolerance)


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_layouts_and_missing_operands(layout):
    x, g, w, b, facts = operands("batch")
    mean, var = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
    agree(lambda x: normalized(x, None, None, **facts), x, layout=layout)
    agree(lambda x, w: normalized(x, w, None, **facts), x, w, layout=layout)
    agree(lambda x, b: normalized(x, None, b, **facts), x, b, layout=layout)
    agree(lambda g, x, m, v: normalized_grad(g, x, None, m, v, **facts), g, x, mean, var, layout=layout)


def test_float64_and_a_large_mean():
    x, _, w, b, facts = operands("layer")
    agree(lambda x, w, b: normalized(x, w, b, **facts), x, w, b, dtype="float64")
    x, _, w, b, facts = operands("long")
    agree(lambda x, w, b: normalized(x, w, b, **facts)[2], x + 1000, w, b, tolerance=1e-3)


def test_nothing_to_normalize():
    facts = dict(view=(0, 3), axes=(1,), affine=(1, 3), eps=1e-5, centred=True)
    x, w = np.zeros((0, 3)), np.ones(3)
    agree(lambda x, w: normalized(x, w, w, **facts), x, w)
    empty = np.zeros((0, 1))
    agree(lambda *a: normalized_weight_grad(*a, **facts), x, x, empty, empty)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("kind", ["layer", "group", "batch", "rms"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_of_halves_are_float32(kind, dtype, device):
    x, _, _, _, facts = operands(kind)
    half = naiad.from_numpy(x).to(device, getattr(naiad, dtype))
    out, mean, var = normalized(half, None, None, **facts)
    assert (out.dtype, mean.dtype, var.dtype) == (half.dtype, naiad.float32, naiad.float32)
    exact = half.double().cpu().numpy()
    centre = exact.mean(facts["axes"], keepdims=True) * facts["centred"]
    np.testing.assert_allclose(var.cpu().numpy(), ((exact - centre) ** 2).mean(facts["axes"], keepdims=True), 1e-5)
    if facts["centred"]:
        np.testing.assert_allclose(mean.cpu().numpy(), centre, 1e-5, 1e-6)


def test_running_statistics_of_halves_are_not_rounded_on_the_way():
    x = naiad.from_numpy(np.random.default_rng(0).normal(3, 2, (64, 2, 9))).bfloat16()
    for device in ("cpu", "cuda"):
        running = naiad.zeros(2, device=device), naiad.zeros(2, device=device)
        F.batch_norm(x.to(device), *running, training=True, momentum=1.0)
        np.testing.assert_allclose(running[0].cpu().numpy(), x.double().mean((0, 2)).numpy(), 1e-5)
        np.testing.assert_allclose(running[1].cpu().numpy(), x.double().var((0, 2)).numpy(), 1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rms_norm_is_one_kernel_forward_and_two_backward(dtype, launched):
    values = np.random.default_rng(0).normal(size=(6, 33))
    results = []
    for device, of in (("cuda", dtype), ("cpu", dtype)):
        x, w = (naiad.from_numpy(v).to(device, getattr(naiad, of)).requires_grad_() for v in (values, values[0] + 1))
        launched.clear()
        out = F.rms_norm(x, (33,), w)
        forward = launched[:]
        out.backward(out.detach())
        if device == "cuda":
            assert forward == ["_normalize"]
            assert launched[1:] == ["_normalize_grad", "_normalize_weight_grad"]
        results.append([t.detach().double().cpu().numpy() for t in (out, x.grad, w.grad)])
    tolerance = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 0.1}[dtype]
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, tolerance, tolerance)


def test_rms_norm_of_halves_with_weights_in_float32_equals_pytorchs():
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    x, w = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)[:, :, :8], np.linspace(0.5, 2, 8)
    there = torch.nn.functional.rms_norm(torch.from_numpy(x).double(), (8,), torch.from_numpy(w))
    for device in ("cpu", "cuda"):
        mine = naiad.from_numpy(x).to(device, naiad.bfloat16)
        weight = naiad.from_numpy(w).to(device, naiad.float32).requires_grad_()
        out = F.rms_norm(mine, (8,), weight)
        assert out.dtype is naiad.bfloat16
        np.testing.assert_allclose(out.detach().double().cpu().numpy(), there.numpy(), 2e-2, 2e-2)
        out.float().sum().backward()
        assert weight.grad.dtype is naiad.float32
