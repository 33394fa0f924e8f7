"""The gradients of a normalization's weight and bias: one launch for both, the CPU's values, each also by itself."""

import numpy as np
import pytest

import naiad

pytest.importorskip("naiad.kernels.norm", reason="needs Triton: pip install 'naiad[test]'")
F = naiad.nn.functional
grad = naiad.autograd.grad
NORMS = {
    "layer": ((5, 33), (33,), lambda x, w, b: F.layer_norm(x, (33,), w, b)),
    "layer of two": ((3, 4, 6), (4, 6), lambda x, w, b: F.layer_norm(x, (4, 6), w, b)),
    "group": ((2, 6, 5), (6,), lambda x, w, b: F.group_norm(x, 3, w, b)),
    "batch": ((4, 3, 5), (3,), lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
    "instance": ((2, 3, 5), (3,), lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
}


def operands(name, device, dtype=naiad.float32):
    shape, affine, norm = NORMS[name]
    rng = np.random.default_rng(0)
    made = [naiad.from_numpy(rng.normal(1, 2, s)).to(device, dtype) for s in (shape, affine, affine, shape)]
    return *(t.requires_grad_() for t in made[:3]), made[3], norm


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", NORMS)
def test_weight_and_bias_together(name, dtype, launched):
    found = []
    for device in ("cpu", "cuda"):
        x, w, b, g, norm = operands(name, device, getattr(naiad, dtype))
        y = norm(x, w, b)
        launched.clear()
        y.backward(g)
        assert launched == ([] if device == "cpu" else ["_normalize_weight_grad", "_normalize_grad"])
        found.append([t.grad.double().cpu().numpy() for t in (x, w, b)])
    tolerance = {"float32": 1e-4, "float64": 1e-12, "bfloat16": 0.1}[dtype]
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, tolerance, tolerance)


@pytest.mark.parametrize("name", NORMS)
def test_one_of_them_and_derivatives_of_both(name):
    found = []
    for device in ("cpu", "cuda"):
        x, w, b, g, norm = operands(name, device)
        y = norm(x, w, b)
        results = [*grad(y, w, g, retain_graph=True), *grad(y, b, g, retain_graph=True)]
        with naiad.cuda.ledger() as made:
            results += grad(y, b, g, retain_graph=True)
        assert "_normalize_weight_grad" not in made.kernels
        both = grad(y, (w, b), g, create_graph=True)
        results += [t.detach() for t in both] + [*grad((both[0] * both[0].detach()).sum(), x)]
        frozen = norm(x, w.detach(), b)
        results += grad(frozen, (x, b), g)
        found.append([t.cpu().numpy() for t in results])
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, 1e-3, 1e-3)


def test_a_weight_that_has_been_overwritten_is_still_found():
    x, w, b, g, norm = operands("layer", "cuda")
    y = norm(x, w, b)
    with naiad.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match=r"normalized saved weight .* at version 0, and it is at version 1"):
        y.backward(g)


def test_nothing_to_add_up():
    x, w, b = (naiad.ones(n, 3, device="cuda", requires_grad=True) for n in (0, 1, 1))
    F.layer_norm(x, (3,), w[0], b[0]).sum().backward()
    assert w.grad.tolist() == b.grad.tolist() == [[0, 0, 0]]
