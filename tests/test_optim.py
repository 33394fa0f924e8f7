"""Optimizers against PyTorch's: the same parameters and gradients, step by step, for every option."""

import copy
import itertools

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]
WD_MAX = [{}, {"weight_decay": 0.1}, {"maximize": True}, {"weight_decay": 0.05, "maximize": True}]


def grid(**options):
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


CASES = [
    *[("SGD", {"lr": 0.1, **o}) for o in grid(momentum=[0, 0.9], weight_decay=[0, 0.1], maximize=[False, True])],
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "foreach": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "fused": True}),
    *[
        (name, {"lr": 0.01, **o})
        for name in ("Adam", "AdamW")
        for o in grid(amsgrad=[False, True], weight_decay=[0, 0.1], maximize=[False, True])
    ],
    ("Adam", {"betas": (0.3, 0.7), "eps": 1e-3}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adam", {"foreach": True}),
    ("AdamW", {"fused": True, "amsgrad": True}),
    *[
        ("RMSprop", {"lr": 0.01, **o})
        for o in grid(momentum=[0, 0.9], centered=[False, True], weight_decay=[0, 0.1], maximize=[False, True])
    ],
    *[("Adadelta", o) for o in WD_MAX],
    ("Adadelta", {"rho": 0.5, "eps": 1e-3}),
    *[("Adagrad", o) for o in WD_MAX],
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    *[("Adamax", o) for o in WD_MAX],
    *[("NAdam", o) for o in WD_MAX],
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    *[("RAdam", o) for o in WD_MAX],
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.9, 0.9)}),
    *[("Rprop", {"maximize": m}) for m in (False, True)],
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}),
    *[("ASGD", o) for o in WD_MAX],
    ("ASGD", {"t0": 5, "lambd": 0.1, "alpha": 0.5}),
]


def ident(case):
    return "-".join([case[0], *[f"{k}={v}" for k, v in case[1].items()]])


def pair(dtype, shapes=SHAPES, seed=0):
    """The same parameters on both sides."""
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in shapes]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours = [naiad.tensor(a, requires_grad=True) for a in arrays]
    return ours, theirs


def set_grads(ours, theirs, rng):
    for p, q in zip(ours, theirs, strict=True):
        grad = rng.standard_normal(tuple(q.shape))
        if q.is_complex():
            grad = grad + 1j * rng.standard_normal(tuple(q.shape))
        grad = np.asarray(grad).astype(q.detach().numpy().dtype)
        p.grad, q.grad = naiad.tensor(grad).to(p.device), torch.tensor(grad)


def run(ours, theirs, opt, ref, steps, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        set_grads(ours, theirs, rng)
        opt.step()
        ref.step()


def close(ours, theirs, rtol):
    for p, q in zip(ours, theirs, strict=True):
        expected = q.detach().numpy()
        atol = rtol * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=rtol, atol=atol)


def to_torch(value):
    """The same nested state with torch's Tensors."""
    if isinstance(value, naiad.Tensor):
        return torch.tensor(value.detach().numpy())
    if isinstance(value, dict):
        return {k: to_torch(v) for k, v in value.items()}
    return type(value)(to_torch(v) for v in value) if isinstance(value, (list, tuple)) else value


def to_naiad(value):
    if isinstance(value, torch.Tensor):
        return naiad.tensor(value.detach().numpy().copy())
    if isinstance(value, dict):
        return {k: to_naiad(v) for k, v in value.items()}
    return type(value)(to_naiad(v) for v in value) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("case", CASES, ids=ident)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 2e-5)])
