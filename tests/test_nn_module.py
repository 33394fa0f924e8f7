"""Module: registration, attributes, walking, printing, converting and copying, each script run by both libraries."""

import copy
import pickle
from pathlib import Path

import pytest
from nn_oracle import outcome, same

import naiad
from naiad import nn


def net(t):
    """A module with everything: parameters, buffers, children, and one child under two names."""

    class Net(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = t.nn.Parameter(t.ones(2))
            self.register_parameter("nothing", None)
            self.register_buffer("count", t.zeros(1))
            self.register_buffer("scratch", t.zeros(2), persistent=False)
            self.register_buffer("empty", None)
            self.first = t.nn.Linear(2, 3)
            self.again = self.first
            self.rest = t.nn.Sequential(t.nn.ReLU(), t.nn.BatchNorm1d(3))
            self.missing = None

        def forward(self, x):
            return self.rest(self.first(x * self.scale))

    return Net()


def assigned(name, make):
    """A script that assigns to an attribute of a net, and tells where it ended up."""

    def script(t):
        m = net(t)
        setattr(m, name, make(t))
        tables = (m._parameters, m._buffers, m._modules, m._non_persistent_buffers_set)
        return [sorted(table) for table in tables], name in m.__dict__

    return script


VALUES = {
    "parameter": lambda t: t.nn.Parameter(t.zeros(1)),
    "buffer": lambda t: t.nn.Buffer(t.zeros(1)),
    "passing buffer": lambda t: t.nn.Buffer(t.zeros(1), persistent=False),
    "module": lambda t: t.nn.Tanh(),
    "tensor": lambda t: t.zeros(1),
    "none": lambda t: None,
    "number": lambda t: 3,
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", ["fresh", "scale", "nothing", "count", "scratch", "first", "missing", "training"])
def test_assignment(name, kind):
    same(assigned(name, VALUES[kind]))


WALKS = {
    "modules": lambda t: [(n, type(m).__name__) for n, m in net(t).named_modules()],
    "modules twice": lambda t: [n for n, _ in net(t).named_modules(prefix="top", remove_duplicate=False)],
    "children": lambda t: [(n, type(m).__name__) for n, m in net(t).named_children()],
    "parameters": lambda t: [(n, tuple(p.shape)) for n, p in net(t).named_parameters()],
    "parameters twice": lambda t: [n for n, _ in net(t).named_parameters("a", remove_duplicate=False)],
    "own parameters": lambda t: [n for n, _ in net(t).named_parameters(recurse=False)],
    "buffers": lambda t: [n for n, _ in net(t).named_buffers()],
    "counts": lambda t: [len(list(f())) for m in [net(t)] for f in (m.parameters, m.buffers, m.modules, m.children)],
    "state_dict": lambda t: list(net(t).state_dict()),
    "repr": lambda t: repr(net(t)),
    "dir": lambda t: {"scale", "count", "first", "forward"} <= set(dir(net(t))),
    "training": lambda t: [m.training for m in net(t).eval().modules()],
    "submodule": lambda t: repr(net(t).get_submodule("rest.1")),
    "itself": lambda t: type(net(t).get_submodule("")).__name__,
    "parameter": lambda t: net(t).get_parameter("rest.1.weight"),
    "buffer": lambda t: net(t).get_buffer("rest.1.running_var"),
    "apply": lambda t: applied(t),
    "frozen": lambda t: [p.requires_grad for p in net(t).requires_grad_(False).parameters()],
    "list repr": lambda t: repr(t.nn.ModuleList([*(t.nn.Linear(2, 2) for _ in range(3)), t.nn.ReLU()])),
    "nested repr": lambda t: repr(t.nn.ModuleList([t.nn.TransformerEncoderLayer(4, 2) for _ in range(2)])),
}


@pytest.mark.parametrize("name", WALKS)
def test_walks(name):
    same(WALKS[name])


def applied(t):
    seen = []
    net(t).apply(lambda m: seen.append(type(m).__name__))
    return seen


def test_set_submodule():
    def script(t):
        m = net(t)
        m.set_submodule("rest.0", t.nn.Tanh())
        return repr(m)

    same(script)


def early(t, value):
    class Early(t.nn.Module):
        def __init__(self):
            self.x = value
            super().__init__()

    return Early()


ERRORS = {
    "forward": lambda t: t.nn.Module()(t.zeros(1)),
    "argument": lambda t: t.nn.Module(3),
    "keyword": lambda t: t.nn.Module(a=3),
    "attribute": lambda t: net(t).absent,
    "delete": lambda t: delattr(net(t), "absent"),
    "early parameter": lambda t: early(t, t.nn.Parameter(t.zeros(1))),
    "early module": lambda t: early(t, t.nn.ReLU()),
    "early buffer": lambda t: early(t, t.nn.Buffer(t.zeros(1))),
    "dotted": lambda t: net(t).register_buffer("a.b", t.zeros(1)),
    "empty": lambda t: net(t).register_parameter("", None),
    "taken": lambda t: net(t).register_buffer("first", t.zeros(1)),
    "no string": lambda t: net(t).register_buffer(3, t.zeros(1)),
    "no tensor": lambda t: net(t).register_buffer("a", 3),
    "no parameter": lambda t: net(t).register_parameter("a", t.zeros(1)),
    "no leaf": lambda t: net(t).register_parameter("a", t.nn.Parameter(t.ones(1)) * 2),
    "no module": lambda t: net(t).add_module("a", 3),
    "train": lambda t: net(t).train("yes"),
    "integers": lambda t: net(t).to(t.int64),
    "no submodule": lambda t: net(t).get_submodule("rest.7"),
    "no such parameter": lambda t: net(t).get_parameter("count"),
    "sequence": lambda t: t.nn.Sequential(t.nn.ReLU(), 3),
    "parameter list call": lambda t: t.nn.ParameterList()(3),
    "integer parameter": lambda t: t.nn.Parameter(t.zeros(1, dtype=t.int64)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_pytorchs_class(name):
    ours, theirs = outcome(ERRORS[name], "naiad"), outcome(ERRORS[name], "torch")
    assert ours[0] == theirs[0]
    assert ours[0].endswith("Error")
    assert len(ours[1]) > 10


@pytest.mark.parametrize("how", ["double", "half", "bfloat16", "float"])
def test_casts_keep_parameters_and_spare_integers(how):
    def script(t):
        m = net(t)
        m.scale.grad = t.ones(2)
        before = [id(p) for p in m.parameters()]
        assert getattr(m, how)() is m
        assert [id(p) for p in m.parameters()] == before
        return {k: str(v.dtype) for k, v in m.state_dict().items()} | {"grad": str(m.scale.grad.dtype)}

    same(script)


@pytest.mark.parametrize(
    "args",
    [
        lambda t: (t.float64,),
        lambda t: ("cpu",),
        lambda t: (t.device("cpu"), t.float64),
        lambda t: ("cpu", t.float16, True),
        lambda t: (t.zeros(1, dtype=t.float64),),
    ],
)
def test_to(args):
    same(lambda t: {k: str(v.dtype) for k, v in net(t).to(*args(t)).state_dict().items()})


def test_to_keeps_an_optimizers_parameters():
    layer = nn.Linear(2, 1)
    held = list(layer.parameters())
    layer(naiad.ones(2)).sum().backward()
    layer.to(naiad.float64)
    assert all(p is q for p, q in zip(held, layer.parameters(), strict=True))
    assert {p.grad.dtype for p in held} == {naiad.float64}
    assert layer(naiad.ones(2, dtype=naiad.float64)).dtype == naiad.float64


def test_zero_grad():
    def script(t):
        m = t.nn.Linear(2, 1)
        m(t.ones(2)).sum().backward()
        m.zero_grad(set_to_none=False)
        zeroed = m.weight.grad
        m.zero_grad()
        return zeroed, m.weight.grad

    same(script)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_separate(how):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model.tied = model[0]
    twin = how(model)
    assert twin.tied is twin[0]
    assert repr(twin) == repr(model)
    with naiad.no_grad():
        twin[0].weight.add_(1.0)
    assert not naiad.equal(twin[0].weight, model[0].weight)
    assert naiad.equal(twin[0].bias, model[0].bias)
    assert isinstance(twin[0].weight, nn.Parameter)
    twin[:2](naiad.randn(4, 2)).sum().backward()
    assert model[0].weight.grad is None


def test_parameter():
    data = naiad.zeros(2, 2)
    parameter = nn.Parameter(data)
    with naiad.no_grad():
        parameter.add_(1.0)
    assert data.sum() == 4
    assert repr(parameter).startswith("Parameter containing:\ntensor([[1., 1.],")
    assert parameter.is_leaf
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    twin = copy.deepcopy(parameter)
    assert type(twin) is nn.Parameter
    assert naiad.equal(twin, parameter)
    assert type(parameter * 2) is naiad.Tensor
    assert type(parameter.detach()) is type(parameter.data) is naiad.Tensor
    assert pickle.loads(pickle.dumps(parameter)).requires_grad


def test_calls_can_be_wrapped(monkeypatch):
    """`__call__` is an ordinary method: profilers and the like replace it."""
    seen = []
    original = nn.Module.__call__
    monkeypatch.setattr(nn.Module, "__call__", lambda self, *a, **k: seen.append(self) or original(self, *a, **k))
    layer = nn.Identity()
    assert layer(3) == 3
    assert seen == [layer]


def test_import_under_another_name_is_refused():
    source = Path(nn.__file__).read_text()
    with pytest.raises(ImportError, match=r"this folder is naiad\.nn, not 'nn'"):
        exec(compile(source, nn.__file__, "exec"), {"__name__": "nn"})
