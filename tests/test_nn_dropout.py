"""Dropout modules at work: what is dropped, how the rest is scaled, and that evaluation leaves everything alone."""

import numpy as np
import pytest
from nn_oracle import from_, outcome

import naiad
from naiad import nn

SHAPES = {
    "Dropout": (40, 500),
    "Dropout1d": (40, 500, 3),
    "Dropout2d": (40, 100, 2, 3),
    "Dropout3d": (20, 100, 2, 2, 2),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_fraction_and_scale(name, inplace):
    naiad.manual_seed(2)
    x = naiad.ones(*SHAPES[name])
    y = from_(getattr(nn, name)(0.25, inplace)(x))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    by_channel = y.reshape(*y.shape[:2], -1)
    assert (by_channel == by_channel[..., :1]).all()
    dropped = (by_channel[..., 0] == 0).mean()
    assert abs(dropped - 0.25) < 5 * np.sqrt(0.25 * 0.75 / by_channel[..., 0].size)
    assert np.array_equal(from_(x), y) is inplace


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    naiad.manual_seed(2)
    x = naiad.randn(200, 400, 3)
    y = from_(getattr(nn, name)(0.2)(x))
    assert abs(y.mean()) < 0.03
    assert abs(y.std() - 1) < 0.03
    values, counts = np.unique(y, return_counts=True)
    changed = y == values[counts.argmax()]  # what is dropped becomes one and the same value
    assert abs(changed.mean() - 0.2) < 0.02
    if name.startswith("Feature"):
        assert (changed == changed[..., :1]).all()


@pytest.mark.parametrize("name", [*SHAPES, "AlphaDropout", "FeatureAlphaDropout"])
def test_evaluation_and_gradient(name):
    layer = getattr(nn, name)(0.5)
    x = naiad.ones(*SHAPES.get(name, (4, 5, 6)), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    if name in SHAPES:
        assert naiad.equal(x.grad, y.detach())
    assert naiad.equal(layer.eval()(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_probability_is_checked(p):
    ours, theirs = (outcome(lambda t: t.nn.Dropout(p), name) for name in ("naiad", "torch"))
    assert ours == theirs


def test_the_seed_decides():
    layer, x = nn.Dropout(0.5), naiad.ones(1000)
    draws = []
    for seed in (1, 1, 2):
        naiad.manual_seed(seed)
        draws.append(layer(x))
    assert naiad.equal(draws[0], draws[1])
    assert not naiad.equal(draws[0], draws[2])
