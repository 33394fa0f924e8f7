"""Modules moved to the cuda device (simulated where there is none) compute there what they compute on the CPU."""

import numpy as np
import pytest
from nn_oracle import flat, from_

import naiad
from naiad import nn

pytestmark = pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a GPU, or triton for the simulated one")

MODULES = {
    "linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "activations": (lambda: nn.Sequential(nn.GELU(), nn.SiLU(), nn.Tanh(), nn.ELU(), nn.ReLU()), (3, 4)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), (3, 4)),
    "softmax": (lambda: nn.Softmax(dim=-1), (3, 4)),
    "lstm": (lambda: nn.LSTM(4, 3, bidirectional=True), (3, 2, 4)),
    "gru": (lambda: nn.GRU(4, 3), (3, 2, 4)),
}


def run(module, x):
    """Outputs and gradients, with the same random draws each time."""
    naiad.manual_seed(1)
    x = x.detach().requires_grad_()
    outputs = flat(module(x))
    sum((output * output).sum() for output in outputs).backward()
    return [from_(t.cpu()) for t in (*outputs, x.grad, *(p.grad for p in module.parameters()))]


@pytest.mark.parametrize("name", MODULES)
def test_same_on_both_devices(name):
    make, shape = MODULES[name]
    module, x = make(), naiad.randn(*shape)
    expected = run(module, x)
    module.zero_grad()
    held = list(module.parameters())
    assert module.to("cuda") is module
    assert all(p is q for p, q in zip(held, module.parameters(), strict=True))
    assert all(p.is_cuda for p in held)
    for found, wanted in zip(run(module, x.cuda()), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert all(p.grad.is_cuda for p in held)
    assert not any(p.is_cuda or p.grad.is_cuda for p in module.cpu().parameters())


def test_state_dicts_cross_devices():
    here, there = nn.Linear(3, 2), nn.Linear(3, 2, device="cuda")
    there.load_state_dict(here.state_dict())
    assert there.weight.is_cuda
    assert naiad.equal(there.weight.cpu(), here.weight)


def test_the_seed_gives_the_same_weights_on_both_devices():
    made = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(4)
        made.append(nn.Linear(5, 7, device=device))
    assert naiad.equal(made[0].weight, made[1].weight.cpu())
    assert naiad.equal(made[0].bias, made[1].bias.cpu())


def test_lengths_of_packed_sequences_are_on_the_cpu_where_cuda_is_the_default():
    naiad.set_default_device("cuda")
    try:
        packed = nn.utils.rnn.pack_sequence([naiad.ones(2, 1), naiad.ones(1, 1)])
        padded, lengths = nn.utils.rnn.pad_packed_sequence(packed)
    finally:
        naiad.set_default_device(None)
    assert packed.data.is_cuda and padded.is_cuda
    assert packed.batch_sizes.tolist() == [2, 1] and packed.batch_sizes.device.type == "cpu"
    assert lengths.tolist() == [2, 1] and lengths.device.type == "cpu"
