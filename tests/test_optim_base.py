"""What all optimizers share: parameter groups, hooks, saving, errors; and LBFGS and weight averaging."""

import copy
import pickle

import numpy as np
import pytest

import naiad
from naiad.optim import SGD, Adam

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def leaf(*shape):
    return naiad.ones(*shape, requires_grad=True)


def with_grad(*shape):
    p = leaf(*shape)
    p.grad = naiad.ones(*shape)
    return p


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (ValueError, "empty parameter list", lambda: SGD([])),
        (TypeError, "iterable of Tensors or dicts, but got naiad.Tensor", lambda: SGD(leaf(2))),
        (TypeError, "one of the params is float", lambda: SGD([1.0])),
        (TypeError, "ordered collections", lambda: SGD([{"params": {leaf(2)}}])),
        (ValueError, "can't optimize a non-leaf Tensor", lambda: SGD([leaf(2) * 2])),
        (ValueError, "Some param names are missing", lambda: SGD([("w", leaf(2)), leaf(2)])),
        (ValueError, "Invalid learning rate: -1", lambda: SGD([leaf(2)], lr=-1)),
        (ValueError, "Invalid learning rate: nan", lambda: Adam([leaf(2)], lr=float("nan"))),
        (ValueError, "Tensor lr must be 1-element", lambda: Adam([leaf(2)], lr=naiad.ones(2))),
        (ValueError, "Invalid momentum value: -0.5", lambda: SGD([leaf(2)], momentum=-0.5)),
        (ValueError, "Nesterov momentum requires", lambda: SGD([leaf(2)], nesterov=True)),
        (ValueError, "Invalid epsilon value: -1", lambda: Adam([leaf(2)], eps=-1)),
        (ValueError, "Invalid beta parameter at index 1: 1.0", lambda: Adam([leaf(2)], betas=(0.9, 1.0))),
        (ValueError, "both floats or both Tensors", lambda: Adam([leaf(2)], betas=(0.9, naiad.tensor(0.9)))),
        (ValueError, "foreach=True", lambda: Adam([leaf(2)], lr=naiad.tensor(0.1), foreach=True)),
        (ValueError, "Invalid weight_decay value: -1", lambda: Adam([leaf(2)], weight_decay=-1)),
        (ValueError, "Invalid rho value: 2", lambda: naiad.optim.Adadelta([leaf(2)], rho=2)),
        (ValueError, "Invalid alpha value: -1", lambda: naiad.optim.RMSprop([leaf(2)], alpha=-1)),
        (ValueError, "Invalid eta values: 2, 3", lambda: naiad.optim.Rprop([leaf(2)], etas=(2, 3))),
        (RuntimeError, "`fused` and `foreach`", lambda: SGD([leaf(2)], fused=True, foreach=True)),
        (
            RuntimeError,
            "`fused` does not support `differentiable`",
            lambda: Adam([leaf(2)], fused=True, differentiable=True),
        ),
        (
            ValueError,
            "per-parameter options",
            lambda: naiad.optim.LBFGS([{"params": [leaf(1)]}, {"params": [leaf(1)]}]),
        ),
        (TypeError, "unexpected keyword argument", lambda: SGD([leaf(2)], capturable=True)),
    ],
)
def test_bad_construction(error, match, make):
    with pytest.raises(error, match=match):
        make()


def test_what_cannot_be_honoured_is_refused():
    with pytest.raises(AssertionError, match="capturable=True"):
        Adam([with_grad(2)], capturable=True).step()
    p = naiad.ones(2, dtype=naiad.complex64, requires_grad=True)
    p.grad = naiad.ones(2, dtype=naiad.complex64)
    with pytest.raises(RuntimeError, match=r"floating point Tensors, but one is naiad\.complex64"):
        Adam([p], fused=True).step()


def test_gradient_of_another_shape_is_refused():
    p = leaf(2)
    p._grad = naiad.ones(3)  # behind the back of the setter, which would refuse it
    with pytest.raises(RuntimeError, match=r"shape \(2,\).*gradient.*\(3,\)"):
        SGD([p]).step()


