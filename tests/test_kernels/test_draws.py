"""Normals, integers and dropout masks: the cuda device draws what the CPU draws."""

import numpy as np
import pytest

import naiad

pytest.importorskip("naiad.kernels.draws", reason="needs Triton: pip install 'naiad[test]'")
F = naiad.nn.functional


def both(draw):
    """The draw, and the one after it, on both devices from the same seed."""
    made = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(2**40 + 7)
        naiad.rand(3, device=device)
        made.append([draw(device).cpu(), draw(device).cpu()])
    assert not np.array_equal(made[0][0].double().numpy(), made[0][1].double().numpy())
    return zip(*made, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 7, 1000])
def test_normals(dtype, n):
    of = getattr(naiad, dtype)
    for cpu, cuda in both(lambda device: naiad.randn(n, device=device, dtype=of)):
        assert cuda.dtype is of
        tolerance = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-14}[dtype]
        np.testing.assert_allclose(cuda.double().numpy(), cpu.double().numpy(), tolerance, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_in_one_launch_is_that_of_the_cpu(dtype, p):
    """Values and two orders of derivatives, bit for bit, also where input is not contiguous; NaN * 0 as elsewhere."""
    of, base = getattr(naiad, dtype), naiad.linspace(-3, 3, 7 * 99)
    base[5] = float("inf")

    def draw(device):
        x = base.to(device, of).reshape(7, 99).t().requires_grad_()
        with naiad.cuda.ledger() as made:
            y = F.dropout(x, p)
        assert made.kernels == (["_copy", "_dropout"] if device == "cuda" else [])
        g = naiad.full_like(y, 0.7).requires_grad_()
        (first,) = naiad.autograd.grad(y, x, g, create_graph=True)
        (second,) = naiad.autograd.grad((first * 3).sum(), g)
        return naiad.stack([y.detach(), first.detach(), second])

    for cpu, cuda in both(draw):
        assert cuda.dtype is of
        np.testing.assert_array_equal(cuda.double().numpy(), cpu.double().numpy())
        assert abs(float((cpu[2] == 0).double().mean()) - p) < 0.08


def test_dropout_of_all_is_zero():
    assert F.dropout(naiad.ones(9, device="cuda"), 1.0).tolist() == [0] * 9


@pytest.mark.parametrize("bounds", [(0, 10), (-5, 2**24 - 5), (-(2**40), 2**40), (-(2**63), 2**63 - 1), (3, 3 + 2**24)])
@pytest.mark.parametrize("n", [2, 13, 1001])
def test_integers_are_equal(bounds, n):
    for cpu, cuda in both(lambda device: naiad.randint(*bounds, (n,), device=device)):
        np.testing.assert_array_equal(cuda.numpy(), cpu.numpy())
        assert cpu.min() >= bounds[0]
        assert cpu.max() < bounds[1]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32", "bfloat16"])
def test_integers_of_other_dtypes(dtype):
    for cpu, cuda in both(lambda device: naiad.randint(0, 200, (50,), device=device, dtype=getattr(naiad, dtype))):
        assert cuda.dtype is cpu.dtype
        np.testing.assert_array_equal(cuda.double().numpy(), cpu.double().numpy())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_masks_are_equal(p, dtype):
    of = getattr(naiad, dtype)
    for cpu, cuda in both(lambda device: F.dropout(naiad.ones(33, 301, device=device, dtype=of), p)):
        np.testing.assert_array_equal(cuda.double().numpy(), cpu.double().numpy())
    assert not F.dropout(naiad.ones(5, device="cuda"), 1.0).any()


def test_dropout_takes_one_launch(launched):
    x = naiad.ones(100, device="cuda")
    launched.clear()
    F.dropout(x, 0.5)
    assert launched == ["_dropout"]
