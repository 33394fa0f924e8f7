"""GradScaler beside PyTorch's: the scale after every step, what is skipped, errors, checkpoints."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import naiad

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, or NAIAD_CUDA=interpret"),
    ),
]


def scaled_step(m: Any, scaler: Any, optimizer: Any, weight: Any, gradient: float, unscale: bool = False) -> None:
    """One iteration whose true gradient is `gradient` everywhere."""
    optimizer.zero_grad()
    scaler.scale((weight * gradient).sum()).backward()
    if unscale:
        scaler.unscale_(optimizer)
        m.nn.utils.clip_grad_norm_([weight], 1.0)
    scaler.step(optimizer)
    scaler.update()


def test_the_run_of_scales_and_weights_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    gradients = [1.0, 1.0, float("inf"), 1.0, float("nan"), 2.0, 1e38, 1.0, 1.0, 1.0, 0.5]
    runs = []
    for m in (naiad, torch):
        weight = m.ones(3).requires_grad_()
        optimizer = m.optim.SGD([weight], lr=0.1, momentum=0.9)
        scaler = m.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2, growth_factor=4.0, backoff_factor=0.25)
        seen = []
        for i, gradient in enumerate(gradients):
            scaled_step(m, scaler, optimizer, weight, gradient, unscale=i % 2 == 1)
            seen.append([scaler.get_scale(), scaler._get_growth_tracker(), *weight.tolist()])
        runs.append((seen, scaler.state_dict()))
    np.testing.assert_allclose(runs[0][0], runs[1][0], 1e-6)
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_is_skipped_on_inf_and_the_next_one_works(device: str) -> None:
    weight = naiad.ones(4, device=device).requires_grad_()
    optimizer = naiad.optim.SGD([weight], lr=0.1)
    scaler = naiad.amp.GradScaler(device, init_scale=1024.0, growth_interval=2)
    scaled_step(naiad, scaler, optimizer, weight, float("inf"))
    assert weight.tolist() == [1.0] * 4 and scaler.get_scale() == 512.0
    for _ in range(2):
        scaled_step(naiad, scaler, optimizer, weight, 1.0)
    np.testing.assert_allclose(weight.tolist(), 0.8, 1e-6)
    assert scaler.get_scale() == 1024.0


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, or NAIAD_CUDA=interpret")
def test_training_in_float16_on_cuda_backs_off_from_a_scale_that_overflows() -> None:
    """The first steps are skipped until the scale fits; those that follow learn."""
    naiad.manual_seed(3)
    model = naiad.nn.Sequential(naiad.nn.Linear(8, 16), naiad.nn.GELU(), naiad.nn.Linear(16, 1)).cuda()
    optimizer = naiad.optim.AdamW(model.parameters(), lr=0.02)
    scaler = naiad.amp.GradScaler("cuda", init_scale=2.0**24, growth_interval=100)
    x = naiad.randn(32, 8).cuda()
    y = x[:, :1] - x[:, 1:2]
    losses, taken = [], []
    for _ in range(24):
        before, scale = model[0].weight.detach().clone(), scaler.get_scale()
        with naiad.autocast("cuda"):
            loss = naiad.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        taken.append(not naiad.equal(before, model[0].weight))
        assert scaler.get_scale() == (scale if taken[-1] else scale / 2)
    skipped = taken.index(True)
    assert 2 <= skipped <= 16 and all(taken[skipped:])
    assert len(set(losses[: skipped + 1])) == 1 and losses[-1] < 0.8 * losses[0]


def test_float16_gradients_that_would_vanish_are_kept() -> None:
    """A gradient of 1e-8 is 0 in float16; scaled by 2 ** 16 it is not, and the scale that overflows backs off."""
    found = {}
    for enabled in (True, False):
        weight = naiad.ones(2, 2).requires_grad_()
        optimizer = naiad.optim.SGD([weight], lr=1.0)
        scaler = naiad.amp.GradScaler("cpu", enabled=enabled)
        with naiad.autocast("cpu", naiad.float16):
            loss = (naiad.eye(2) @ weight).float().sum() * 1e-8
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        found[enabled] = weight.grad.abs().max().item()
    assert found[False] == 0 and abs(found[True] - 1e-8) < 1e-10

    weight = naiad.ones(2, 2).requires_grad_()
    optimizer = naiad.optim.SGD([weight], lr=1e-3)
    scaler = naiad.amp.GradScaler("cpu")
    steps = 0
    while steps < 20 and (weight == 1).all():
        steps += 1
        with naiad.autocast("cpu", naiad.float16):
            loss = (naiad.eye(2) @ weight).float().pow(2).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert steps == 3 and scaler.get_scale() == 2.0**14


def test_two_optimizers_are_skipped_apart() -> None:
    good, bad = naiad.ones(2).requires_grad_(), naiad.ones(2).requires_grad_()
    optimizers = [naiad.optim.SGD([p], lr=0.1) for p in (good, bad)]
    scaler = naiad.amp.GradScaler("cpu", init_scale=8.0)
    losses = scaler.scale([good.sum(), (bad * float("inf")).sum()])
    assert isinstance(losses, list)
    for loss in losses:
        loss.backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert good[0].item() == pytest.approx(0.9) and bad[0].item() == 1 and scaler.get_scale() == 4.0


def test_disabled_it_passes_everything_through() -> None:
    weight = naiad.ones(2).requires_grad_()
    optimizer = naiad.optim.SGD([weight], lr=0.1)
    scaler = naiad.amp.GradScaler("cpu", enabled=False)
    loss = weight.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled()
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert weight[0].item() == pytest.approx(0.9)
    assert scaler.get_scale() == 1.0 and scaler.state_dict() == {}
    scaler.load_state_dict({})


def test_errors_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    found = []
    for m in (naiad, torch):
        weight = m.ones(2).requires_grad_()
        optimizer, idle = m.optim.SGD([weight], lr=0.1), m.optim.SGD([m.ones(1).requires_grad_()], lr=0.1)
        half = m.ones(2, dtype=m.float16).requires_grad_()
        half.grad = m.ones(2, dtype=m.float16)
        scaler = m.amp.GradScaler("cpu")
        errors: list = []

        def attempt(function: Any, *args: Any, errors: list = errors, **kwargs: Any) -> None:
            with pytest.raises(Exception) as caught:
                function(*args, **kwargs)
            errors.append(caught.type)

        attempt(m.amp.GradScaler, "cpu", growth_factor=1.0)
        attempt(m.amp.GradScaler, "cpu", backoff_factor=1.0)
        for method in (scaler.step, scaler.unscale_):
            attempt(method, optimizer)
        attempt(scaler.update)
        attempt(scaler.scale, 3)
        scaler.scale(weight.sum()).backward()
        attempt(scaler.step, optimizer, closure=lambda: None)
        attempt(scaler.step, idle)
        attempt(scaler.unscale_, m.optim.SGD([half], lr=0.1))
        scaler.unscale_(optimizer)
        attempt(scaler.unscale_, optimizer)
        attempt(pickle.dumps, scaler)
        scaler.step(optimizer)
        attempt(scaler.unscale_, optimizer)
        attempt(scaler.step, optimizer)
        attempt(scaler.update, m.ones(2))
        scaler.update(m.tensor(32.0))
        assert scaler.get_scale() == 32.0
        scaler.update(16.0)
        assert scaler.get_scale() == 16.0
        attempt(scaler.update)
        attempt(scaler.load_state_dict, {})
        found.append(errors)
    assert found[0] == found[1]


def test_a_checkpoint_goes_on_where_it_stopped() -> None:
    weight = naiad.ones(2).requires_grad_()
    optimizer = naiad.optim.SGD([weight], lr=0.1)
    scaler = naiad.amp.GradScaler("cpu", init_scale=64.0, growth_interval=5)
    for _ in range(3):
        scaled_step(naiad, scaler, optimizer, weight, 1.0)
    fresh = naiad.amp.GradScaler("cpu")
    fresh.load_state_dict(scaler.state_dict())
    for other in (fresh, pickle.loads(pickle.dumps(scaler))):
        assert other.state_dict() == scaler.state_dict()
        scaled_step(naiad, other, optimizer, weight, 1.0)
        assert other._get_growth_tracker() == 4 and other.get_scale() == 64.0
    fresh.load_state_dict(scaler.state_dict())  # into one that is in use already
    assert fresh.state_dict() == scaler.state_dict()


def test_an_optimizer_that_scales_by_itself() -> None:
    """`_step_supports_amp_scaling`: it is told the scale and what was found, and stepped in any case."""

    class Own(naiad.optim.SGD):
        _step_supports_amp_scaling = True
        told: list = []

        def step(self, closure: Any = None) -> None:
            self.told.append((self.grad_scale and self.grad_scale.item(), self.found_inf.item()))

    weight = naiad.ones(2).requires_grad_()
    optimizer, scaler = Own([weight], lr=0.1), naiad.amp.GradScaler("cpu", init_scale=8.0)
    for gradient in (1.0, float("inf")):
        scaled_step(naiad, scaler, optimizer, weight, gradient)
    assert Own.told == [(8.0, 0.0), (8.0, 1.0)] and scaler.get_scale() == 4.0
    assert not hasattr(optimizer, "grad_scale")


def test_without_cuda_it_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naiad.core.backend, "device_count", lambda: 0)
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not naiad.amp.GradScaler().is_enabled()
    with pytest.warns(UserWarning, match="CUDA is not available"), naiad.autocast("cuda"):
        assert not naiad.is_autocast_enabled("cuda")
