"""Learning-rate schedules against PyTorch's: every rate and momentum of 100 steps, to the last bit."""

import warnings

import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

LAMBDAS = [lambda e: 0.95**e, lambda e: 1 / (1 + e)]


def wave(x):
    return 0.5 * (1 + x % 3)


CASES = [
    ("LambdaLR", {"lr_lambda": LAMBDAS[0]}),
    ("LambdaLR", {"lr_lambda": LAMBDAS}),
    ("MultiplicativeLR", {"lr_lambda": lambda e: 0.97}),
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 3, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [3, 10, 10, 50]}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.7, "total_iters": 20}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.6, "total_iters": 30}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 60, "power": 1.7}),
    ("CosineAnnealingLR", {"T_max": 20}),
    ("CosineAnnealingLR", {"T_max": 100, "eta_min": 1e-3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 1e-3}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 7}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": 0.5, "step_size_up": 7, "step_size_down": 3}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 7, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 7, "mode": "exp_range", "gamma": 0.98}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 7, "scale_fn": wave, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 7, "scale_fn": wave, "scale_mode": "iterations"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 120}),
    ("OneCycleLR", {"max_lr": [0.5, 0.2], "epochs": 12, "steps_per_epoch": 10, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 101, "three_phase": True, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 101, "cycle_momentum": False, "div_factor": 10.0}),
]


def ident(case):
    return "-".join([case[0], *[k for k in case[1] if k not in ("base_lr", "max_lr")]])


def optimizer(lib, name="SGD"):
    """Two groups with rates of their own."""
    groups = [{"params": [lib.zeros(2, requires_grad=True)]}, {"params": [lib.zeros(3, requires_grad=True)], "lr": 0.3}]
    return getattr(lib.optim, name)(groups, lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))


