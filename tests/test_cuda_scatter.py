"""gather, scatter and its reductions on the simulated device: shapes, dtypes and sizes beyond the samples."""

from __future__ import annotations

import numpy as np
import pytest

import naiad

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)
MODES = ("sum", "prod", "mean", "amax", "amin")


def both(function: object, *tensors: naiad.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(what the device gives, what the CPU gives)."""
    found, wanted = function(*[t.to("cuda") for t in tensors]), function(*tensors)
    assert (found.shape, found.dtype, found.device.type) == (wanted.shape, wanted.dtype, "cuda")
    return found.cpu().double().numpy(), wanted.double().numpy()


def drawn(*shape: int, dtype: str = "float32", high: int = 4) -> naiad.Tensor:
    draw = np.random.default_rng(sum(shape))
    return naiad.tensor(draw.integers(1, high, shape)).to(getattr(naiad, dtype))


def numbers(*shape: int, high: int) -> naiad.Tensor:
    return naiad.tensor(np.random.default_rng(3).integers(0, high, shape))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_reductions_of_other_dtypes(dtype: str, mode: str) -> None:
    x, src = drawn(3, 4, dtype=dtype), drawn(3, 6, dtype=dtype)
    found, wanted = both(lambda x, i, s: x.scatter_reduce(1, i, s, mode), x, numbers(3, 6, high=4), src)
    np.testing.assert_allclose(found, wanted, rtol=1e-2 if dtype.endswith("16") else 1e-12)


@pytest.mark.parametrize("mode", ["prod", "amin"])
def test_runs_that_go_on_over_several_blocks(mode: str) -> None:
    """One place gets a whole block and parts of those before and after it, with others before and behind."""
    n = 2500
    index = naiad.tensor(np.where(np.arange(n) % 10 == 0, np.arange(n) % 7, 3))
    src = naiad.tensor(np.random.default_rng(0).choice([1.0, -1.0, 1.001, 0.999], n).astype(np.float32))
    found, wanted = both(lambda x, i, s: x.scatter_reduce(0, i, s, mode), naiad.full((7,), 0.5), index, src)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_extremes_keep_nan() -> None:
    x, src = naiad.tensor([1.0, float("nan"), 2.0]), naiad.tensor([5.0, 0.0, float("nan"), -1.0])
    for mode in ("amax", "amin"):
        found, wanted = both(lambda x, i, s, m=mode: x.scatter_reduce(0, i, s, m), x, naiad.tensor([0, 1, 2, 0]), src)
        np.testing.assert_array_equal(found, wanted)


def test_more_dimensions_than_a_kernel_walks_over() -> None:
    """Six dimensions, none of which merge: the index is smaller than the input in all of them."""
    x, index = drawn(3, 4, 3, 4, 3, 5), numbers(2, 3, 2, 3, 2, 4, high=3)
    for function in (
        lambda x, i: x.gather(2, i),
        lambda x, i: x.scatter_add(2, i, x[:2, :3, :2, :3, :2, :4]),
        lambda x, i: x.scatter_reduce(0, i, x, "prod"),
        lambda x, i: x.scatter(5, i, 7.0),
    ):
        np.testing.assert_allclose(*both(function, x, index), rtol=1e-6)


@pytest.mark.traps
def test_an_index_out_of_range_is_an_error() -> None:
    x, src = naiad.zeros(3, 4, device="cuda"), naiad.ones(3, 2, device="cuda")
    for wrong in (4, -1):
        index = naiad.tensor([[0, 1], [2, wrong], [0, 1]], device="cuda")
        for call in (
            lambda i: x.gather(1, i),
            lambda i: x.scatter(1, i, src),
            lambda i: x.scatter_add(1, i, src),
            lambda i: x.scatter_reduce(1, i, src, "amax"),
        ):
            with pytest.raises(IndexError, match="index out of range"):
                call(index)


def test_as_strided_backward_where_windows_overlap() -> None:
    def gradient(x: naiad.Tensor) -> naiad.Tensor:
        x = x.clone().requires_grad_()
        seen = x.as_strided((3, 2, 4), (2, 1, 3), 1)
        (once,) = naiad.autograd.grad((seen**3).sum(), x, create_graph=True)
        (twice,) = naiad.autograd.grad((once**2).sum(), x)
        return once.detach() + twice

    np.testing.assert_allclose(*both(gradient, drawn(16)), rtol=1e-6)
    np.testing.assert_allclose(*both(gradient, drawn(8, 2).t()), rtol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_bags_of_embeddings_some_of_them_empty(mode: str, last: bool) -> None:
    """Bags of 2, 0, 3 and 2 elements, one of which is padding; if `last`, two more elements are in no bag."""

    def call(weight: naiad.Tensor, index: naiad.Tensor, offsets: naiad.Tensor) -> naiad.Tensor:
        facts = dict(mode=mode, padding_idx=1, include_last_offset=last)
        weight = weight.clone().requires_grad_()
        found = naiad.nn.functional.embedding_bag(index, weight, offsets, **facts)
        (g,) = naiad.autograd.grad((found**3).sum(), weight)
        return naiad.cat([found.detach(), g])

    offsets = [0, 2, 2, 5, 7] if last else [0, 2, 2, 5]
    index = naiad.tensor([3, 0, 2, 1, 4, 3, 1, *([2, 0] if last else [])])
    weight = naiad.tensor(np.random.default_rng(0).standard_normal((5, 3)))
    np.testing.assert_allclose(*both(call, weight, index, naiad.tensor(offsets)), rtol=1e-9)
