"""state_dict and load_state_dict: contents, metadata, hooks, extra state, and every disagreement's words."""

from collections import OrderedDict

import pytest
from nn_oracle import same, torch

import naiad
from naiad import nn


def model(t):
    return t.nn.Sequential(OrderedDict(body=t.nn.Linear(2, 3), norm=t.nn.BatchNorm1d(3)))


def without(state, *parts):
    return OrderedDict((k, v) for k, v in state.items() if not any(part in k for part in parts))


def loaded(change, **options):
    """A script that loads a model's changed state_dict."""

    def script(t):
        state = model(t).state_dict()
        return repr(model(t).load_state_dict(change(state, t) or state, **options))

    return script


LOADS = {
    "whole": loaded(lambda s, t: None),
    "missing": loaded(lambda s, t: without(s, "body.bias")),
    "missing allowed": loaded(lambda s, t: without(s, "body.bias"), strict=False),
    "unexpected": loaded(lambda s, t: s.update({"head.weight": t.zeros(1), "body.extra": t.zeros(1), "x": t.zeros(1)})),
    "unexpected allowed": loaded(lambda s, t: s.update({"x": t.zeros(1)}), strict=False),
    "misshaped": loaded(lambda s, t: s.update({"body.weight": t.zeros(4, 2), "norm.bias": t.zeros(())})),
    "all at once": loaded(lambda s, t: {"body.weight": t.zeros(1), "x": t.zeros(1), "norm.bias": t.zeros(2)}),
    "misshaped though not strict": loaded(lambda s, t: s.update({"body.weight": t.zeros(4, 2)}), strict=False),
    "no tensor": loaded(lambda s, t: s.update({"body.weight": 3})),
    "version 1": loaded(lambda s, t: without(s, "tracked")),
    "no mapping": lambda t: model(t).load_state_dict([1, 2]),
    "one element for a scalar": loaded(lambda s, t: s.update({"norm.num_batches_tracked": t.tensor([7])})),
    "metadata": lambda t: {k: dict(v) for k, v in model(t).state_dict()._metadata.items()},
    "prefix": lambda t: list(model(t).state_dict(prefix="net.")),
    "keep_vars": lambda t: [v.requires_grad for k, v in model(t).state_dict(keep_vars=True).items()],
    "detached": lambda t: [v.requires_grad for k, v in model(t).state_dict().items()],
    "destination": lambda t: list(model(t).state_dict(destination=OrderedDict(a=1))),
}


@pytest.mark.parametrize("name", LOADS)
def test_load(name):
    same(LOADS[name])


def test_errors_name_every_key():
    state = model(naiad).state_dict()
    state["x"] = state.pop("body.bias")
    with pytest.raises(RuntimeError, match="in loading state_dict for Sequential") as caught:
        model(naiad).load_state_dict(state)
    assert 'Missing key(s) in state_dict: "body.bias"' in str(caught.value)
    assert 'Unexpected key(s) in state_dict: "x"' in str(caught.value)


def test_values_are_shared_when_saved_and_copied_when_loaded():
    first, second = model(naiad), model(naiad)
    state = first.state_dict()
    second.load_state_dict(state)
    assert naiad.equal(second.body.weight, first.body.weight)
    with naiad.no_grad():
        first.body.weight.zero_()
    assert state["body.weight"].abs().sum() == 0
    assert second.body.weight.abs().sum() > 0


def test_assign_takes_the_tensors_themselves():
    def script(t):
        m = model(t)
        state = OrderedDict((k, v.double() if v.is_floating_point() else v) for k, v in model(t).state_dict().items())
        m.load_state_dict(state, assign=True)
        kinds = [type(p).__name__ for p in m.parameters()]
        return kinds, [str(v.dtype) for v in m.state_dict().values()], m.norm.running_mean is state["norm.running_mean"]

    same(script)


def test_hooks():
    def script(t):
        m = model(t)
        told = []
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: told.append(("pre", prefix, keep)))
        m.body.register_state_dict_post_hook(lambda mod, s, prefix, meta: s.update(added=prefix))
        m.body._register_state_dict_hook(lambda mod, s, prefix, meta: told.append(("old", prefix, dict(meta))))
        state = m.state_dict()
        told.append(list(state))
        m.register_load_state_dict_pre_hook(lambda mod, s, *rest: s.pop("added") and None)
        handle = m.register_load_state_dict_post_hook(lambda mod, keys: told.append(("post", *map(list, keys))))
        m.load_state_dict(state)
        handle.remove()
        m.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
        told.append(repr(m.load_state_dict({}, strict=False)))
        return told

    same(script)


def test_a_post_hook_that_returns_something_is_refused():
    m = model(naiad)
    m.register_state_dict_post_hook(lambda *args: 3)
    with pytest.raises(RuntimeError, match="must return None"):
        m.state_dict()


def test_extra_state():
    def script(t):
        class Counting(t.nn.Module):
            count = 0

            def get_extra_state(self):
                return {"count": self.count}

            def set_extra_state(self, state):
                self.count = state["count"]

        first, second = t.nn.Sequential(Counting()), t.nn.Sequential(Counting())
        first[0].count = 5
        state = first.state_dict()
        second.load_state_dict(state)
        return list(state), second[0].count, repr(second.load_state_dict({}, strict=False))

    same(script)


def test_unwanted_extra_state():
    same(lambda t: t.nn.ReLU().load_state_dict({"_extra_state": 1}))


def test_a_class_may_migrate_its_own_format():
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(naiad.ones(2))

        def _load_from_state_dict(self, state_dict, prefix, *args):
            if prefix + "scale" in state_dict:
                state_dict[prefix + "gain"] = state_dict.pop(prefix + "scale")
            super()._load_from_state_dict(state_dict, prefix, *args)

    given = {"0.scale": naiad.zeros(2)}
    net = nn.Sequential(Renamed())
    net.load_state_dict(given)
    assert net[0].gain.sum() == 0
    assert list(given) == ["0.scale"]


@pytest.mark.parametrize("t", [naiad, torch], ids=["naiad", "torch"])
def test_the_prefix_of_a_wrapped_module_is_taken_off(t):
    state = t.nn.DataParallel(model(t)).state_dict()
    t.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == list(model(t).state_dict())
    assert list(state._metadata) == ["", "body", "norm"]
    model(t).load_state_dict(state)
