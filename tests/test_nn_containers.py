"""Sequential, ModuleList, ModuleDict, ParameterList and ParameterDict: scripts run by both libraries."""

from collections import OrderedDict

import pytest
from nn_oracle import outcome, same


def layers(t, count=3):
    return [t.nn.Linear(i + 1, i + 2) for i in range(count)]


def sequential(t):
    return t.nn.Sequential(*layers(t))


def listed(t):
    return t.nn.ModuleList(layers(t))


def dictionary(t):
    return t.nn.ModuleDict({"b": t.nn.ReLU(), "a": t.nn.Tanh()})


def parameters(t):
    return t.nn.ParameterList([t.zeros(i + 1) for i in range(3)])


def named_parameters(t):
    return t.nn.ParameterDict({"b": t.ones(2), "a": t.nn.Parameter(t.zeros(1, 3))})


def after(make, *changes):
    """The repr of a container after changes to it, and what they gave."""

    def script(t):
        container = make(t)
        found = [repr(change(container, t)) for change in changes]
        return found, repr(container), list(container.state_dict())

    return script


def setitem(key, make):
    return lambda c, t: c.__setitem__(key, make(t))


SCRIPTS = {
    "sequential from dict": lambda t: repr(t.nn.Sequential(OrderedDict(a=t.nn.ReLU(), b=t.nn.Tanh()))),
    "sequential slice": after(sequential, lambda c, t: c[1:], lambda c, t: c[-1], lambda c, t: len(c)),
    "sequential set": after(sequential, setitem(-1, lambda t: t.nn.ReLU())),
    "sequential delete": after(sequential, lambda c, t: c.__delitem__(0), lambda c, t: c.__delitem__(slice(0, 1))),
    "sequential append": after(sequential, lambda c, t: c.append(t.nn.ReLU()).extend([t.nn.Tanh()])),
    "sequential insert": after(
        sequential, lambda c, t: c.insert(1, t.nn.ReLU()), lambda c, t: c.insert(-1, t.nn.Tanh())
    ),
    "sequential pop": after(sequential, lambda c, t: c.pop(1)),
    "sequential add": lambda t: repr(sequential(t) + sequential(t)),
    "sequential times": lambda t: repr(t.nn.Sequential(t.nn.ReLU()) * 2),
    "sequential iadd": lambda t: [repr(c) for c in [sequential(t)] for c in [c.__iadd__(t.nn.Sequential(t.nn.ReLU()))]],
    "list slice": after(listed, lambda c, t: c[1:], lambda c, t: c[-1], lambda c, t: len(c)),
    "list set": after(listed, setitem(0, lambda t: t.nn.ReLU())),
    "list delete": after(listed, lambda c, t: c.__delitem__(0), lambda c, t: c.__delitem__(slice(0, 1))),
    "list append": after(listed, lambda c, t: c.append(t.nn.ReLU()), lambda c, t: c.extend([t.nn.Tanh()])),
    "list insert": after(listed, lambda c, t: c.insert(0, t.nn.ReLU())),
    "list pop": after(listed, lambda c, t: c.pop(-1)),
    "list add": lambda t: repr(listed(t) + [t.nn.ReLU()]),
    "empty list": lambda t: repr(t.nn.ModuleList()),
    "dict": after(
        dictionary, lambda c, t: list(c), lambda c, t: list(c.keys()), lambda c, t: c["a"], lambda c, t: len(c)
    ),
    "dict change": after(
        dictionary, setitem("c", lambda t: t.nn.SiLU()), lambda c, t: c.pop("b"), lambda c, t: "b" in c
    ),
    "dict update": after(
        dictionary, lambda c, t: c.update({"a": t.nn.SiLU()}), lambda c, t: c.update([("z", t.nn.ReLU())])
    ),
    "dict clear": after(dictionary, lambda c, t: c.clear()),
    "parameters": after(parameters, lambda c, t: len(c), lambda c, t: tuple(c[-1].shape), lambda c, t: c[1:]),
    "parameters append": after(parameters, lambda c, t: c.append(t.ones(2, 2)), lambda c, t: c.append("text")),
    "parameters set": after(parameters, setitem(0, lambda t: t.ones(5))),
    "parameter dict": after(named_parameters, lambda c, t: list(c.keys()), lambda c, t: tuple(c["a"].shape)),
    "parameter dict set": after(
        named_parameters, setitem("n", lambda t: 3), lambda c, t: list(c), lambda c, t: "n" in c
    ),
    "parameter dict or": lambda t: repr(named_parameters(t) | {"c": t.ones(1)}),
    "parameter dict pop": after(named_parameters, lambda c, t: tuple(c.pop("b").shape), lambda c, t: c.get("b", 5)),
    "parameter dict rest": after(
        named_parameters,
        lambda c, t: tuple(c.setdefault("q", t.ones(7)).shape),
        lambda c, t: c.popitem()[0],
        lambda c, t: list(reversed(c)),
        lambda c, t: [k for k, _ in c.items()],
        lambda c, t: c.fromkeys(["x"], 1),
        lambda c, t: c.clear(),
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_container(name):
    same(SCRIPTS[name])


ERRORS = {
    "sequential index": lambda t: sequential(t)[3],
    "sequential insert": lambda t: sequential(t).insert(0, 3),
    "sequential add": lambda t: sequential(t) + [t.nn.ReLU()],
    "sequential times": lambda t: sequential(t) * 0,
    "list index": lambda t: listed(t)[-4],
    "list extend": lambda t: listed(t).extend(3),
    "list call": lambda t: listed(t)(3),
    "dict key": lambda t: dictionary(t)["x"],
    "dict value": lambda t: dictionary(t).update({"x": 3}),
    "dict source": lambda t: dictionary(t).update(3),
    "dict pair": lambda t: dictionary(t).update([("a", t.nn.ReLU(), 1)]),
    "parameter key": lambda t: named_parameters(t).__setitem__(3, t.ones(1)),
    "parameters extend": lambda t: parameters(t).extend(t.ones(2)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_pytorchs_class(name):
    ours, theirs = outcome(ERRORS[name], "naiad"), outcome(ERRORS[name], "torch")
    assert ours[0] == theirs[0]
    assert ours[0].endswith("Error")
