"""Optimizers on the cuda device: one launch per step, and the same parameters as on the CPU."""

import numpy as np
import pytest
from kernel_check import on_cuda

import naiad

pytest.importorskip("naiad.kernels.optimizer", reason="needs Triton: pip install 'naiad[test]'")
optim = naiad.optim

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
    "asgd": lambda p: optim.ASGD(p, lr=0.01),
}
SHAPES = [(5, 7), (3,), (), (64, 32), (0, 2)]


def trained(name, device, dtype, steps=3):
    rng = np.random.default_rng(0)
    params = [on_cuda(rng.normal(size=s).astype(np.float32), dtype).to(device).requires_grad_() for s in SHAPES]
    optimizer = OPTIMIZERS[name](params)
    for _ in range(steps):
        for p in params:
            p.grad = on_cuda(rng.normal(size=tuple(p.shape)).astype(np.float32), dtype).to(device)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_steps_as_on_the_cpu(name):
    want, _ = trained(name, "cpu", naiad.float32, 6)
    got, _ = trained(name, "cuda", naiad.float32, 6)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), 2e-5, 2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype):
    want, _ = trained("adamw", "cpu", getattr(naiad, dtype))
    got, _ = trained("adamw", "cuda", getattr(naiad, dtype))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.detach().cpu().double().numpy(), b.detach().double().numpy(), 1e-2, 1e-3)


def test_one_launch_per_step_and_no_new_kernel_for_a_new_rate(launched):
    params, optimizer = trained("adamw", "cuda", naiad.float32)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    versions = [p._version[0] if isinstance(p._version, list) else p._version for p in params]
    launched.clear()
    optimizer.step()
    assert launched == ["_adam"]
    after = [p._version[0] if isinstance(p._version, list) else p._version for p in params]
    assert [b - a for a, b in zip(versions, after, strict=True)] == [1, 1, 1, 1, 0]


def test_a_parameter_that_is_a_view_with_gaps_is_updated_too():
    base = on_cuda(np.ones((4, 6), np.float32))
    param = base[:, ::2].detach().requires_grad_()
    param.grad = on_cuda(np.full((4, 3), 2, np.float32))
    optim.SGD([param], lr=0.25).step()
    want = np.ones((4, 6), np.float32)
    want[:, ::2] = 0.5
    np.testing.assert_array_equal(base.cpu().numpy(), want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("most", [0.5, 1e6])
def test_gradients_are_clipped_in_a_few_launches(launched, dtype, most):
    def clipped(device):
        rng = np.random.default_rng(0)
        params = [naiad.zeros(s, dtype=getattr(naiad, dtype), device=device).requires_grad_() for s in SHAPES]
        for p in params:
            p.grad = on_cuda(rng.normal(size=tuple(p.shape)), p.dtype).to(device)
        launched.clear()
        return naiad.nn.utils.clip_grad_norm_(params, most), params

    (want, here), (got, there) = clipped("cpu"), clipped("cuda")
    assert len(launched) <= 8
    assert got.dtype == want.dtype
    tolerance = 1e-2 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(got.cpu().double().item(), want.double().item(), tolerance)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a.grad.cpu().double().numpy(), b.grad.double().numpy(), tolerance)
