"""Sizes that are no whole numbers, dtypes that are none, several elements for one number: PyTorch's error classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

Call = Callable[[Any], Any]

WRONG: dict[str, Call] = {
    "zeros of a float": lambda m: m.zeros(2.0),
    "zeros of floats": lambda m: m.zeros((2, 2.0)),
    "zeros of a string": lambda m: m.zeros("2"),
    "randn of a float": lambda m: m.randn(2.5),
    "empty": lambda m: m.empty(4 / 2, 2),
    "a layer": lambda m: m.nn.Linear(5 / 2, 1),
    "new_zeros": lambda m: m.ones(1).new_zeros(1.5),
    "bounds of randint": lambda m: m.randint(2.5, (2,)),
    "size of randint": lambda m: m.randint(2, (2.0,)),
    "randperm": lambda m: m.randperm(2.5),
    "steps": lambda m: m.linspace(0, 1, 2.5),
    "full of a string": lambda m: m.full((2,), "a"),
    "full of a list": lambda m: m.full((2,), [1]),
    "full of nothing": lambda m: m.full((2,), None),
    "dtype of tensor": lambda m: m.tensor(1, dtype="float32"),
    "dtype of zeros": lambda m: m.zeros(2, dtype="float32"),
    "dtype of a sum": lambda m: m.ones(2).sum(dtype="float32"),
    "dtype of to": lambda m: m.ones(2).to(dtype="float32"),
    "int of two": lambda m: int(m.ones(2)),
    "float of none": lambda m: float(m.ones(0)),
    "complex of two": lambda m: complex(m.ones(2)),
    "bool of two": lambda m: bool(m.ones(2)),
    "item of two": lambda m: m.ones(2).item(),
    "index of two": lambda m: [1, 2][m.ones(2).long()],
}
RIGHT: dict[str, Call] = {
    "NumPy's ints": lambda m: m.zeros(np.int64(2), np.int32(1)),
    "tensors of one": lambda m: m.zeros(m.tensor(2), m.tensor([3])),
    "a tensor in a tuple": lambda m: m.ones((m.tensor(2), 2)),
    "a Size": lambda m: m.ones(m.zeros(2, 3).shape),
    "full of a tensor": lambda m: m.full((2,), m.tensor(3)),
    "full of NumPy's float": lambda m: m.full((2,), np.float32(0.5)),
    "steps of a tensor": lambda m: m.linspace(0, 1, m.tensor(3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError)) as expected:
        WRONG[name](torch)
    with pytest.raises(expected.type):
        WRONG[name](naiad)


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str) -> None:
    found, expected = RIGHT[name](naiad), RIGHT[name](torch)
    assert str(found.dtype).split(".")[1] == str(expected.dtype).split(".")[1]
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_the_error_shows_the_argument() -> None:
    with pytest.raises(TypeError, match=r"argument 'size' must be int or a tuple of ints, not float: 2\.5"):
        naiad.zeros(2, 2.5)
    with pytest.raises(TypeError, match=r"sum\(\): argument 'dtype' must be dtype, not str: 'float32'"):
        naiad.ones(2).sum(dtype="float32")