def test_follows_torch(case, dtype, rtol):
    name, options = case
    ours, theirs = pair(dtype)
    opt, ref = getattr(naiad.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    run(ours, theirs, opt, ref, 40)
    close(ours, theirs, rtol)


@pytest.mark.parametrize("case", CASES, ids=ident)
def test_state_swaps_with_torch_both_ways(case):
    name, options = case
    ours, theirs = pair("float64")
    opt, ref = getattr(naiad.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    run(ours, theirs, opt, ref, 7)
    mine, other = opt.state_dict(), ref.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert list(mine["state"]) == list(other["state"])
    for key, state in other["state"].items():
        assert list(mine["state"][key]) == list(state)
        for field, value in state.items():
            found = mine["state"][key][field]
            assert str(found.dtype).split(".")[1] == str(value.dtype).split(".")[1]
            np.testing.assert_allclose(found.numpy(), value.numpy(), rtol=1e-12, atol=1e-14)
    new_opt, new_ref = getattr(naiad.optim, name)(ours), getattr(torch.optim, name)(theirs)
    new_opt.load_state_dict(to_naiad(other))
    new_ref.load_state_dict(to_torch(mine))
    run(ours, theirs, new_opt, new_ref, 10, seed=2)
    close(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adadelta", "Adagrad", "NAdam", "ASGD", "Rprop"])
def test_complex_parameters(name):
    ours, theirs = pair("complex128", [(3, 2), (4,)])
    options = {"momentum": 0.9} if name == "SGD" else {}
    opt, ref = getattr(naiad.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    run(ours, theirs, opt, ref, 20)
    close(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_blocks_and_layouts_do_not_matter(name):
    """Parameters longer than a block, transposed parameters, and gradients of another layout."""
    big = naiad.optim.rule.BLOCK * 2 + 17
    ours, theirs = pair("float64", [(big,), (30, 40)])
    ours[1] = naiad.tensor(ours[1].detach().numpy().T.copy()).t().requires_grad_()
    opt, ref = getattr(naiad.optim, name)(ours, lr=0.01), getattr(torch.optim, name)(theirs, lr=0.01)
    rng = np.random.default_rng(3)
    for _ in range(5):
        set_grads(ours, theirs, rng)
        ours[0].grad = naiad.tensor(np.stack([ours[0].grad.numpy()] * 2, 1))[:, 0]
        opt.step()
        ref.step()
    close(ours, theirs, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_once(dtype):
    start, grad = naiad.linspace(-2, 2, 9), naiad.linspace(1, -1, 9)
    p = start.to(getattr(naiad, dtype)).requires_grad_()
    q = start.to(getattr(naiad, dtype)).float().requires_grad_()
    p.grad, q.grad = grad.to(p.dtype), grad.to(p.dtype).float()
    naiad.optim.Adam([p], lr=0.1).step()
    naiad.optim.Adam([q], lr=0.1).step()
    assert p.dtype is getattr(naiad, dtype)
    assert (p == q.to(p.dtype)).all()


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop"])
def test_tensor_operations_give_the_same(name, monkeypatch):
    """Where there are no NumPy buffers, the same rule runs in tensor operations: force that path on cpu."""
    ours, theirs = pair("float64")
    options = {"momentum": 0.9} if name == "SGD" else {}
    opt, ref = getattr(naiad.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    rule = naiad.optim.rule
    monkeypatch.setattr(rule, "_update_arrays", lambda *args: rule._update_tensors(*args[:-1]))
    run(ours, theirs, opt, ref, 15)
    close(ours, theirs, 1e-12)


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs the cuda device, real or simulated")
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_on_cuda(name):
    ours, theirs = pair("float32", [(3, 4), (5,)])
    ours = [p.detach().to("cuda").requires_grad_() for p in ours]
    options = {"momentum": 0.9, "lr": 0.1} if name == "SGD" else {"weight_decay": 0.1}
    opt, ref = getattr(naiad.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(1)
    for _ in range(3):
        set_grads(ours, theirs, rng)
        opt.step()
        ref.step()
    assert all(p.device.type == "cuda" and opt.state[p].get("exp_avg", p).device.type == "cuda" for p in ours)
    close([p.cpu() for p in ours], theirs, 1e-5)


def test_fused_kernel_gets_all_parameters_in_one_call(monkeypatch):
    calls = []

    def kernel(params, grads, states, numbers):
        calls.append((len(params), len(grads), [len(s) for s in states], numbers[0]["lr"]))

    meta = [naiad.zeros(3, device="meta", requires_grad=True) for _ in range(2)]
    for p in meta:
        p.grad = naiad.zeros(3, device="meta")
    monkeypatch.setitem(naiad.optim.rule.FUSED, ("adam", "meta"), kernel)
    naiad.optim.Adam(meta, lr=0.5).step()
    assert calls == [(2, 2, [2, 2], 0.5)]


@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", {"momentum": 0.9}), ("Adam", {"weight_decay": 0.1}), ("AdamW", {}), ("RMSprop", {"centered": True})],
)
def test_differentiable_step(name, options):
    """The gradient of a loss after two steps with respect to the starting point.

    PyTorch then counts the steps in float32, so its bias corrections are good to 1e-7 only.
    """
    grads = []
    for lib in (naiad, torch):
        start = lib.tensor([1.0, -2.0, 3.0], dtype=lib.float64, requires_grad=True)
        p = start.clone()
        p.grad = (start * start).detach()
        opt = getattr(lib.optim, name)([p], lr=0.1, differentiable=True, **options)
        opt.step()
        opt.step()
        (p * p).sum().backward()
        grads.append(start.grad.numpy())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5)


def test_tensor_learning_rate():
    ours, theirs = pair("float64")
    opt = naiad.optim.Adam(ours, lr=naiad.tensor(0.01, dtype=naiad.float64))
    ref = torch.optim.Adam(theirs, lr=torch.tensor(0.01, dtype=torch.float64))
    run(ours, theirs, opt, ref, 10)
    close(ours, theirs, 1e-12)


def test_step_marks_the_parameter_as_changed():
    x = naiad.ones(3, requires_grad=True)
    y = (x * x).sum()
    x.grad = naiad.ones(3)
    naiad.optim.SGD([x], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_parameters_without_gradient_are_left_alone():
    p, q = naiad.ones(2, requires_grad=True), naiad.ones(2, requires_grad=True)
    p.grad = naiad.ones(2)
    opt = naiad.optim.Adam([p, q], lr=0.1)
    opt.step()
    assert q not in opt.state and q.tolist() == [1.0, 1.0]
    assert p.tolist() == pytest.approx([0.9, 0.9])


def test_deepcopy_keeps_parameters_and_state_together():
    p = naiad.ones(2, requires_grad=True)
    p.grad = naiad.ones(2)
    opt = naiad.optim.Adam([p], lr=0.1)
    opt.step()
    twin = copy.deepcopy(opt)
    other = twin.param_groups[0]["params"][0]
    assert other is not p and list(twin.state) == [other]
    other.grad = naiad.ones(2)
    twin.step()
    assert twin.state[other]["step"].item() == 2 and opt.state[p]["step"].item() == 1
