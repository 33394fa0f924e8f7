"""Adafactor and Muon, which treat matrices as such, beside PyTorch's."""

import numpy as np
import pytest
from nn_oracle import same, torch
from test_optim import close, pair, run, to_naiad, to_torch

import naiad
from naiad.optim.muon import orthogonalized

MATRICES = [(3, 4), (6, 2), (5, 5)]
ADAFACTOR = [
    {},
    {"lr": 0.5, "maximize": True},
    {"weight_decay": 0.1, "d": 2.0},
    {"beta2_decay": -0.5, "eps": (1e-3, 0.1)},
    {"foreach": True},
]
MUON = [{}, {"nesterov": False, "momentum": 0.5}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3, "lr": 0.01}]


@pytest.mark.parametrize("options", ADAFACTOR, ids=str)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 5e-5)])
def test_adafactor(options, dtype, rtol):
    """PyTorch takes powers of the step in float32, hence the tolerance."""
    ours, theirs = pair(dtype)
    opt, ref = naiad.optim.Adafactor(ours, **options), torch.optim.Adafactor(theirs, **options)
    run(ours, theirs, opt, ref, 20)
    close(ours, theirs, rtol)
    for p, q in zip(ours, theirs, strict=True):
        assert {k: tuple(v.shape) for k, v in opt.state[p].items()} == {
            k: tuple(v.shape) for k, v in ref.state[q].items()
        }


@pytest.mark.parametrize("options", MUON, ids=str)
def test_muon(options):
    """The update is computed in bfloat16, so its sums may differ in the last of 8 bits."""
    ours, theirs = pair("float32", MATRICES)
    opt, ref = naiad.optim.Muon(ours, **options), torch.optim.Muon(theirs, **options)
    run(ours, theirs, opt, ref, 20)
    lr = options.get("lr", 1e-3)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=0.02 * 20 * lr)
        np.testing.assert_allclose(
            opt.state[p]["momentum_buffer"], ref.state[q]["momentum_buffer"], rtol=1e-4, atol=1e-6
        )


def test_the_orthogonalized_has_singular_values_near_one():
    x = naiad.randn(8, 20)
    for matrix in (x, x.T):
        values = np.linalg.svd(orthogonalized(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7).float().numpy())[1]
        assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_state_goes_both_ways(name):
    ours, theirs = pair("float32", MATRICES)
    opt, ref = getattr(naiad.optim, name)(ours), getattr(torch.optim, name)(theirs)
    run(ours, theirs, opt, ref, 3)
    ref.load_state_dict(to_torch(opt.state_dict()))
    opt.load_state_dict(to_naiad(ref.state_dict()))
    run(ours, theirs, opt, ref, 3)
    close(ours, theirs, 1e-3)


def one(t, *shape, dtype="float32"):
    p = t.ones(*shape, dtype=getattr(t, dtype)).requires_grad_()
    p.grad = t.ones_like(p).detach()
    return [p]


REFUSALS = {
    **{
        f"Adafactor {options}": lambda t, options=options: t.optim.Adafactor(one(t, 2), **options)
        for options in (
            {"lr": -1.0},
            {"beta2_decay": 0.1},
            {"eps": (-1.0, 1.0)},
            {"eps": (None, -1.0)},
            {"d": 0.5},
            {"weight_decay": -1.0},
        )
    },
    **{
        f"Muon {options}": lambda t, options=options: t.optim.Muon(one(t, 2, 2), **options).step()
        for options in (
            {"lr": -1.0},
            {"momentum": -0.1},
            {"weight_decay": -1.0},
            {"adjust_lr_fn": "x"},
            {"ns_steps": 100},
            {"ns_coefficients": (1, 2)},
        )
    },
    "Muon vector": lambda t: t.optim.Muon(one(t, 2)),
    "Muon complex": lambda t: t.optim.Muon(one(t, 2, 2, dtype="complex64")).step(),
    "Adafactor complex": lambda t: t.optim.Adafactor(one(t, 2, 2, dtype="complex64")).step(),
    "shown": lambda t: repr(t.optim.Muon(one(t, 2, 2))) + repr(t.optim.Adafactor(one(t, 2))),
    "Muon closure": lambda t: t.optim.Muon(one(t, 2, 2)).step(lambda: 3),
    "Adafactor closure": lambda t: t.optim.Adafactor(one(t, 2, 2)).step(lambda: 3),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_as_pytorch(name):
    same(REFUSALS[name])
