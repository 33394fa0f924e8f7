"""Programs in the style of public PyTorch code: the same losses as with PyTorch, and the same on the cuda device."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from programs import PROGRAMS, Run

import naiad

LIMIT = 1e-4  # largest relative difference of a loss


@functools.cache
def on_cpu(name: str) -> list[float]:
    """What the program gives with naiad on the CPU; both tests compare with it."""
    return PROGRAMS[name](Run(naiad))


def assert_near(found: list[float], expected: list[float]) -> None:
    assert len(found) == len(expected)
    assert np.isfinite(found).all()
    difference = np.abs(np.array(found) - expected) / (np.abs(expected) + 1e-3)
    assert difference.max() <= LIMIT, f"{found} where {expected} is expected"


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    torch.set_num_threads(1)  # its threads and NumPy's would wait for each other's cores
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch warns of what it does more slowly, or will not later
        expected = PROGRAMS[name](Run(torch))
    assert_near(on_cpu(name), expected)


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a GPU, or triton for the simulated one")
@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_on_cuda_are_those_of_the_cpu(name: str) -> None:
    assert_near(PROGRAMS[name](Run(naiad, "cuda")), on_cpu(name))
