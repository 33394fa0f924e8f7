"""Whole training runs against real PyTorch: the same weights and data give the same losses for 50 steps."""

from __future__ import annotations

import numpy as np
import pytest
from training_models import MODELS, losses

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

STEPS = 50
LIMITS = {"float64": 1e-9, "float32": 1e-4}  # largest relative difference of a loss


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("kind", MODELS)
def test_losses_follow_torch(kind: str, dtype: str, record_property) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    torch.set_num_threads(1)  # its threads and NumPy's would wait for each other's cores
    theirs = MODELS[kind](torch).to(getattr(torch, dtype))
    ours = MODELS[kind](naiad).to(getattr(naiad, dtype))
    state = {k: naiad.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    expected = losses(torch, theirs, kind, getattr(torch, dtype), STEPS, 1e-4)
    found = losses(naiad, ours, kind, getattr(naiad, dtype), STEPS, 1e-4)
    difference = np.max(np.abs(np.array(found) - expected) / np.abs(expected))
    record_property("largest relative difference", float(difference))  # a plain number: it travels between processes
    print(f"{kind} {dtype}: largest relative difference of a loss {difference:.2e} over {STEPS} steps")
    assert difference <= LIMITS[dtype]
    assert len(set(found)) == STEPS  # it did train
