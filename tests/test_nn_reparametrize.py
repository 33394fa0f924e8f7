"""weight_norm, spectral_norm and parametrizations, and layers fused with batch norm, beside PyTorch's."""

import copy
import pickle

import numpy as np
import pytest
from nn_oracle import check_module, floats, from_, load_weights, same, torch

import naiad
from naiad import nn

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")

CASES = {
    "weight": (lambda nn: nn.utils.weight_norm(nn.Linear(4, 3)), floats(2, 4)),
    "weight-whole": (lambda nn: nn.utils.weight_norm(nn.Linear(4, 3), dim=None), floats(2, 4)),
    "weight-conv": (lambda nn: nn.utils.weight_norm(nn.Conv1d(2, 3, 2), dim=1), floats(2, 2, 5)),
    "spectral": (lambda nn: nn.utils.spectral_norm(nn.Linear(4, 3)), floats(2, 4)),
    "spectral-conv": (lambda nn: nn.utils.spectral_norm(nn.Conv2d(2, 3, 2), n_power_iterations=3), floats(2, 2, 4, 5)),
    "spectral-transpose": (lambda nn: nn.utils.spectral_norm(nn.ConvTranspose1d(2, 3, 2)), floats(2, 2, 5)),
    "new-weight": (lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), floats(2, 4)),
    "new-weight-dim": (lambda nn: nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 2), dim=2), floats(2, 2, 5)),
    "new-spectral": (lambda nn: nn.utils.parametrizations.spectral_norm(nn.Conv1d(2, 3, 2)), floats(2, 2, 5)),
    "new-spectral-bias": (
        lambda nn: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3), name="bias"),
        floats(2, 4),
    ),
    "sequential": (
        lambda nn: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh(), nn.Linear(3, 2)),
        floats(2, 4),
    ),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_module(name, train):
    make, inputs = CASES[name]
    check_module(make, [inputs], train=train, rtol=1e-9)


def test_two_passes_before_backward():
    """As a discriminator does: the second forward changes u and v, which the first one's backward must not see."""
    found = []
    ours, theirs = (t.nn.utils.spectral_norm(t.nn.Linear(4, 3)).double() for t in (naiad, torch))
    load_weights(ours, theirs)
    for t, layer in ((naiad, ours), (torch, theirs)):
        x = t.tensor(np.arange(8.0).reshape(2, 4))
        (layer(x).sum() - layer(x + 1).pow(2).sum()).backward()
        found.append(from_(layer.weight_orig.grad))
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_older_weight_norm_is_read_by_the_newer():
    old, new = nn.utils.weight_norm(nn.Linear(4, 3)), nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    new.load_state_dict(old.state_dict())
    x = naiad.randn(2, 4)
    assert naiad.allclose(old(x), new(x))


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_removing_leaves_the_weight(kind):
    x = naiad.randn(2, 4)
    old = getattr(nn.utils, kind)(nn.Linear(4, 3)).eval()
    new = getattr(nn.utils.parametrizations, kind)(nn.Linear(4, 3)).eval()
    for layer, remove in (
        (old, getattr(nn.utils, f"remove_{kind}")),
        (new, lambda layer: nn.utils.parametrize.remove_parametrizations(layer, "weight")),
    ):
        before = layer(x)
        assert remove(layer) is layer
        assert type(layer) is nn.Linear and sorted(layer.state_dict()) == ["bias", "weight"]
        assert isinstance(layer.weight, nn.Parameter) and naiad.allclose(layer(x), before)


class Doubled:
    """A parametrization of either library, with its inverse."""

    def __new__(cls, t):
        class Double(t.nn.Module):
            calls = 0

            def forward(self, x):
                Double.calls += 1
                return x * 2

            def right_inverse(self, y):
                return y / 2

        return Double()


def symmetric(t, *more):
    class Symmetric(t.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

    layer = t.nn.Linear(3, 3).double()
    with t.no_grad():
        layer.weight.copy_(t.arange(9.0).reshape(3, 3))
    t.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    for parametrization in more:
        t.nn.utils.parametrize.register_parametrization(layer, "weight", parametrization)
    return layer


def assigned(t):
    layer = t.nn.Linear(2, 2)
    t.nn.utils.parametrize.register_parametrization(layer, "weight", Doubled(t))
    layer.weight = t.ones(2, 2)
    return layer.weight, layer.parametrizations.weight.original, repr(layer)


def trained(t):
    layer = symmetric(t, Doubled(t))
    layer(t.ones(1, 3, dtype=t.float64)).sum().backward()
    return layer.weight, layer.parametrizations.weight.original.grad, [n for n, _ in layer.named_parameters()]


def left(t, leave):
    layer = symmetric(t)
    t.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=leave)
    return layer.weight, type(layer).__name__, list(layer.state_dict())


def counted(t):
    double = Doubled(t)
    layer = t.nn.Linear(2, 2)
    t.nn.utils.parametrize.register_parametrization(layer, "weight", double)
    before = type(double).calls
    with t.nn.utils.parametrize.cached():
        first = layer.weight
        same_one = layer.weight is first
    return same_one, type(double).calls - before, layer.weight is first


def parametrize(t):
    return t.nn.utils.parametrize


