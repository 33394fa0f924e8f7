"""Long rows in order on the simulated device: the passes over digits against the CPU, and what is read off them."""

from __future__ import annotations

import numpy as np
import pytest

import naiad

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)
FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of more than 8 elements count as long."""
    from naiad.core import replay
    from naiad.kernels import order

    replay.forget()
    monkeypatch.setattr(order, "LONGEST", 8)
    yield
    replay.forget()


def values(dtype: str) -> naiad.Tensor:
    """Rows (3, 48) with many equals, and for floats with NaN, infinities and both zeros."""
    draw = np.random.default_rng(5)
    if dtype not in FLOATS:
        low = 0 if dtype in ("uint8", "bool") else -100
        return naiad.tensor(draw.integers(low, 100, (3, 48))).to(getattr(naiad, dtype))
    x = draw.integers(-9, 9, (3, 48)) / 4
    x[0, [3, 8]], x[1, 4], x[1, 5], x[2, ::7] = np.nan, np.inf, -np.inf, -0.0
    return naiad.tensor(x).to(getattr(naiad, dtype))


def assert_equal(found: object, wanted: object) -> None:
    for mine, other in zip(found, wanted, strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(mine.cpu().double().numpy(), other.double().numpy())


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_long_rows_in_order(dtype: str) -> None:
    x = values(dtype)
    few = dtype in ("bfloat16", "uint8")
    for dim, given in ((1, x), (1, x.reshape(3, 16, 3)))[: 1 + few]:
        there = given.to("cuda")
        for descending in (False, True):
            assert_equal(there.sort(dim, descending), given.sort(dim, descending, stable=True))
        if few:
            assert_equal(there.kthvalue(5, dim), given.kthvalue(5, dim))
            assert_equal(there.topk(4, dim)[:1], given.topk(4, dim)[:1])
            assert_equal(there.median(dim), given.median(dim))
            assert_equal(there.mode(dim), given.mode(dim))
            assert_equal(there.nanmedian(dim), given.nanmedian(dim))


@pytest.mark.usefixtures("short_limit")
def test_columns_that_do_not_lie_side_by_side_and_quantiles() -> None:
    x = values("float32")
    assert_equal(x.to("cuda").t().sort(0), x.t().sort(0))
    given = x[1:].nan_to_num(posinf=9.0, neginf=-9.0)
    q = naiad.tensor([0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        given.to("cuda").quantile(q.to("cuda"), 1).cpu().numpy(), given.quantile(q, 1).numpy(), rtol=1e-6
    )


def test_a_row_of_several_blocks_in_order() -> None:
    x = naiad.tensor(np.random.default_rng(1).standard_normal(20_000).astype(np.float32))
    assert_equal(x.to("cuda").sort(), x.sort())
    assert x.to("cuda").median().item() == x.median().item()
