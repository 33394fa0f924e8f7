"""Cross products and bounded lengths beside PyTorch: errors, broadcasting, in place; NumPy's names of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

Call = Callable[[Any], Any]


def outcome(m: Any, call: Call) -> Any:
    """What a call gives as NumPy arrays, or the class of its error."""
    try:
        result = call(m)
    except (RuntimeError, IndexError, TypeError) as error:
        return type(error)
    return [part.numpy() for part in (result if isinstance(result, (tuple, list)) else [result])]


def assert_same(call: Call) -> None:
    expected, found = outcome(torch, call), outcome(naiad, call)
    if isinstance(expected, type) or isinstance(found, type):
        assert found is expected
    else:
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, 1e-6, 1e-6)


VECTORS: dict[str, Call] = {
    "broadcast": lambda m: m.linalg.cross(m.arange(6.0).view(2, 3), m.ones(1, 3)),
    "integers": lambda m: m.cross(m.tensor([1, 2, 3]), m.tensor([4, 5, 7]), dim=0),
    "the first dimension of size 3": lambda m: m.ones(3, 3).cross(m.arange(9.0).view(3, 3)),
    "no dimension of size 3": lambda m: m.cross(m.ones(2, 2), m.ones(2, 2)),
    "another length": lambda m: m.linalg.cross(m.ones(2, 2), m.ones(2, 2)),
    "numbers of dimensions": lambda m: m.linalg.cross(m.ones(3), m.ones(1, 3)),
    "shapes": lambda m: m.linalg.cross(m.ones(2, 3), m.ones(4, 3)),
    "cross into": lambda m: m.cross(m.eye(3), m.ones(3, 3), 1, out=m.zeros(3, 3)),
    "complex dot": lambda m: m.linalg.vecdot(m.tensor([1 + 2j, 3j]), m.tensor([1j, 2 + 0j])),
    "short stays": lambda m: m.renorm(m.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), 2, 0, 1.0),
    "in place": lambda m: m.tensor([[3.0, 4.0], [0.3, 0.4]]).renorm_(1, 1, 2.0),
    "one dimension": lambda m: m.renorm(m.ones(3), 2, 0, 1.0),
    "p": lambda m: m.renorm(m.ones(3, 2), 0, 0, 1.0),
    "bound": lambda m: m.renorm(m.ones(3, 2), 2, 0, -1.0),
    "renorm of integers": lambda m: m.renorm(m.ones(3, 2).long(), 2, 0, 1.0),
    "diagonal": lambda m: m.linalg.diagonal(m.arange(12).view(3, 4), offset=1),
    "linalg.matmul into": lambda m: m.linalg.matmul(m.ones(2, 3), m.ones(3, 2), out=m.zeros(2, 2)),
    "matmul into": lambda m: m.matmul(m.arange(4.0).view(2, 2), m.ones(2, 2), out=m.rand(2, 2)),
}


@pytest.mark.filterwarnings("ignore:.*without specifying the dim arg is deprecated:UserWarning")
@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    assert_same(VECTORS[name])


def test_the_dimension_of_a_cross_product_is_to_be_given() -> None:
    with pytest.warns(UserWarning, match="It takes dimension 0 here; pass dim"):
        naiad.cross(naiad.ones(3, 2), naiad.ones(3, 2))


AXES: dict[str, Call] = {
    "cat": lambda m: m.cat([m.ones(1, 2), m.zeros(1, 2)], axis=1),
    "concatenate": lambda m: m.concatenate((m.ones(1, 2), m.zeros(1, 2)), axis=0),
    "stack": lambda m: m.stack([m.ones(2), m.zeros(2)], axis=1),
    "softmax": lambda m: m.softmax(m.arange(6.0).view(2, 3), axis=1),
    "softmax method": lambda m: m.arange(6.0).view(2, 3).softmax(axis=0),
    "squeeze": lambda m: m.ones(1, 2).squeeze(axis=0),
    "unsqueeze": lambda m: m.ones(2).unsqueeze(axis=1),
    "unsqueeze function": lambda m: m.unsqueeze(m.ones(2), axis=0),
    "topk": lambda m: m.arange(6.0).view(2, 3).topk(1, axis=0),
    "gather": lambda m: m.arange(6).view(2, 3).gather(axis=1, index=m.tensor([[2]])),
    "unbind": lambda m: m.arange(6).view(2, 3).unbind(axis=1),
    "chunk": lambda m: m.chunk(m.arange(6), 2, axis=0),
    "select": lambda m: m.arange(6).view(2, 3).select(axis=1, index=0),
    "narrow": lambda m: m.arange(6).narrow(axis=0, start=1, length=2),
    "repeat_interleave": lambda m: m.repeat_interleave(m.arange(2), 2, axis=0),
    "vector_norm": lambda m: m.linalg.vector_norm(m.ones(2, 3), axis=1),
    "keepdims": lambda m: m.ones(2, 3).mean(axis=1, keepdims=True),
    "both": lambda m: m.stack([m.ones(2)], dim=0, axis=0),
    "neither": lambda m: m.stack([m.ones(2)], along=0),
    "not a tensor": lambda m: m.softmax(1.0, axis=0),
    "split": lambda m: m.split(tensor=m.arange(6), split_size_or_sections=[2, 4], dim=0),
    "tile": lambda m: m.tile(m.arange(2), dims=(2, 1)),
}


@pytest.mark.parametrize("name", AXES)
def test_names_of_arguments(name: str) -> None:
    assert_same(AXES[name])