SCRIPTS = {
    "symmetric": lambda t: symmetric(t).weight,
    "chain trained": trained,
    "assigned": assigned,
    "left": lambda t: left(t, True),
    "left original": lambda t: left(t, False),
    "cached": counted,
    "is": lambda t: [parametrize(t).is_parametrized(symmetric(t), n) for n in ("weight", "bias", None)],
    "is not": lambda t: parametrize(t).is_parametrized(t.nn.Linear(1, 1)),
    "type": lambda t: parametrize(t).type_before_parametrizations(symmetric(t)).__name__,
    "no such": lambda t: parametrize(t).register_parametrization(t.nn.Linear(2, 2), "foo", t.nn.ReLU()),
    "shape": lambda t: parametrize(t).register_parametrization(t.nn.Linear(2, 2), "weight", t.nn.Flatten(0)),
    "not removed": lambda t: parametrize(t).remove_parametrizations(t.nn.Linear(2, 2), "weight"),
    "several left": lambda t: parametrize(t).remove_parametrizations(
        t.nn.utils.parametrizations.weight_norm(t.nn.Linear(2, 2)), "weight", leave_parametrized=False
    ),
    "no weight": lambda t: t.nn.utils.parametrizations.spectral_norm(t.nn.Linear(2, 2), name="foo"),
    "no iteration": lambda t: t.nn.utils.spectral_norm(t.nn.Linear(2, 2), n_power_iterations=0),
    "twice": lambda t: t.nn.utils.spectral_norm(t.nn.utils.spectral_norm(t.nn.Linear(2, 2))),
    "weight twice": lambda t: t.nn.utils.weight_norm(t.nn.utils.weight_norm(t.nn.Linear(2, 2))),
    "not there": lambda t: t.nn.utils.remove_weight_norm(t.nn.Linear(2, 2)),
    "spectral not there": lambda t: t.nn.utils.remove_spectral_norm(t.nn.Linear(2, 2)),
    "skip_init tensor": lambda t: t.nn.utils.skip_init(t.Tensor),
    "skip_init no device": lambda t: t.nn.utils.skip_init(t.nn.ReLU),
    "skip_init": lambda t: repr(t.nn.utils.skip_init(t.nn.Linear, 2, 3, dtype=t.float64)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_pytorch(name):
    same(SCRIPTS[name])


def test_the_original_stays_the_parameter_that_an_optimizer_has():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    nn.utils.parametrize.register_parametrization(layer, "weight", Doubled(naiad))
    assert layer.parametrizations.weight.original is weight


def test_copies():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    twin = copy.deepcopy(layer)
    with naiad.no_grad():
        twin.parametrizations.weight.original0.zero_()
    assert twin.weight.abs().sum() == 0 and layer.weight.abs().sum() > 0
    with pytest.raises(RuntimeError, match=r"only supported through state_dict\(\)"):
        pickle.dumps(layer)


FUSED = {
    "conv": ("Conv2d", (2, 6, 3), "BatchNorm2d", {}, "fuse_conv_bn_eval", (2, 2, 5, 5)),
    "conv-plain": ("Conv1d", (2, 6, 3), "BatchNorm1d", {"affine": False}, "fuse_conv_bn_eval", (2, 2, 5)),
    "transpose": ("ConvTranspose2d", (2, 6, 3), "BatchNorm2d", {}, "fuse_conv_bn_eval", (2, 2, 5, 5)),
    "linear": ("Linear", (4, 6), "BatchNorm1d", {}, "fuse_linear_bn_eval", (3, 4)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", FUSED)
def test_fusion(name, bias):
    kind, sizes, norm_kind, options, fuse, shape = FUSED[name]
    layer = getattr(nn, kind)(*sizes, bias=bias).double()
    norm = getattr(nn, norm_kind)(6, **options).double()
    with naiad.no_grad():
        for tensor in norm.state_dict().values():
            tensor.copy_(naiad.rand(tensor.shape) + 0.5)
    layer.eval(), norm.eval()
    x = naiad.randn(shape, dtype=naiad.float64)
    extra = {"transpose": True} if name == "transpose" else {}
    fused = getattr(nn.utils, fuse)(layer, norm, **extra)
    assert type(fused) is type(layer) and fused.bias is not None
    np.testing.assert_allclose(from_(fused(x)), from_(norm(layer(x))), rtol=1e-9, atol=1e-12)
    theirs = getattr(torch.nn, kind)(*sizes, bias=bias).double().eval()
    theirs_norm = getattr(torch.nn, norm_kind)(6, **options).double().eval()
    for ours, other in ((layer, theirs), (norm, theirs_norm)):
        other.load_state_dict({k: torch.tensor(from_(v)) for k, v in ours.state_dict().items()})
    load_weights(fused, getattr(torch.nn.utils, fuse)(theirs, theirs_norm, **extra))
    np.testing.assert_allclose(from_(fused(x)), from_(norm(layer(x))), rtol=1e-9, atol=1e-12)


def test_fusion_is_for_evaluation():
    with pytest.raises(AssertionError, match="Fusion only for eval!"):
        nn.utils.fuse_conv_bn_eval(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    with pytest.raises(AssertionError, match=r"linear.out_features == bn.num_features"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(2, 3).eval(), nn.BatchNorm1d(4).eval())