def test_groups_take_defaults_and_keep_their_own():
    p, q = leaf(2), leaf(3)
    opt = SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1, momentum=0.9)
    assert [g["lr"] for g in opt.param_groups] == [0.1, 0.5]
    assert opt.param_groups[1]["params"] == [q] and opt.param_groups[1]["momentum"] == 0.9
    opt.add_param_group({"params": (r for r in [leaf(1)]), "momentum": 0})
    assert len(opt.param_groups) == 3 and opt.param_groups[2]["momentum"] == 0


def test_groups_that_do_not_fit():
    p = leaf(2)
    opt = SGD([p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [p]})
    with pytest.raises(TypeError, match="must be a dict"):
        opt.add_param_group([p])
    with pytest.raises(ValueError, match="cannot add param group with names"):
        opt.add_param_group({"params": [("w", leaf(2))]})
    with pytest.warns(UserWarning, match="duplicate parameters"):
        SGD([p, p])


def test_a_required_option_must_be_given():
    class Plain(naiad.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": naiad.optim.optimizer.required})

    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Plain([leaf(2)])
    with pytest.raises(NotImplementedError, match="Plain must implement step"):
        Plain([{"params": [leaf(2)], "lr": 1}]).step()


def test_named_parameters():
    p, q = leaf(2), leaf(3)
    opt = Adam([("w", p), ("b", q)])
    assert opt.param_groups[0]["param_names"] == ["w", "b"] and opt.param_groups[0]["params"] == [p, q]
    state = opt.state_dict()
    assert state["param_groups"][0]["param_names"] == ["w", "b"]
    other = Adam([("x", p), ("y", q)])
    other.load_state_dict(state)
    assert other.param_groups[0]["param_names"] == ["w", "b"]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adadelta", "Adagrad", "Adamax", "NAdam", "LBFGS"])
def test_repr_and_defaults_are_torchs(name):
    ours = getattr(naiad.optim, name)([leaf(2)])
    theirs = getattr(torch.optim, name)([torch.ones(2, requires_grad=True)])
    assert repr(ours) == repr(theirs)
    assert ours.defaults == theirs.defaults


def test_repr_of_groups():
    ours, theirs = (t.optim.SGD([{"params": t.ones(1)}, {"params": t.zeros(2), "lr": 1}], 0.5) for t in (naiad, torch))
    assert repr(ours) == repr(theirs)


def test_zero_grad():
    p, q = with_grad(2), leaf(2)
    opt = SGD([p, q])
    grad = p.grad
    opt.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0, 0] and q.grad is None
    opt.zero_grad()
    assert p.grad is None


def test_closure_runs_with_grad_and_its_loss_comes_back():
    p = leaf(2)
    opt = SGD([p], lr=0.5)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with naiad.no_grad():
        assert opt.step(closure).item() == 2.0
    assert p.tolist() == [0.0, 0.0]


def test_step_hooks():
    p = with_grad(2)
    opt = SGD([p], lr=0.1)
    seen = []
    handles = [
        opt.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre")),
        opt.register_step_post_hook(lambda o, args, kwargs: seen.append("post")),
        naiad.optim.optimizer.register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append("all pre")),
        naiad.optim.optimizer.register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append("all post")),
    ]
    opt.step()
    assert seen == ["all pre", "pre", "post", "all post"]
    for handle in handles:
        handle.remove()
    opt.step()
    assert len(seen) == 4


def test_pre_hook_replaces_arguments():
    opt = SGD([with_grad(2)], lr=0.1)
    opt.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 42), {}))
    assert opt.step() == 42
    opt.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        opt.step()


def test_hooks_work_for_a_subclass_of_ones_own():
    class Sign(naiad.optim.Optimizer):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    with naiad.no_grad():
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    opt = Sign([with_grad(2)], {"lr": 0.25})
    seen = []
    opt.register_step_post_hook(lambda o, args, kwargs: seen.append(o))
    naiad.optim.lr_scheduler.StepLR(opt, 1)
    opt.step()
    assert seen == [opt] and opt.param_groups[0]["params"][0].tolist() == [0.75, 0.75]


