"""utils.checkpoint: the same results and gradients as without it and as PyTorch's, with less kept for backward."""

import gc
import weakref

import numpy as np
import pytest
from nn_oracle import from_, load_weights, same, torch

import naiad
from naiad import nn
from naiad.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

X = np.random.default_rng(0).standard_normal((3, 4))


def net_of(t):
    return t.nn.Sequential(t.nn.Linear(4, 8), t.nn.BatchNorm1d(8), t.nn.Tanh(), t.nn.Linear(8, 4)).double()


NET = net_of(torch)


def net_with_weights(t):
    net = net_of(t)
    load_weights(net, NET) if t is naiad else net.load_state_dict(NET.state_dict())
    return net


def with_checkpoint(t, function, *args, **options):
    return t.utils.checkpoint.checkpoint(function, *args, **options)


def gradients(t, net, *tensors):
    return [from_(tensor.grad) for tensor in (*tensors, *net.parameters())] + [from_(b) for b in net.buffers()]


def whole(t, **options):
    net, x = net_with_weights(t), t.tensor(X, requires_grad=True)
    y = with_checkpoint(t, net, x, **options)
    (y**2).sum().backward()
    return [from_(y), *gradients(t, net, x)]


def retained(t, **options):
    net, x = net_with_weights(t), t.tensor(X, requires_grad=True)
    y = with_checkpoint(t, net, x, **options)
    y.sum().backward(retain_graph=True)
    (y**2).sum().backward()
    return [x.grad.numpy()]


def nested(t, **options):
    net, x = net_with_weights(t), t.tensor(X, requires_grad=True)
    y = with_checkpoint(t, lambda v: net[3](with_checkpoint(t, net[:3], v, **options).exp()), x, **options)
    (y**2).sum().backward()
    return gradients(t, net, x)


def only_parameters(t, **options):
    net = net_with_weights(t)
    with_checkpoint(t, net, t.tensor(X), **options).sum().backward()
    return gradients(t, net)


def by_name(t, **options):
    x, y = t.tensor(X, requires_grad=True), t.tensor(X + 1, requires_grad=True)
    found = with_checkpoint(t, lambda a, *, b: {"both": [(a * b).sin(), 3], "one": b.exp()}, x, b=y, **options)
    (found["both"][0].sum() + found["one"].sum()).backward()
    return [x.grad.numpy(), y.grad.numpy()]


def functional_gradient(t, **options):
    net, x = net_with_weights(t), t.tensor(X, requires_grad=True)
    y = with_checkpoint(t, net, x, **options)
    return [g.numpy() for g in t.autograd.grad((y**3).sum(), [x, net[0].weight])]


def twice(t, **options):
    x = t.tensor(X, requires_grad=True)
    y = with_checkpoint(t, lambda v: (v.sin() * v.exp()).tanh(), x, **options)
    (g,) = t.autograd.grad((y**2).sum(), x, create_graph=True)
    (g**2).sum().backward()
    return [g.detach().numpy(), x.grad.numpy()]


def in_place(t, **options):
    def function(v):
        h = v * 2
        h[1:].mul_(v[1:].sin())
        return h.add_(1).exp_()

    x = t.tensor(X, requires_grad=True)
    with_checkpoint(t, function, x, **options).sum().backward()
    return [x.grad.numpy()]


