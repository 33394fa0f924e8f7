"""Sorting kernels against the CPU: values, and positions of equals."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

import naiad

radix = pytest.importorskip("naiad.kernels.radix", reason="needs Triton: pip install 'naiad[test]'")
SHAPES = {"rows": ((3, 7), 1), "columns": ((5, 3), 0), "middle": ((2, 6, 3), 1), "long": ((2, 700), 1)}


def sample(shape, holes=False):
    """Multiples of 1/4 with many ties, and if `holes` some NaN and infinities."""
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, shape) / 4
    return np.where(rng.random(shape) < 0.2, rng.choice([np.nan, np.inf, -np.inf], shape), x) if holes else x


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [*FLOATS, "float64"])
@pytest.mark.parametrize("holes", [False, True])
def test_sorting_and_selecting(name, dtype, holes):
    shape, dim = SHAPES[name]
    x = sample(shape, holes)
    for descending in (False, True):
        agree(lambda x, d=descending: naiad.sort(x, dim, d), x, dtype=dtype)
        agree(lambda x, d=descending: naiad.topk(x, 3, dim, d)[0], x, dtype=dtype)
        agree(lambda x, d=descending: x.gather(dim, naiad.topk(x, 3, dim, d)[1]), x, dtype=dtype)
    for function in (naiad.median, naiad.nanmedian):
        agree(lambda x, f=function: f(x, dim), x, dtype=dtype)
    agree(lambda x: naiad.kthvalue(x, 2, dim), x, dtype=dtype)


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_layouts_and_integers(layout):
    x = sample((4, 6))
    agree(lambda x: naiad.sort(x, 0), x, layout=layout)
    for dtype in (np.int64, np.int8, np.uint8):
        agree(lambda x: naiad.sort(x, 1, True), np.abs(x * 4).astype(dtype), layout=layout)
    agree(lambda x: naiad.sort(x, 1), np.array([[2**62 + 1, 2**62, -(2**63)]]))
    agree(lambda x: naiad.sort(x, 1), x > 0, layout=layout)


def test_numbers_nothing_and_too_much():
    agree(lambda x: naiad.sort(x), np.array(3.0))
    agree(lambda x: naiad.sort(x, 1), np.zeros((2, 0)))
    agree(lambda x: naiad.topk(x, 0), np.zeros((2, 3)))
    agree(lambda x: naiad.median(x, 1), np.full((2, 3), np.nan))
    agree(lambda x: naiad.nanmedian(x, 1), np.full((2, 3), np.nan))
    with pytest.raises(RuntimeError, match="a row of 2147483648 elements is too long"):
        radix.order(naiad.zeros(1, device="cuda")._array, 1, 1 << 31, 1)


def test_gradients_go_where_the_elements_came_from():
    x = sample((3, 5))

    def gradient(device):
        t = naiad.from_numpy(x.astype(np.float32)).to(device).requires_grad_()
        values, _ = naiad.sort(t, 1)
        (values * naiad.arange(15.0, device=device).reshape(3, 5)).sum().backward()
        return t.grad.cpu().numpy()

    np.testing.assert_array_equal(gradient("cuda"), gradient("cpu"))
