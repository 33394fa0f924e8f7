"""interpolate on the simulated device: every mode, up and down, forward, backward and backward of backward."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from kernel_check import FLOATS, agree, on_cuda

import naiad

pytest.importorskip("naiad.kernels.resize", reason="needs Triton: pip install 'naiad[test]'")
interpolate = naiad.nn.functional.interpolate
MODES = [
    ("nearest", 3), ("nearest", 4), ("nearest", 5), ("nearest-exact", 3), ("nearest-exact", 4), ("linear", 3),
    ("bilinear", 4), ("bicubic", 4), ("trilinear", 5), ("area", 4),
]  # fmt: skip
SIZES = {3: [(23,), (4,), (1,), (11,)], 4: [(13, 22), (3, 5), (1, 40), (7, 11)], 5: [(9, 2, 17), (1, 1, 1)]}
INPUT = {3: (2, 3, 11), 4: (2, 3, 7, 11), 5: (1, 2, 5, 4, 6)}


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("mode", "rank"), MODES)
def test_values(mode, rank, dtype):
    corners = [None] if mode in ("area", "nearest", "nearest-exact") else [False, True]
    for size, align in product(SIZES[rank], corners):
        for layout in ("contiguous", "transposed"):
            call = lambda x, s=size, a=align: interpolate(x, s, mode=mode, align_corners=a)  # noqa: E731
            agree(call, values(INPUT[rank]), dtype=dtype, layout=layout)


@pytest.mark.parametrize("scale", [0.37, 0.5, 1.0, 1.7, 3.0, (2.5, 0.61)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_factors(mode, scale):
    for recompute in (None, True):
        agree(
            lambda x, r=recompute: interpolate(x, scale_factor=scale, mode=mode, recompute_scale_factor=r),
            values((2, 2, 9, 14)),
        )


@pytest.mark.parametrize(("mode", "rank"), MODES)
def test_derivatives(mode, rank):
    def first_and_second(x, weight):
        x = x.requires_grad_()
        weight = weight.requires_grad_()
        out = interpolate(x, size, mode=mode)
        (g,) = naiad.autograd.grad((out * out * weight).sum(), x, create_graph=True)
        return g.detach(), *naiad.autograd.grad((g * g).sum(), (x, weight))

    for size in SIZES[rank]:
        agree(first_and_second, values(INPUT[rank]), values((*INPUT[rank][:2], *size), 1), tolerance=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_nearest_elements_of_other_dtypes(dtype):
    x = (np.arange(2 * 5 * 6).reshape(1, 2, 5, 6) % 3).astype(dtype)
    for mode in ("nearest", "nearest-exact"):
        there = interpolate(on_cuda(x), (7, 4), mode=mode).cpu()
        here = interpolate(naiad.from_numpy(x), (7, 4), mode=mode)
        assert there.dtype is here.dtype
        np.testing.assert_array_equal(there.numpy(), here.numpy())


def test_gradients_of_elements_that_nothing_shows_are_zero():
    for mode in ("nearest", "nearest-exact", "bilinear"):
        x = naiad.ones(1, 1, 9, 9, device="cuda", requires_grad=True)
        interpolate(x, (3, 2), mode=mode).sum().backward()
        assert (x.grad == 0).any()
        np.testing.assert_allclose(x.grad.sum().item(), 6, 1e-6)


def test_positions_are_those_of_the_cpu_in_large_images():
    """Where a position falls between two elements the ratio's last bit decides: 1 / 3 of 3000 is never rounded up."""
    x = naiad.arange(3000.0).view(1, 1, 3000)
    for mode in ("nearest", "nearest-exact", "linear"):
        for size in (1000, 4500, 7001):
            here = interpolate(x, size, mode=mode).numpy()
            np.testing.assert_allclose(interpolate(x.to("cuda"), size, mode=mode).cpu().numpy(), here, 1e-6)


def test_empty_batches():
    x = naiad.ones(0, 2, 3, 4, device="cuda", requires_grad=True)
    for mode in ("nearest", "bilinear", "bicubic"):
        out = interpolate(x, (5, 6), mode=mode)
        assert out.shape == (0, 2, 5, 6)
        out.sum().backward()
    assert x.grad.shape == x.shape


def test_backward_takes_one_large_kernel_per_dimension(launched):
    x = naiad.ones(1, 1, 4, 4, device="cuda", requires_grad=True)
    out = interpolate(x, (6, 7), mode="bilinear")
    assert launched.count("_resize") == 1
    out.backward(naiad.ones(1, 1, 6, 7, device="cuda"))
    assert launched.count("_resize_back") == 2
