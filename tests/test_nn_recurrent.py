"""RNN, LSTM, GRU and their cells beside PyTorch's, on plain and on packed sequences."""

import itertools

import numpy as np
import pytest
from nn_oracle import check_module, floats, from_, load_weights, same, to, torch

import naiad

KINDS = {
    "RNN": {},
    "RNN-relu": {"nonlinearity": "relu"},
    "LSTM": {},
    "LSTM-projected": {"proj_size": 3},
    "GRU": {},
}
SHAPES = {
    "plain": {},
    "deep": {"num_layers": 2, "bias": False},
    "both-ways": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}


def maker(kind, **options):
    return lambda nn: getattr(nn, kind.split("-")[0])(5, 4, **KINDS[kind], **options)


@pytest.mark.parametrize(("kind", "shape"), list(itertools.product(KINDS, SHAPES)))
def test_sequences_of_one_length(kind, shape):
    check_module(maker(kind, **SHAPES[shape]), [floats(3, 2, 5)])


@pytest.mark.parametrize("kind", KINDS)
def test_given_state(kind):
    state = floats(4, 3, 3 if "proj" in kind else 4)
    hx = (lambda rng: (state(rng), rng.standard_normal((4, 3, 4)))) if kind.startswith("LSTM") else state
    check_module(maker(kind, num_layers=2, bidirectional=True), [floats(6, 3, 5), hx])


@pytest.mark.parametrize("kind", KINDS)
def test_single_sequence(kind):
    check_module(maker(kind, bidirectional=True), [floats(6, 5)])


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences(kind, sort):
    lengths = [5, 3, 3, 1] if sort else [3, 5, 1, 3]
    rng = np.random.default_rng(3)
    padded = rng.standard_normal((4, 5, 5))
    states = [rng.standard_normal((4, 4, width)) for width in (3 if "proj" in kind else 4, 4)]
    results = []
    make = maker(kind, num_layers=2, bidirectional=True, batch_first=True)
    modules = {"naiad": make(naiad.nn).double(), "torch": make(torch.nn).double()}
    load_weights(modules["naiad"], modules["torch"])
    for lib in (naiad, torch):
        rnn = lib.nn.utils.rnn
        x = to(lib, padded, grad=True)
        hx = tuple(to(lib, state, grad=True) for state in states)
        packed = rnn.pack_padded_sequence(x, lib.tensor(lengths), batch_first=True, enforce_sorted=sort)
        output, last = modules[lib.__name__](packed, hx if kind.startswith("LSTM") else hx[0])
        unpacked, found = rnn.pad_packed_sequence(output, batch_first=True, padding_value=-1.0, total_length=6)
        assert found.tolist() == lengths
        last = last if isinstance(last, tuple) else (last,)
        (unpacked.square().sum() + sum(part.sin().sum() for part in last)).backward()
        gradients = [x.grad, hx[0].grad, *(p.grad for p in modules[lib.__name__].parameters())]
        results.append([from_(t) for t in (unpacked, *last, *gradients)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["RNNCell", "RNNCell-relu", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("given", [True, False])
def test_cells(kind, batch, given):
    options = {"nonlinearity": "relu"} if "relu" in kind else {"bias": len(batch) == 1}
    inputs = [floats(*batch, 5)]
    if given:
        one = floats(*batch, 4)
        inputs.append((lambda rng: (one(rng), one(rng))) if kind == "LSTMCell" else one)
    check_module(lambda nn: getattr(nn, kind.split("-")[0])(5, 4, **options), inputs)


def test_dropout_between_layers_acts_in_training_only():
    net = naiad.nn.GRU(3, 4, num_layers=2, dropout=0.9)
    x = naiad.randn(5, 2, 3)
    first, second = (net(x)[0] for _ in range(2))
    assert not naiad.equal(first, second)
    net.eval()
    assert naiad.equal(net(x)[0], net(x)[0])


REFUSED = {
    "rank": lambda t: t.nn.LSTM(3, 4)(t.zeros(2, 2, 2, 3)),
    "features": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 2, 5)),
    "state rank": lambda t: t.nn.LSTM(3, 4)(t.zeros(2, 2, 3), (t.zeros(2, 5), t.zeros(2, 5))),
    "state rank alone": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 3), t.zeros(2, 2, 5)),
    "state size": lambda t: t.nn.LSTM(3, 4)(t.zeros(2, 2, 3), (t.zeros(1, 2, 5), t.zeros(1, 2, 5))),
    "dtype": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 2, 3, dtype=t.float64)),
    "cell features": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 5)),
    "cell batch": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 3), t.zeros(3, 4)),
    "cell rank": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(2, 2, 3)),
    "projection": lambda t: t.nn.LSTM(3, 4, proj_size=4),
    "layers": lambda t: t.nn.LSTM(3, 4, num_layers=0),
    "dropout": lambda t: t.nn.LSTM(3, 4, dropout=2),
    "nonlinearity": lambda t: t.nn.RNN(3, 4, nonlinearity="x"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_read_as_pytorchs(name):
    kind, text = same(REFUSED[name])
    assert kind in ("RuntimeError", "ValueError"), text


def test_weights_are_listed_as_pytorch_does():
    def script(t):
        net = t.nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
        net.flatten_parameters()
        return [[tuple(w.shape) for w in weights] for weights in net.all_weights], list(net.state_dict())

    same(script)


def test_dropout_on_one_layer_warns():
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        naiad.nn.LSTM(3, 4, dropout=0.5)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_second_derivatives(kind):
    results = []
    modules = {"naiad": maker(kind)(naiad.nn).double(), "torch": maker(kind)(torch.nn).double()}
    load_weights(modules["naiad"], modules["torch"])
    x = np.random.default_rng(2).standard_normal((4, 2, 5))
    for lib in (naiad, torch):
        inputs, module = to(lib, x, grad=True), modules[lib.__name__]
        (gradient,) = lib.autograd.grad(module(inputs)[0].sin().sum(), inputs, create_graph=True)
        gradient.square().sum().backward()
        results.append([from_(t) for t in (gradient, inputs.grad, *(p.grad for p in module.parameters()))])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
