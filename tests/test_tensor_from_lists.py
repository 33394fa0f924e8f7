"""`tensor()` of Python's and NumPy's numbers mixed: the dtype, the values and the errors are PyTorch's."""

from __future__ import annotations

import collections
import warnings
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

LISTS: dict[str, Any] = {
    "ints and floats": [1, 2.0, True],
    "bools and ints": [True, 1],
    "complex": [1j, 2],
    "NumPy's int, a float": [np.int64(1), 2.5],
    "NumPy's float32, a float": [np.float32(1), 2.5],
    "NumPy's float32 and float64": [np.float32(1), np.float64(2)],
    "NumPy's float64, an int": [np.float64(2), 3],
    "NumPy's float16, an int": [np.float16(1), 1],
    "NumPy's int32": [np.int32(1)],
    "NumPy's small ints": [np.uint8(3), np.int8(2)],
    "NumPy's bool": [np.bool_(1)],
    "NumPy's complex": [np.complex64(1)],
    "nested": [[np.float32(1)], [2]],
    "rows of bools and floats": [[True], [2.0]],
    "arrays": (np.array([1, 2], "f4"), np.array([1, 2], "i4")),
    "an array and a list": [np.array([1, 2], "f4"), [3, 4.0]],
    "empty": [],
    "empty rows": [[], []],
    "an empty array": [np.arange(0)],
    "ranges": [range(2), range(2)],
    "a deque": collections.deque([1, 2]),
}
WRONG: dict[str, Any] = {
    "None": None,
    "None in a list": [None],
    "an object": [object()],
    "a dict": {"a": 1},
    "a set": {1, 2},
    "a string": "a",
    "a string in a list": ["a"],
    "a string later": [1.5, "a"],
    "lengths": [[1, 2], [3]],
    "beyond int64": [2**63],
    "beyond all": [2**70],
}


@pytest.mark.parametrize("name", LISTS)
def test_dtype_and_values(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch finds lists of arrays slow
        expected = torch.tensor(LISTS[name])
    found = naiad.tensor(LISTS[name])
    assert str(found.dtype).split(".")[1] == str(expected.dtype).split(".")[1]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("name", WRONG)
def test_errors(name: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError)) as expected:
        torch.tensor(WRONG[name])
    with pytest.raises(expected.type):
        naiad.tensor(WRONG[name])


def test_a_string_is_refused_with_a_dtype_too() -> None:
    with pytest.raises(TypeError, match="invalid data type 'str'"):
        naiad.tensor("1", dtype=naiad.float32)
    with pytest.raises(TypeError, match="could not make numbers of"):
        naiad.tensor([None], dtype=naiad.float32)


def test_rewards_of_an_environment_have_the_dtype_of_the_network() -> None:
    rewards = [np.float32(1.5), 0.0, 2]
    assert naiad.tensor(rewards).dtype is naiad.float32
    assert naiad.tensor(rewards[::-1]).dtype is naiad.float32