def test_state_dict_hooks():
    opt = Adam([with_grad(2)])
    order = []
    opt.register_state_dict_pre_hook(lambda o: order.append("save"))
    opt.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    opt.register_state_dict_post_hook(lambda o, state: order.append("first"), prepend=True)
    opt.step()
    state = opt.state_dict()
    assert state["extra"] == 1 and order == ["save", "first"]
    opt.register_load_state_dict_pre_hook(lambda o, state: {k: v for k, v in state.items() if k != "extra"})
    opt.register_load_state_dict_post_hook(lambda o: order.append("loaded"))
    opt.load_state_dict(state)
    assert order[-1] == "loaded"


def test_loading_checks_and_casts():
    opt = Adam([with_grad(2), with_grad(3)], lr=0.3)
    opt.step()
    state = opt.state_dict()
    wide = [
        naiad.ones(2, dtype=naiad.float64, requires_grad=True),
        naiad.ones(3, dtype=naiad.float64, requires_grad=True),
    ]
    other = Adam(wide)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.3
    assert other.state[wide[0]]["exp_avg"].dtype is naiad.float64
    assert other.state[wide[0]]["step"].dtype is naiad.float32
    with pytest.raises(ValueError, match="different number of parameter groups: 1, but the optimizer has 2"):
        Adam([{"params": [leaf(2)]}, {"params": [leaf(3)]}]).load_state_dict(state)
    with pytest.raises(ValueError, match="group 0 has 2 parameters there and 1 here"):
        Adam([leaf(2)]).load_state_dict(state)


def test_loading_does_not_share_options():
    opt = SGD([with_grad(2)], lr=0.3)
    state = opt.state_dict()
    other = SGD([leaf(2)])
    other.load_state_dict(state)
    other.param_groups[0]["lr"] = 9
    assert state["param_groups"][0]["lr"] == 0.3


def test_old_states_with_plain_counters_load():
    p = with_grad(2)
    opt = Adam([p])
    opt.step()
    state = copy.deepcopy(opt.state_dict())
    state["state"][0]["step"] = 1
    del state["param_groups"][0]["decoupled_weight_decay"]
    other = Adam([p])
    other.load_state_dict(state)
    assert other.state[p]["step"].item() == 1.0 and other.param_groups[0]["decoupled_weight_decay"] is False


def test_pickle():
    p = with_grad(2)
    opt = Adam([p], lr=0.1)
    opt.register_step_post_hook(lambda o, args, kwargs: None)  # hooks stay behind
    opt.step()
    other = pickle.loads(pickle.dumps(opt))
    q = other.param_groups[0]["params"][0]
    q.grad = naiad.ones(2)
    other.step()
    assert other.state[q]["step"].item() == 2


def rosenbrock(lib, p):
    return ((1 - p[:-1]) ** 2).sum() + 100 * ((p[1:] - p[:-1] ** 2) ** 2).sum()


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-3},
        {"line_search_fn": "strong_wolfe"},
        {"lr": 0.5, "line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
        {"line_search_fn": "strong_wolfe", "max_eval": 5},
    ],
)
def test_lbfgs_follows_torch(options):
    losses, ends, counts = [], [], []
    for lib in (naiad, torch):
        params = [lib.tensor([-1.2, 1.0, 0.5], dtype=lib.float64, requires_grad=True), lib.ones(2, dtype=lib.float64)]
        params[1].requires_grad_()
        opt = lib.optim.LBFGS(params, **options)

        def closure(lib=lib, params=params, opt=opt):
            opt.zero_grad()
            loss = rosenbrock(lib, params[0]) + ((params[1] - 3) ** 4).sum()
            loss.backward()
            return loss

        losses.append([opt.step(closure).item() for _ in range(5)])
        ends.append(np.concatenate([p.detach().numpy() for p in params]))
        state = opt.state_dict()["state"][0]
        counts.append((state["n_iter"], state["func_evals"], set(state) - {"al"}))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-8)
    assert counts[0] == counts[1]


def test_lbfgs_refuses_another_line_search():
    with pytest.raises(RuntimeError, match=r"only 'strong_wolfe'.*'armijo'"):
        naiad.optim.LBFGS([leaf(1)], line_search_fn="armijo").step(lambda: naiad.zeros(()))
