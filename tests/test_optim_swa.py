"""Weight averaging against PyTorch's."""

import numpy as np
import pytest

import naiad
from naiad.optim import swa_utils

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

AVERAGES = {
    "default": lambda m: {},
    "ema": lambda m: {"avg_fn": m.get_ema_avg_fn(0.9)},
    "multi ema": lambda m: {"multi_avg_fn": m.get_ema_multi_avg_fn(0.9)},
    "multi swa, buffers": lambda m: {"multi_avg_fn": m.get_swa_multi_avg_fn(), "use_buffers": True},
}


def values(rng):
    return rng.standard_normal((3, 2)), rng.standard_normal(3)


@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_model(name):
    results = []
    for lib in (naiad, torch):
        rng = np.random.default_rng(0)
        model = lib.nn.Linear(2, 3, dtype=lib.float64)
        averaged = lib.optim.swa_utils.AveragedModel(model, **AVERAGES[name](lib.optim.swa_utils))
        for _ in range(4):
            with lib.no_grad():
                for p, value in zip(model.parameters(), values(rng), strict=True):
                    p.copy_(lib.tensor(value))
            averaged.update_parameters(model)
        state = averaged.state_dict()
        results.append((list(state), [np.asarray(v.numpy()) for v in state.values()]))
    assert results[0][0] == results[1][0]
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        # PyTorch's weight 1 / (n + 1) is a float32 in "multi swa".
        np.testing.assert_allclose(ours, theirs, rtol=1e-6 if name.startswith("multi swa") else 1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swalr(strategy):
    rows = []
    for lib in (naiad, torch):
        opt = lib.optim.SGD([{"params": [lib.zeros(2)]}, {"params": [lib.zeros(1)], "lr": 0.4}], lr=0.1)
        scheduler = lib.optim.swa_utils.SWALR(opt, [0.05, 0.02], anneal_epochs=5, anneal_strategy=strategy)
        rows.append([])
        for _ in range(9):
            opt.step()
            scheduler.step()
            rows[-1].append(scheduler.get_last_lr())
    assert rows[0] == rows[1]


def test_update_bn():
    norms = []
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((8, 4)) for _ in range(3)]
    for lib in (naiad, torch):
        model = lib.nn.Sequential(lib.nn.BatchNorm1d(4, dtype=lib.float64)).eval()
        lib.optim.swa_utils.update_bn([(lib.tensor(b), 0) for b in batches], model)
        assert not model.training and model[0].momentum == 0.1
        norms.append((model[0].running_mean.numpy(), model[0].running_var.numpy()))
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-12)


def test_bad_input():
    opt = naiad.optim.SGD([naiad.zeros(2)], lr=0.1)
    with pytest.raises(ValueError, match=r"\[0,1\] range"):
        swa_utils.get_ema_avg_fn(1.5)
    with pytest.raises(ValueError, match="'cos' or 'linear'"):
        swa_utils.SWALR(opt, 0.1, anneal_strategy="cubic")
    with pytest.raises(ValueError, match="anneal_epochs"):
        swa_utils.SWALR(opt, 0.1, anneal_epochs=-1)
    with pytest.raises(AssertionError, match="Only one of"):
        swa_utils.AveragedModel(naiad.nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)