def custom(t, **options):
    class Cube(t.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            out = v**3
            ctx.save_for_backward(v, out)
            return out

        @staticmethod
        def backward(ctx, g):
            v, out = ctx.saved_tensors
            return 3 * g * v * v + 0 * out

    x = t.tensor(X, requires_grad=True)
    with_checkpoint(t, lambda v: Cube.apply(v.sin()).cos(), x, **options).sum().backward()
    return [x.grad.numpy()]


def several(t, **options):
    x = t.tensor(X, requires_grad=True)
    a, b = with_checkpoint(t, lambda v: (v.sin(), v.max(1).values), x, **options)
    (a.sum() + b.exp().sum()).backward()
    return [x.grad.numpy()]


BOTH = [whole, retained, several, in_place, custom, nested]
MODERN = [only_parameters, by_name, functional_gradient, twice]


@pytest.mark.parametrize(
    ("script", "reentrant"),
    [*[(s, True) for s in BOTH], *[(s, False) for s in BOTH + MODERN]],
    ids=lambda v: str(v)[:20],
)
def test_as_pytorch(script, reentrant):
    ours, theirs = (script(t, use_reentrant=reentrant) for t in (naiad, torch))
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("segments", [1, 2, 4])
def test_sequential(segments, reentrant):
    found = []
    for t in (naiad, torch):
        net, x = net_with_weights(t), t.tensor(X, requires_grad=True)
        run = t.utils.checkpoint.checkpoint_sequential
        run(net, segments, x, use_reentrant=reentrant).exp().sum().backward()
        found.append(gradients(t, net, x))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
def test_random_numbers_are_drawn_again(reentrant):
    def step(run):
        naiad.manual_seed(3)
        x = naiad.ones(200, requires_grad=True)
        run(lambda v: naiad.nn.functional.dropout(v, 0.5), x).sum().backward()
        return x.grad.tolist(), naiad.rand(2).tolist()

    plain = step(lambda f, x: f(x))
    assert step(lambda f, x: checkpoint(f, x, use_reentrant=reentrant)) == plain
    found, _ = step(lambda f, x: checkpoint(f, x, use_reentrant=reentrant, preserve_rng_state=False))
    assert found != plain[0]


def test_autocast_is_put_back():
    x, w = naiad.randn(4, 4, requires_grad=True), naiad.randn(4, 4, requires_grad=True)
    seen = []

    def function(v):
        out = v @ w
        seen.append(out.dtype)
        return out

    with naiad.autocast("cpu", dtype=naiad.bfloat16):
        y = checkpoint(function, x, use_reentrant=False)
    y.float().sum().backward()
    assert seen == [naiad.bfloat16] * 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_nothing_inside_is_kept(reentrant):
    kept = []

    def function(v):
        h = v.sin()
        kept.append(weakref.ref(h._array))
        return h.cos().exp()

    x = naiad.randn(5, requires_grad=True)
    y = checkpoint(function, x, use_reentrant=reentrant)
    gc.collect()
    assert kept[0]() is None
    y.sum().backward()
    np.testing.assert_allclose(from_(x.grad), from_(-x.sin().cos().exp() * x.sin().sin() * x.cos()), rtol=1e-5)
    assert len(kept) == 2
    plain = function(x)
    assert kept[2]() is not None and plain.requires_grad


def test_what_backward_does_not_reach_is_freed_without_the_collector():
    x = naiad.randn(5, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        a, b = checkpoint(lambda v: (v.sin(), v.exp()), x, use_reentrant=False)
        a.sum().backward()
        node = weakref.ref(b.grad_fn)
        del a, b
        assert node() is None
    finally:
        gc.enable()


def test_hooks_see_the_graph():
    seen = []

    def function(v):
        h = v.sin()
        h.register_hook(lambda g: seen.append(g.tolist()))
        return h * 2

    x = naiad.ones(2, requires_grad=True)
    checkpoint(function, x, use_reentrant=False).sum().backward()
    assert seen == [[2.0, 2.0]]


def test_contexts():
    class Mark:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            seen.append(self.name)

        def __exit__(self, *error):
            seen.append(f"end {self.name}")

    seen = []
    x = naiad.ones(2, requires_grad=True)
    y = checkpoint(lambda v: v.exp(), x, use_reentrant=False, context_fn=lambda: (Mark("first"), Mark("second")))
    y.sum().backward()
    assert seen == ["first", "end first", "second", "end second"]


def test_nothing_is_recorded_under_no_grad():
    with naiad.no_grad():
        assert not checkpoint(lambda v: v.exp(), naiad.ones(2, requires_grad=True), use_reentrant=False).requires_grad


def flaky(*versions):
    calls = []

    def function(v):
        calls.append(0)
        return versions[(len(calls) - 1) % len(versions)](v)

    return function


def test_a_function_that_changes_its_mind():
    x = naiad.ones(3, requires_grad=True)
    y = checkpoint(flaky(lambda v: v.exp(), lambda v: (v * 2).exp()), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match=r"different number of tensors[^$]*forward: 1, exp[^$]*: 2, mul, exp"):
        y.sum().backward()
    y = checkpoint(flaky(lambda v: v.exp(), lambda v: v.double().exp().float()), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="different number of tensors"):
        y.sum().backward()
    sizes = flaky(lambda v: v.exp(), lambda v: v.detach()[:1].requires_grad_().exp())
    with pytest.raises(CheckpointError, match=r"different metadata[^$]*position 0[^$]*\(3,\)[^$]*\(1,\)"):
        checkpoint(sizes, x, use_reentrant=False).sum().backward()
    assert issubclass(CheckpointError, RuntimeError)


REFUSALS = {
    "keyword": lambda t: with_checkpoint(t, t.sin, t.ones(2), use_reentrant=True, foo=1),
    "debug": lambda t: with_checkpoint(t, t.sin, t.ones(2), use_reentrant=True, debug=True),
    "check": lambda t: with_checkpoint(t, t.sin, t.ones(2), use_reentrant=False, determinism_check="so"),
    "sequential keyword": lambda t: t.utils.checkpoint.checkpoint_sequential([t.sin], 1, 0, use_reentrant=True, foo=1),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    same(REFUSALS[name])


def test_what_the_reentrant_way_cannot_do():
    x = naiad.ones(2, requires_grad=True)
    y = checkpoint(naiad.sin, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"incompatible with .grad\(\).*set use_reentrant=False"):
        naiad.autograd.grad(y.sum(), x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(naiad.sin, naiad.ones(2), use_reentrant=True)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(naiad.sin, x)
    with pytest.raises(ValueError, match="3 segments of 2 functions"):
        checkpoint_sequential([naiad.sin, naiad.cos], 3, x, use_reentrant=False)


def test_a_module_trains_the_same():
    losses = []
    for run in (lambda net, x: net(x), lambda net, x: checkpoint(net, x, use_reentrant=False)):
        naiad.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
        optimizer = naiad.optim.AdamW(net.parameters(), lr=0.05)
        x = naiad.randn(32, 4)
        for _ in range(10):
            loss = ((run(net, x).squeeze(1) - x.sum(1)) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
