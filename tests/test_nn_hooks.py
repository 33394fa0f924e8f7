"""Forward and backward hooks: when they are called, with what, and what their results change."""

import copy
import pickle

import pytest
from nn_oracle import outcome, same

from naiad import nn

# What PyTorch, and naiad likewise, remarks on where no input requires a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


def chain(t):
    first, second = t.nn.Linear(2, 3), t.nn.Linear(3, 1)
    with t.no_grad():
        for i, parameter in enumerate([*first.parameters(), *second.parameters()]):
            parameter.fill_(0.25 * (i + 1))
    return t.nn.Sequential(first, t.nn.Tanh(), second).double()


def x(t):
    return t.tensor([[0.5, -1.0]], dtype=t.float64)


def forward_order(t):
    m, told = chain(t), []
    for name in "ab":
        m[0].register_forward_pre_hook(lambda mod, args, name=name: told.append(("pre", name, len(args))))
        m[0].register_forward_hook(lambda mod, args, out, name=name: told.append(("post", name, tuple(out.shape))))
    m[0].register_forward_pre_hook(lambda mod, args: told.append("first"), prepend=True)
    handle = m[0].register_forward_hook(lambda mod, args, out: told.append("first of all"), prepend=True)
    m(x(t))
    handle.remove()
    handle.remove()
    m(x(t))
    return told


def forward_replaced(t):
    m = chain(t)
    m[0].register_forward_pre_hook(lambda mod, args: args[0] * 2)
    m[0].register_forward_hook(lambda mod, args, out: out + args[0].sum())
    return m(x(t))


def forward_keywords(t):
    class Scaled(t.nn.Module):
        def forward(self, a, *, by=1.0):
            return a * by

    m, told = Scaled(), []
    m.register_forward_pre_hook(lambda mod, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    m.register_forward_hook(lambda mod, args, kwargs, out: told.append(kwargs) or out + 1, with_kwargs=True)
    return m(x(t), by=2.0), told


def always_called(t):
    class Failing(t.nn.Module):
        def forward(self, a):
            raise ValueError("on purpose")

    m, told = Failing(), []
    m.register_forward_hook(lambda mod, args, out: told.append(("always", out)), always_call=True)
    m.register_forward_hook(lambda mod, args, out: told.append("never"))
    try:
        m(x(t))
    except ValueError as error:
        told.append(str(error))
    return told


def bad_pre_hook(t):
    m = t.nn.Identity()
    m.register_forward_pre_hook(lambda mod, args, kwargs: 3, with_kwargs=True)
    return m(3)


def as_context(t):
    m, told = t.nn.Identity(), []
    with m.register_forward_hook(lambda *args: told.append(1)):
        m(1)
    m(1)
    return told


def backward_seen(t):
    m, told = chain(t), []
    inputs = x(t).requires_grad_()
    for name, layer in m.named_children():
        layer.register_full_backward_hook(lambda mod, gi, go, name=name: told.append((name, gi, go)))
    m[2].register_full_backward_pre_hook(lambda mod, go: told.append(("pre", go)))
    m(inputs).sum().backward()
    return told, inputs.grad, [p.grad for p in m.parameters()]


def backward_replaced(t):
    m = chain(t)
    inputs = x(t).requires_grad_()
    m[1].register_full_backward_hook(lambda mod, gi, go: (gi[0] * 3,))
    m[2].register_full_backward_pre_hook(lambda mod, go: (go[0] * 2,))
    m(inputs).sum().backward()
    return inputs.grad, [p.grad for p in m.parameters()]


def backward_of_leaf_inputs(t):
    """No input requires a gradient: the hook sees None for it."""
    m, told = chain(t), []
    m[0].register_full_backward_hook(lambda mod, gi, go: told.append((gi, go)))
    m(x(t)).sum().backward()
    return told


def backward_of_many(t):
    class Two(t.nn.Module):
        def forward(self, a, flag, b):
            return a * b, a.detach(), b.exp()

    m, told = Two(), []
    m.register_full_backward_hook(lambda mod, gi, go: told.append((gi, go)))
    a, b = x(t).requires_grad_(), x(t).requires_grad_()
    outputs = m(a, True, b)
    (outputs[0].sum() + outputs[2].sum()).backward()
    return [gi for gi, go in told], a.grad, b.grad


def backward_of_second_order(t):
    m = t.nn.Tanh()
    told = []
    m.register_full_backward_hook(lambda mod, gi, go: told.append(1))
    a = x(t).requires_grad_()
    (g,) = t.autograd.grad(m(a).sum(), a, create_graph=True)
    (g2,) = t.autograd.grad(g.sum(), a)
    return [round(x, 10) for x in g2[0].tolist()], told[:1]


def backward_bad_count(t):
    m = t.nn.Tanh()
    m.register_full_backward_hook(lambda mod, gi, go: (gi[0], gi[0]))
    m(x(t).requires_grad_()).sum().backward()


SCRIPTS = [
    forward_order,
    forward_replaced,
    forward_keywords,
    always_called,
    as_context,
    backward_seen,
    backward_replaced,
    backward_of_leaf_inputs,
    backward_of_many,
    backward_of_second_order,
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_hooks_act_as_in_pytorch(script):
    kind = same(script)
    assert not (isinstance(kind, list) and kind and kind[0] in ("RuntimeError", "TypeError")), kind


@pytest.mark.parametrize("script", [bad_pre_hook, backward_bad_count], ids=lambda script: script.__name__)
def test_hooks_that_return_nonsense(script):
    ours, theirs = outcome(script, "naiad"), outcome(script, "torch")
    assert ours[0] == theirs[0] == "RuntimeError"


def test_an_always_called_hook_that_raises_is_only_told():
    import naiad

    class Failing(naiad.nn.Module):
        def forward(self, a):
            raise ValueError("on purpose")

    m = Failing()
    m.register_forward_hook(lambda mod, args, out: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="always_call"), pytest.raises(ValueError, match="on purpose"):
        m(3)


def test_a_copied_handle_removes_the_copys_hook():
    for copied in (copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))):
        net = nn.Linear(2, 2)
        net.handle = net.register_forward_pre_hook(show, with_kwargs=True)
        twin = copied(net)
        twin.handle.remove()
        assert not twin._forward_pre_hooks and not twin._forward_pre_hooks_with_kwargs
        assert len(net._forward_pre_hooks) == 1
        other = twin.register_forward_pre_hook(show)
        assert other.id not in (net.handle.id, twin.handle.id)


def show(module, args, kwargs):
    """A hook that does nothing."""
