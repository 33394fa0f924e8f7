"""Distinct values, counts and repetition by counts on the simulated device, against the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import naiad

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)
DRAW = np.random.default_rng(4)


def assert_same(function: Callable, *tensors: naiad.Tensor) -> None:
    found, wanted = function(*[t.to("cuda") for t in tensors]), function(*tensors)
    found, wanted = (r if isinstance(r, tuple) else (r,) for r in (found, wanted))
    for mine, other in zip(found, wanted, strict=True):
        assert (mine.shape, mine.dtype, mine.device.type) == (other.shape, other.dtype, "cuda")
        np.testing.assert_array_equal(mine.cpu().double().numpy(), other.double().numpy())


@pytest.mark.parametrize("dtype", ["int64", "bool", "bfloat16"])
def test_distinct_elements_and_slices(dtype: str) -> None:
    x = naiad.tensor(DRAW.integers(0, 2 if dtype == "bool" else 4, (5, 3, 3)) // 2).to(getattr(naiad, dtype))
    for dim in (None, 0, -1) if dtype == "int64" else (None, 1):
        assert_same(lambda t, d=dim: t.unique(return_inverse=True, return_counts=True, dim=d), x)
        assert_same(lambda t, d=dim: t.unique_consecutive(return_inverse=True, return_counts=True, dim=d), x)
    assert_same(lambda t: t.unique(), x[0])
    assert_same(lambda t: t.unique_consecutive(return_inverse=True, return_counts=True, dim=0), x[:1])
    assert_same(lambda t: t.unique(), x[:0])


def test_nan_is_distinct_from_itself_and_both_zeros_are_the_same() -> None:
    x = naiad.tensor([1.0, float("nan"), 0.0, -0.0, float("nan"), 1.0])
    assert_same(lambda t: t.unique(return_inverse=True, return_counts=True), x)


def test_rows_in_the_order_of_what_differs_first() -> None:
    x = naiad.tensor(DRAW.integers(-2, 2, (30, 5)) * (DRAW.random((30, 5)) < 0.3))
    assert_same(lambda t: t.unique(return_inverse=True, return_counts=True, dim=0), x)


def test_counts() -> None:
    x = naiad.tensor(DRAW.integers(0, 9, 50))
    w = naiad.tensor(DRAW.integers(0, 9, 50) / 4)
    for made in (x, x.to(naiad.uint8), x.to(naiad.int32), x[:0]):
        assert_same(lambda t: t.bincount(), made)
        assert_same(lambda t: t.bincount(minlength=20), made)
    assert_same(lambda t, w: t.bincount(w), x, w)
    assert_same(lambda t, w: t.bincount(w), x, w.float())
    with pytest.raises(RuntimeError, match="bincount only supports 1-d non-negative integral inputs, but there is -1"):
        (x - 1).to("cuda").bincount()


@pytest.mark.parametrize("limits", [(0, 0), (-1, 1), (0.25, 0.5)])
def test_histogram(limits: tuple[float, float]) -> None:
    x = naiad.tensor(DRAW.standard_normal((6, 9)).astype(np.float32))
    assert_same(lambda t: t.histc(7, *limits), x)
    assert_same(lambda t: t.histc(7, *limits), x.half())
    assert_same(lambda t: t.histc(5, *limits), naiad.full((3,), 0.25))


def test_repeating_by_counts() -> None:
    x, counts = naiad.arange(12.0).reshape(4, 3), naiad.tensor([2, 0, 1, 3])
    assert_same(lambda t, c: t.repeat_interleave(c, dim=0), x, counts)
    assert_same(lambda t, c: t.repeat_interleave(c, dim=0, output_size=6), x, counts)
    assert_same(lambda t, c: c.repeat_interleave(), x, counts)
    assert_same(lambda t, c: t.repeat_interleave(c[:1], dim=1), x, counts)
    for times in (0, 1, 3):
        assert_same(lambda t, n=times: t.repeat_interleave(n, dim=1), x)
        assert_same(lambda t, n=times: t.repeat_interleave(n), x)
    with pytest.raises(RuntimeError, match="repeats can not be negative"):
        x.to("cuda").repeat_interleave(counts.to("cuda") - 1, dim=0)
