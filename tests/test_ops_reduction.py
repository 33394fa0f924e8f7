"""Reductions, scans, sorting and counting beyond the table: empty dimensions, NaN, integers, named results, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

NAN = float("nan")
HOLES = [[1.0, NAN, 3.0, 2.0], [4.0, 0.5, 2.0, 2.0], [NAN, NAN, 1.0, -1.0]]


def values(result: Any) -> list:
    return [t.detach().numpy() for t in (result if isinstance(result, tuple) else (result,))]


def same(call: Any, *arrays: Any, exact: bool = False) -> None:
    """`call(module, *tensors)` gives the same with both libraries."""
    ours = values(call(naiad, *[naiad.from_numpy(np.array(a)) for a in arrays]))
    theirs = values(call(torch, *[torch.from_numpy(np.array(a)) for a in arrays]))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 0 if exact else 1e-6, 0 if exact else 1e-7)


@pytest.mark.parametrize("name", ["max", "min", "median", "nanmedian", "sort", "cummax", "cummin", "argmax", "topk"])
def test_nan_counts_as_pytorch_counts_it(name: str) -> None:
    def call(m: Any, x: Any) -> Any:
        return getattr(m, name)(x, 2) if name == "topk" else getattr(m, name)(x, 1)

    if name in ("sort", "topk"):  # of several NaNs any may come first
        same(lambda m, x: call(m, x)[0], HOLES)
    else:
        same(call, HOLES, exact=True)


@pytest.mark.parametrize("name", ["amax", "amin", "nansum", "nanmean", "logsumexp", "std", "var", "any", "all", "sum"])
def test_nan_over_rows(name: str) -> None:
    same(lambda m, x: getattr(m, name)(x, 1), HOLES)


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod", "count_nonzero", "amax", "argmin", "max", "any"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers(name: str, dtype: str) -> None:
    if name == "argmin" and dtype == "bool":
        with pytest.raises(RuntimeError, match="bool"):
            naiad.argmin(naiad.tensor([True]))
        return
    same(lambda m, x: getattr(m, name)(x, 0), np.array([[3, 0, 1], [2, 5, 1]]).astype(dtype), exact=True)


@pytest.mark.parametrize(
    "name", ["sum", "prod", "mean", "any", "all", "logsumexp", "nansum", "count_nonzero", "cumsum"]
)
def test_empty_dimensions(name: str) -> None:
    for shape, dim in (((0, 3), 0), ((0, 3), 1), ((2, 0), 1)):
        same(lambda m, x, dim=dim: getattr(m, name)(x, dim), np.zeros(shape))


@pytest.mark.parametrize("name", ["max", "amax", "argmax", "median", "aminmax"])
def test_nothing_has_no_extreme(name: str) -> None:
    with pytest.raises(IndexError, match="non-zero size"):
        getattr(naiad, name)(naiad.zeros(2, 0), dim=1)
    if name in ("max", "argmax"):
        with pytest.raises((RuntimeError, IndexError), match="Expected reduction dim to be specified"):
            getattr(naiad.zeros(0), name)()


def test_named_results() -> None:
    found = naiad.tensor([[1.0, 3.0, 2.0]]).max(dim=1)
    assert found.values.tolist() == [3.0]
    assert found.indices.tolist() == [1]
    assert found[1] is found.indices
    assert repr(found).startswith("naiad.return_types.max(\nvalues=tensor([3.]),\nindices=tensor([1]))")
    low, high = naiad.tensor([1.0, -2.0]).aminmax()
    assert (low.item(), high.item()) == (-2.0, 1.0)


def test_spellings_of_numpy() -> None:
    x = naiad.arange(6.0).reshape(2, 3)
    assert x.sum(axis=1, keepdims=True).tolist() == [[3], [12]]
    assert x.mean(axis=0).tolist() == [1.5, 2.5, 3.5]
    assert naiad.max(x, axis=1).indices.tolist() == [2, 2]
    assert naiad.argmax(x, axis=0).tolist() == [1, 1, 1]
    assert x.std(axis=1, keepdims=True).shape == (2, 1)
    with pytest.raises(TypeError, match="same"):
        naiad.amax(x, dim=0, axis=0)


def test_refusals() -> None:
    x = naiad.arange(6.0).reshape(2, 3)
    with pytest.raises(IndexError, match="Dimension out of range"):
        x.sum(2)
    with pytest.raises(RuntimeError, match="multiple times"):
        x.sum((0, 0))
    with pytest.raises(RuntimeError, match="floating point or complex dtype"):
        naiad.tensor([1, 2]).mean()
    with pytest.raises(RuntimeError, match="only support floating point"):
        naiad.tensor([1, 2]).std()
    with pytest.raises(RuntimeError, match="Expected a floating point"):
        naiad.tensor([1, 2]).norm()
    with pytest.raises(RuntimeError, match="k out of range"):
        x.topk(4)
    with pytest.raises(RuntimeError, match="out of range"):
        x.kthvalue(0)
    with pytest.raises(RuntimeError, match=r"range \[0, 1\]"):
        x.quantile(1.5)
    with pytest.raises(RuntimeError, match="order"):
        naiad.complex(x, x).amax()


def test_variance_needs_two() -> None:
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert naiad.ones(1).var().isnan()
    assert naiad.ones(1).var(correction=0).item() == 0
    assert naiad.ones(3, 1).std(1, unbiased=False).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["norm", "std"])
def test_gradient_at_zero_is_zero(name: str) -> None:
    x = naiad.zeros(3, requires_grad=True)
    getattr(x, name)().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_ties_and_picks_have_pytorchs_gradients() -> None:
    data = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    for call in (
        lambda x: x.max(),
        lambda x: x.amax(1).sum(),
        lambda x: x.max(1)[0].sum(),
        lambda x: x.median(1)[0].sum(),
        lambda x: x.cummax(1)[0].sum(),
        lambda x: x.sort(1)[0][:, 1].sum(),
        lambda x: x.prod(),
        lambda x: x.aminmax()[0],
    ):
        x, y = naiad.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        call(x).backward()
        call(y).backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


@pytest.mark.parametrize("n", [5, 50, 5000])
def test_topk_agrees_with_sort(n: int) -> None:
    naiad.manual_seed(n)
    x = naiad.randn(3, n)
    for largest in (True, False):
        values_, indices = x.topk(4, largest=largest)
        whole = x.sort(descending=largest)
        assert naiad.equal(values_, whole.values[:, :4])
        assert naiad.equal(x.take_along_dim(indices, 1), values_)


def test_sort_is_stable_both_ways() -> None:
    x = naiad.tensor([1, 0, 1, 0, 1])
    assert x.sort(stable=True).indices.tolist() == [1, 3, 0, 2, 4]
    assert x.sort(stable=True, descending=True).indices.tolist() == [0, 2, 4, 1, 3]
    same(lambda m, x: m.sort(x, dim=0, descending=True, stable=True), [3, 1, 3, 2, 1], exact=True)


def test_quantiles_of_several() -> None:
    data = np.random.default_rng(0).standard_normal((4, 5, 3))
    for dim in (0, 1, -1):
        for keep in (False, True):
            same(lambda m, x, q, d=dim, k=keep: m.quantile(x, q, d, k), data, [0.1, 0.5, 0.75])
            same(lambda m, x, q, d=dim, k=keep: m.nanquantile(x, q, d, k), data, [0.1, 0.5, 0.75])
    same(lambda m, x, q: m.quantile(x, q), data, [0.0, 1.0])


def test_half_sums_are_accumulated_in_float32() -> None:
    x = naiad.full((4096,), 0.1, dtype=naiad.float16)
    assert abs(x.sum().item() - float(np.float16(0.1)) * 4096) < 0.3
    assert x.sum().dtype is naiad.float16
    assert x.sum(dtype=naiad.float32).dtype is naiad.float32
    assert x.mean().dtype is naiad.float16


def test_out_is_written() -> None:
    out = naiad.empty(0)
    assert naiad.sum(naiad.ones(2, 3), 1, out=out) is out
    assert out.tolist() == [3, 3]
    values_, indices = naiad.empty(2), naiad.empty(2, dtype=naiad.int64)
    naiad.max(naiad.tensor([[1.0, 2.0], [4.0, 3.0]]), 1, out=(values_, indices))
    assert (values_.tolist(), indices.tolist()) == ([2, 4], [1, 0])


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf")])
def test_matrix_norms(ord: Any) -> None:
    if ord in ("nuc", 2, -2) and not hasattr(getattr(naiad, "linalg", None), "svdvals"):
        pytest.skip("singular values are not there yet")
    data = np.random.default_rng(0).standard_normal((2, 4, 3))
    same(lambda m, x: m.linalg.matrix_norm(x, ord), data)
    same(lambda m, x: m.linalg.matrix_norm(x, ord, (0, 2), True), data)


def test_unique_with_nan_and_floats() -> None:
    same(lambda m, x: m.unique(x, return_counts=True), [2.0, 1.0, 2.0, -3.0], exact=True)
    assert naiad.tensor([NAN, NAN, 1.0]).unique().numel() == 3
    assert naiad.tensor([2, 2, 1], dtype=naiad.int8).unique().dtype is naiad.int8