def trace(opt, scheduler, steps, *args):
    rows = []
    for _ in range(steps):
        opt.step()
        scheduler.step(*args)
        rows.append((scheduler.get_last_lr(), [(g["lr"], g.get("momentum"), g.get("betas")) for g in opt.param_groups]))
    return rows


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CASES, ids=ident)
def test_follows_torch_to_the_last_bit(case, name):
    rows = []
    for lib in (naiad, torch):
        opt = optimizer(lib, name)
        scheduler = getattr(lib.optim.lr_scheduler, case[0])(opt, **case[1])
        rows.append([scheduler.get_last_lr(), *trace(opt, scheduler, 100)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("case", CASES, ids=ident)
def test_state_swaps_with_torch(case):
    """The same keys, and a schedule loaded from the other side's state goes on as that one does."""
    made = {}
    for lib in (naiad, torch):
        opt = optimizer(lib)
        scheduler = getattr(lib.optim.lr_scheduler, case[0])(opt, **case[1])
        trace(opt, scheduler, 13)
        made[lib] = (opt, scheduler)
    (opt, ours), (ref, theirs) = made[naiad], made[torch]
    assert set(ours.state_dict()) == set(theirs.state_dict()) - {"_scale_fn_ref"}
    new = optimizer(naiad)
    scheduler = getattr(naiad.optim.lr_scheduler, case[0])(new, **case[1])
    for group, source in zip(new.param_groups, ref.param_groups, strict=True):
        group.update({key: value for key, value in source.items() if key != "params"})
    scheduler.load_state_dict(theirs.state_dict())
    assert trace(new, scheduler, 20) == trace(ref, theirs, 20) == trace(opt, ours, 20)


@pytest.mark.parametrize(
    "name", ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR"]
)
def test_closed_forms(name):
    """`step(epoch)` jumps by the closed form, and warns that it is deprecated."""
    options = next(case[1] for case in CASES if case[0] == name)
    rows = []
    for lib in (naiad, torch):
        opt = optimizer(lib)
        scheduler = getattr(lib.optim.lr_scheduler, name)(opt, **options)
        opt.step()
        with pytest.warns(UserWarning, match="epoch parameter"):
            scheduler.step(17)
        rows.append(scheduler.get_last_lr())
    assert rows[0] == rows[1]


def test_fractional_epochs_of_warm_restarts():
    rows = []
    for lib in (naiad, torch):
        opt = optimizer(lib)
        scheduler = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 4, 3)
        opt.step()
        rows.append([])
        for i in range(60):
            scheduler.step(i / 3)
            rows[-1].append(scheduler.get_last_lr())
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "factor": 0.5},
        {"mode": "max", "patience": 1, "cooldown": 2},
        {"patience": 1, "threshold_mode": "abs", "threshold": 0.05, "min_lr": [1e-3, 1e-2]},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.5, "patience": 0, "eps": 1e-4},
    ],
)
def test_plateau_follows_torch(options):
    metrics = [1 / (1 + i) if i < 20 else 0.05 + 0.01 * (i * 7 % 5) for i in range(100)]
    rows = []
    for lib in (naiad, torch):
        opt = optimizer(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(opt, **options)
        rows.append([])
        for metric in metrics:
            scheduler.step(metric)
            rows[-1].append((scheduler.get_last_lr(), scheduler.num_bad_epochs, scheduler.best))
        rows.append(set(scheduler.state_dict()))
    assert rows[:2] == rows[2:]


def sequential(lib, opt):
    s = lib.optim.lr_scheduler
    parts = [s.ConstantLR(opt, 0.1, 3), s.ExponentialLR(opt, 0.9), s.CosineAnnealingLR(opt, 10)]
    return s.SequentialLR(opt, parts, milestones=[4, 15])


def chained(lib, opt):
    s = lib.optim.lr_scheduler
    return s.ChainedScheduler([s.LinearLR(opt, 0.2, total_iters=4), s.StepLR(opt, 6, 0.5), s.ExponentialLR(opt, 0.9)])


def nested(lib, opt):
    s = lib.optim.lr_scheduler
    inner = s.SequentialLR(opt, [s.LinearLR(opt, 0.1), s.StepLR(opt, 2)], milestones=[5])
    return s.SequentialLR(opt, [inner, s.CosineAnnealingWarmRestarts(opt, 5)], milestones=[12])


@pytest.mark.filterwarnings("ignore:Detected call")  # nested: its first part takes a step before the optimizer does
@pytest.mark.parametrize("build", [sequential, chained, nested])
def test_composites_follow_torch(build):
    rows, keys = [], []
    for lib in (naiad, torch):
        opt = optimizer(lib)
        scheduler = build(lib, opt)
        rows.append([scheduler.get_last_lr(), *trace(opt, scheduler, 40)])
        keys.append(set(scheduler.state_dict()))
    assert rows[0] == rows[1] and keys[0] == keys[1]


def test_composite_state_round_trip():
    opt = optimizer(naiad)
    scheduler = sequential(naiad, opt)
    trace(opt, scheduler, 9)
    new = optimizer(naiad)
    other = sequential(naiad, new)
    other.load_state_dict(scheduler.state_dict())
    new.load_state_dict(opt.state_dict())
    assert trace(new, other, 20) == trace(opt, scheduler, 20)


def test_tensor_rates_change_in_place():
    lr = naiad.tensor(0.1, dtype=naiad.float64)
    opt = naiad.optim.Adam([naiad.zeros(2, requires_grad=True)], lr=lr)
    scheduler = naiad.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    trace(opt, scheduler, 3)
    assert opt.param_groups[0]["lr"] is lr and lr.item() == pytest.approx(0.0125)


def test_callable_objects_are_saved():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate**epoch

    opt = naiad.optim.SGD([naiad.zeros(2, requires_grad=True)], lr=1.0)
    scheduler = naiad.optim.lr_scheduler.LambdaLR(opt, Decay(0.5))
    other = naiad.optim.lr_scheduler.LambdaLR(opt, Decay(0.9))
    other.load_state_dict(scheduler.state_dict())
    assert other.lr_lambdas[0].rate == 0.5


def test_wrong_order_of_steps_warns():
    opt = optimizer(naiad)
    scheduler = naiad.optim.lr_scheduler.StepLR(opt, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


def test_replaced_step_warns():
    opt = optimizer(naiad)
    scheduler = naiad.optim.lr_scheduler.StepLR(opt, 1)
    opt.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden"):
        scheduler.step()


def test_get_lr_outside_of_step_warns():
    scheduler = naiad.optim.lr_scheduler.StepLR(optimizer(naiad), 1)
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


def test_right_order_is_silent():
    opt = optimizer(naiad)
    scheduler = naiad.optim.lr_scheduler.StepLR(opt, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(opt, scheduler, 3)
    assert scheduler.last_epoch == 3


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (TypeError, "is not an Optimizer", lambda s, o: s.StepLR(object(), 1)),
        (KeyError, "initial_lr", lambda s, o: s.StepLR(o, 1, last_epoch=3)),
        (ValueError, "Expected 2 lr_lambdas, but got 1", lambda s, o: s.LambdaLR(o, [lambda e: 1.0])),
        (TypeError, "should be a function, but got float", lambda s, o: s.MultiplicativeLR(o, 0.5)),
        (ValueError, "between 0 and 1, but got 2", lambda s, o: s.ConstantLR(o, 2)),
        (ValueError, "greater than 0", lambda s, o: s.LinearLR(o, 0)),
        (ValueError, "positive integer T_0, but got 0", lambda s, o: s.CosineAnnealingWarmRestarts(o, 0)),
        (ValueError, "same length as optimizer.param_groups", lambda s, o: s.CyclicLR(o, [1, 2, 3], 4)),
        (ValueError, "mode is invalid", lambda s, o: s.CyclicLR(o, 1, 2, mode="square")),
        (ValueError, "either total_steps OR", lambda s, o: s.OneCycleLR(o, 1)),
        (
            ValueError,
            "positive integer epochs, but got 0",
            lambda s, o: s.OneCycleLR(o, 1, epochs=0, steps_per_epoch=1),
        ),
        (ValueError, "'cos' or 'linear'", lambda s, o: s.OneCycleLR(o, 1, 9, anneal_strategy="cubic")),
        (ValueError, "Factor should be < 1.0", lambda s, o: s.ReduceLROnPlateau(o, factor=1.5)),
        (ValueError, "mode best is unknown", lambda s, o: s.ReduceLROnPlateau(o, mode="best")),
        (ValueError, "at least one scheduler", lambda s, o: s.SequentialLR(o, [], [])),
        (ValueError, "one more than", lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1])),
        (ValueError, "does not support", lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)])),
        (
            ValueError,
            "same optimizer",
            lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), s.StepLR(optimizer(naiad), 1)]),
        ),
    ],
)
def test_bad_input(error, match, make):
    with pytest.raises(error, match=match):
        make(naiad.optim.lr_scheduler, optimizer(naiad))


def test_cycling_momentum_needs_a_momentum():
    opt = naiad.optim.Adagrad([naiad.zeros(2, requires_grad=True)])
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        naiad.optim.lr_scheduler.OneCycleLR(opt, 1.0, 10)


def test_one_cycle_ends():
    opt = optimizer(naiad)
    scheduler = naiad.optim.lr_scheduler.OneCycleLR(opt, 1.0, 3)
    trace(opt, scheduler, 3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        scheduler.step()
