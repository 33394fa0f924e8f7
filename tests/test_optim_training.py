"""Whole training runs against PyTorch's: model, optimizer, schedule, clipping and data loader together."""

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

STEPS = 50
RUNS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 1e-2, "amsgrad": True},
    "AdamW": {"lr": 1e-2},
    "RMSprop": {"lr": 1e-3, "momentum": 0.5, "centered": True},
    "Adadelta": {},
    "Adagrad": {"lr": 0.1},
    "NAdam": {},
    "RAdam": {},
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Two threads of PyTorch's on a busy machine wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(lib, name, dtype, rows, start):
    """The losses of one run, from given weights and data."""
    kind = getattr(lib, dtype)
    model = lib.nn.Sequential(lib.nn.Linear(8, 16), lib.nn.Tanh(), lib.nn.Linear(16, 4)).to(kind)
    model.load_state_dict({key: lib.tensor(value).to(kind) for key, value in start.items()})
    x, y = (lib.tensor(array) for array in rows)
    loader = lib.utils.data.DataLoader(lib.utils.data.TensorDataset(x.to(kind), y), batch_size=16)
    decay, no_decay = ([p for p in model.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay}]
    opt = getattr(lib.optim, name)(groups, **RUNS[name])
    cycle = name in ("SGD", "Adam", "AdamW")
    schedule = lib.optim.lr_scheduler.OneCycleLR(opt, 0.05, STEPS, cycle_momentum=cycle)
    losses = []
    while len(losses) < STEPS:
        for inputs, labels in loader:
            loss = lib.nn.functional.cross_entropy(model(inputs), labels)
            opt.zero_grad()
            loss.backward()
            lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == STEPS:
                break
    return losses


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-4)])
@pytest.mark.parametrize("name", RUNS)
def test_training_follows_torch(name, dtype, rtol):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((64, 8))
    rows = inputs, (inputs @ rng.standard_normal((8, 4))).argmax(1)
    shapes = {"0.weight": (16, 8), "0.bias": (16,), "2.weight": (4, 16), "2.bias": (4,)}
    start = {key: rng.standard_normal(shape) * 0.3 for key, shape in shapes.items()}
    ours, theirs = (train(lib, name, dtype, rows, start) for lib in (naiad, torch))
    np.testing.assert_allclose(ours, theirs, rtol=rtol)
    assert ours[-1] < ours[0]
