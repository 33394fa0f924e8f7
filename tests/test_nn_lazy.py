"""Lazy modules and uninitialized parameters beside PyTorch's: before, during and after the first call."""

import copy
import pickle

import pytest
from nn_oracle import floats, from_, library, load_weights, same, torch

import naiad
from naiad import nn
from naiad.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

LAYERS = {
    "linear": (lambda nn: nn.LazyLinear(3), (2, 5, 4)),
    "linear-plain": (lambda nn: nn.LazyLinear(3, bias=False), (4,)),
    "conv1d": (lambda nn: nn.LazyConv1d(4, 3, padding=1, groups=2), (2, 4, 9)),
    "conv1d-single": (lambda nn: nn.LazyConv1d(4, 3), (5, 9)),
    "conv2d": (lambda nn: nn.LazyConv2d(3, (2, 3), stride=2, bias=False), (2, 3, 6, 5)),
    "conv3d": (lambda nn: nn.LazyConv3d(2, 2), (1, 3, 3, 3, 3)),
    "transpose1d": (lambda nn: nn.LazyConvTranspose1d(3, 2), (2, 4, 5)),
    "transpose2d": (lambda nn: nn.LazyConvTranspose2d(4, 3, stride=2, output_padding=1, groups=2), (2, 4, 3, 3)),
    "transpose3d": (lambda nn: nn.LazyConvTranspose3d(2, 2), (1, 2, 2, 2, 2)),
    "batchnorm1d": (lambda nn: nn.LazyBatchNorm1d(), (4, 3)),
    "batchnorm2d": (lambda nn: nn.LazyBatchNorm2d(momentum=None, bias=False), (4, 3, 2, 2)),
    "batchnorm3d": (lambda nn: nn.LazyBatchNorm3d(affine=False), (2, 3, 2, 2, 2)),
    "instancenorm1d": (lambda nn: nn.LazyInstanceNorm1d(), (2, 3, 5)),
    "instancenorm2d": (lambda nn: nn.LazyInstanceNorm2d(track_running_stats=False), (2, 3, 4, 5)),
    "instancenorm3d": (lambda nn: nn.LazyInstanceNorm3d(eps=1e-3), (2, 3, 2, 2, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_call_makes_an_ordinary_module(name):
    make, shape = LAYERS[name]
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert repr(ours.state_dict()) == repr(theirs.state_dict())
    array = floats(*shape)(__import__("numpy").random.default_rng(0)).astype("float32")
    ours(naiad.tensor(array)), theirs(torch.tensor(array))
    assert type(ours).__name__ == type(theirs).__name__ and type(ours) is getattr(nn, type(theirs).__name__)
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    assert all(type(p) is nn.Parameter for p in ours.parameters())
    load_weights(ours, theirs)
    mine, other = ours(naiad.tensor(array)), theirs(torch.tensor(array))
    assert abs(from_(mine) - from_(other)).max() < 1e-5


def test_a_fresh_weight_is_drawn_as_usual():
    layer = nn.LazyLinear(200)
    layer(naiad.ones(1, 50))
    bound = 1 / 50**0.5
    assert 0.9 * bound < layer.weight.abs().max().item() <= bound
    norm = nn.LazyBatchNorm1d()
    norm(naiad.randn(4, 3))
    assert norm.weight.tolist() == [1.0] * 3 and norm.num_batches_tracked.item() == 1


def lazy_net(t):
    return t.nn.Sequential(t.nn.LazyLinear(3), t.nn.LazyBatchNorm1d(), t.nn.ReLU())


def full_net(t):
    return t.nn.Sequential(t.nn.Linear(2, 3), t.nn.BatchNorm1d(3), t.nn.ReLU())


SCRIPTS = {
    "shape": lambda t: lazy_net(t)[0].weight.shape,
    "state": lambda t: [repr(v) for v in lazy_net(t).state_dict().values()],
    "dtype follows": lambda t: [str(p.dtype) for p in lazy_net(t).double().parameters()],
    "computes in it": lambda t: lazy_net(t).double()(t.ones(2, 2, dtype=t.float64)).dtype == t.float64,
    "load full into lazy": lambda t: repr(lazy_net(t).load_state_dict(full_net(t).state_dict())),
    "load lazy into lazy": lambda t: repr(lazy_net(t).load_state_dict(lazy_net(t).state_dict())),
    "load lazy into full": lambda t: full_net(t).load_state_dict(lazy_net(t).state_dict()),
    "too few dims": lambda t: t.nn.LazyConv2d(3, 2)(t.ones(3)),
    "groups": lambda t: t.nn.LazyConv2d(2, 2, groups=2)(t.ones(3, 3, 3)),
    "no batch": lambda t: t.nn.LazyBatchNorm1d()(t.ones(3)),
    "materialized twice": lambda t: t.nn.LazyLinear(2).bias.materialize((2,)),
    "optimizer": lambda t: len(t.optim.SGD(lazy_net(t).parameters(), lr=0.1).param_groups[0]["params"]),
    "uninitialized buffer": lambda t: repr(lazy_net(t)[1].running_mean),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_pytorch(name):
    same(SCRIPTS[name])


def test_loaded_weights_are_kept():
    state = full_net(naiad).state_dict()
    net = lazy_net(naiad)
    net.load_state_dict(state)
    net.eval()(naiad.ones(2, 2))
    assert all((state[k] == v).all() for k, v in net.state_dict().items())
    assert net[0].in_features == 2 and type(net[0]) is nn.Linear
    with pytest.raises(AssertionError, match="in_features inferred from input: 5"):
        wrong = nn.LazyLinear(3)
        wrong.load_state_dict(nn.Linear(2, 3).state_dict())
        wrong(naiad.ones(1, 5))


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w + 1,
        lambda w: naiad.matmul(naiad.ones(2, 2), w),
        lambda w: w.numel(),
        lambda w: nn.init.zeros_(w),
        lambda w: w.sum().backward(),
        len,
    ],
)
def test_an_uninitialized_parameter_refuses_operations(use):
    with pytest.raises(ValueError, match=r"uninitialized parameter.*dummy batch"):
        use(nn.LazyLinear(3).weight)


def test_the_optimizer_keeps_its_parameters():
    net = lazy_net(naiad)
    optimizer = naiad.optim.SGD(net.parameters(), lr=0.1)
    before = list(net.parameters())
    net(naiad.randn(4, 2)).sum().backward()
    optimizer.step()
    assert [id(p) for p in net.parameters()] == [id(p) for p in before]
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_lazy_on_their_own(twin):
    net = lazy_net(naiad).double()
    other = twin(net)
    other(naiad.randn(4, 2, dtype=naiad.float64))
    assert not is_lazy(other[0].weight) and other[0].weight.dtype == naiad.float64
    assert is_lazy(net[0].weight) and is_lazy(net[1].running_mean)
    net(naiad.randn(4, 5, dtype=naiad.float64))
    assert (net[0].in_features, other[0].in_features) == (5, 2)


def test_uninitialized_tensors_by_hand():
    for cls, kind in ((UninitializedParameter, nn.Parameter), (UninitializedBuffer, naiad.Tensor)):
        tensor = cls(dtype=naiad.float64)
        assert (
            is_lazy(tensor) and tensor.requires_grad == (kind is nn.Parameter) and repr(tensor) == f"<{cls.__name__}>"
        )
        tensor.materialize((2, 3))
        assert type(tensor) is kind and tensor.shape == (2, 3) and tensor.dtype == naiad.float64
    assert library(nn) is naiad
