"""nn.init and the initial values of layers: exact where they are exact, in distribution where they are drawn."""

import math

import numpy as np
import pytest
from nn_oracle import from_, outcome, same, torch

import naiad
from naiad import nn
from naiad.nn import init

DRAWN = {
    "uniform_": ({}, {"a": -2.0, "b": 3.0}),
    "normal_": ({}, {"mean": 1.0, "std": 0.5}),
    "trunc_normal_": ({}, {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 1.5}),
    "xavier_uniform_": ({}, {"gain": 2.0}),
    "xavier_normal_": ({}, {"gain": 2.0}),
    "kaiming_uniform_": ({}, {"a": 0.3, "mode": "fan_out"}),
    "kaiming_normal_": ({}, {"nonlinearity": "relu"}),
}


def drawn(lib, name, options, shape=(60, 20, 3, 5)):
    tensor = lib.empty(*shape)
    assert getattr(lib.nn.init, name)(tensor, **options) is tensor
    assert not tensor.requires_grad
    return from_(tensor)


def assert_same_distribution(ours, theirs):
    """Means within five standard errors, spreads and quantiles within a few percent of the spread."""
    spread = theirs.std()
    assert abs(ours.mean() - theirs.mean()) < 5 * spread * math.sqrt(2 / ours.size)
    assert abs(ours.std() - spread) < 10 * spread / math.sqrt(ours.size)
    quantiles = np.linspace(0.02, 0.98, 13)
    gaps = np.quantile(ours, quantiles) - np.quantile(theirs, quantiles)
    assert np.abs(gaps).max() < 12 * spread / math.sqrt(ours.size)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", DRAWN)
def test_distributions(name, which):
    options = DRAWN[name][which]
    naiad.manual_seed(3)
    torch.manual_seed(3)
    assert_same_distribution(drawn(naiad, name, options), drawn(torch, name, options))


@pytest.mark.parametrize("name", DRAWN)
def test_generators_make_draws_repeatable(name):
    tensors = [naiad.empty(4, 5) for _ in range(3)]
    for tensor, seed in zip(tensors, (1, 1, 2), strict=True):
        getattr(init, name)(tensor, generator=naiad.Generator().manual_seed(seed))
    assert naiad.equal(tensors[0], tensors[1])
    assert not naiad.equal(tensors[0], tensors[2])


EXACT = {
    "constant": lambda t: t.nn.init.constant_(t.empty(2, 3), 0.25),
    "ones": lambda t: t.nn.init.ones_(t.empty(2)),
    "zeros": lambda t: t.nn.init.zeros_(t.empty(2)),
    "eye": lambda t: t.nn.init.eye_(t.empty(2, 3)),
    "dirac": lambda t: t.nn.init.dirac_(t.empty(4, 2, 3, 3), groups=2),
    "dirac 1d": lambda t: t.nn.init.dirac_(t.empty(3, 5, 4)),
    "parameter": lambda t: t.nn.init.ones_(t.nn.Parameter(t.zeros(2))),
    "gains": lambda t: [
        t.nn.init.calculate_gain(n) for n in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu")
    ],
    "leaky gains": lambda t: [t.nn.init.calculate_gain("leaky_relu", a) for a in (None, 0.2, 1)],
    "fans": lambda t: t.nn.init._calculate_fan_in_and_fan_out(t.empty(4, 3, 2, 5)),
    "unknown gain": lambda t: t.nn.init.calculate_gain("swish"),
    "bad slope": lambda t: t.nn.init.calculate_gain("leaky_relu", "x"),
    "no fan": lambda t: t.nn.init.xavier_normal_(t.empty(3)),
    "eye rank": lambda t: t.nn.init.eye_(t.empty(3)),
    "dirac rank": lambda t: t.nn.init.dirac_(t.empty(3, 3)),
    "dirac groups": lambda t: t.nn.init.dirac_(t.empty(3, 3, 1), groups=2),
    "sparse rank": lambda t: t.nn.init.sparse_(t.empty(3), 0.5),
    "orthogonal rank": lambda t: t.nn.init.orthogonal_(t.empty(3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact(name):
    same(EXACT[name])


def test_unknown_mode():
    script = lambda t: t.nn.init.kaiming_normal_(t.empty(2, 2), mode="fan")  # noqa: E731 - a script like the others
    assert outcome(script, "naiad")[0] == outcome(script, "torch")[0] == "ValueError"


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 4)])
def test_orthogonal(shape):
    weight = from_(init.orthogonal_(naiad.empty(*shape, dtype=naiad.float64), gain=2.0)).reshape(shape[0], -1)
    product = weight @ weight.T if shape[0] <= weight.shape[1] else weight.T @ weight
    np.testing.assert_allclose(product, 4.0 * np.eye(min(weight.shape)), atol=1e-12)


def test_sparse():
    weight = from_(init.sparse_(naiad.empty(10, 7), sparsity=0.25, std=0.1))
    assert ((weight == 0).sum(axis=0) == 3).all()
    assert 0.03 < weight[weight != 0].std() < 0.3


def test_trunc_normal_stays_within_its_bounds():
    values = from_(init.trunc_normal_(naiad.empty(10000), std=3.0, a=-1.0, b=2.0))
    assert values.min() >= -1.0
    assert values.max() <= 2.0


def test_no_elements_warn():
    with pytest.warns(UserWarning, match="zero-element"):
        init.kaiming_uniform_(naiad.empty(0, 3))


LAYERS = {
    "linear": lambda nn: nn.Linear(50, 400),
    "bilinear": lambda nn: nn.Bilinear(10, 12, 40),
    "conv1d": lambda nn: nn.Conv1d(16, 400, 5, groups=2),
    "conv2d": lambda nn: nn.Conv2d(16, 400, 3),
    "conv transpose": lambda nn: nn.ConvTranspose2d(60, 400, 3),
    "embedding": lambda nn: nn.Embedding(200, 50, padding_idx=3),
    "lstm": lambda nn: nn.LSTM(40, 100, bidirectional=True, proj_size=20),
    "gru cell": lambda nn: nn.GRUCell(40, 150),
    "attention": lambda nn: nn.MultiheadAttention(80, 4, add_bias_kv=True),
    "attention of others": lambda nn: nn.MultiheadAttention(80, 4, kdim=60, vdim=70),
    "transformer": lambda nn: nn.Transformer(32, 4, 1, 1, 500, batch_first=True),
    "prelu": lambda nn: nn.PReLU(7),
    "batchnorm": lambda nn: nn.BatchNorm2d(9),
    "groupnorm": lambda nn: nn.GroupNorm(3, 9),
    "layernorm": lambda nn: nn.LayerNorm(9),
    "rmsnorm": lambda nn: nn.RMSNorm(9),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_start_as_in_pytorch(name):
    naiad.manual_seed(1)
    torch.manual_seed(1)
    ours, theirs = LAYERS[name](nn), LAYERS[name](torch.nn)
    for (key, mine), (_, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        mine, other = from_(mine), from_(other)
        if other.std() == 0 or other.size < 2:
            np.testing.assert_array_equal(mine, other, err_msg=key)
        else:
            assert_same_distribution(mine, other)


def test_padding_row_starts_at_zero():
    table = nn.Embedding(5, 3, padding_idx=2).weight
    assert table[2].abs().sum() == 0
    assert table.requires_grad
