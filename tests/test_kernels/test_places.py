"""Picking, triangles and padding in Triton, against the CPU."""

import numpy as np
import pytest
from kernel_check import agree

import naiad

pytest.importorskip("naiad.kernels.places", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.padding import constant_pad, edge_pad, edge_pad_grad
from naiad.ops.picking import pick_op, unpick_op
from naiad.ops.pool_adaptive import plane_put, plane_take

DTYPES = ["float32", "float16", "bfloat16", "float64"]
LAYOUTS = ["contiguous", "transposed", "strided"]


def sample(*shape):
    return np.random.default_rng(0).integers(-20, 20, shape) / 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_picking_and_putting_back(dtype, layout):
    index = np.random.default_rng(1).integers(0, 4, (3, 6, 2))  # some twice
    given = dict(dtype=dtype, layout=layout)
    agree(lambda x, i: pick_op(x, i, dim=1), sample(3, 4, 2), index, **given)
    agree(lambda g, i: unpick_op(g, i, dim=1, size=4), sample(3, 6, 2), index, **given)
    planes = np.array([[[0, 5], [2, 1]], [[3, 4], [5, 0]]])
    agree(lambda x, i: plane_take(x, i, rank=2), sample(2, 2, 3), planes, **given)
    for add in (False, True):
        agree(lambda x, i, add=add: plane_put(x, i, size=(2, 3), add=add), sample(2, 2, 2), planes, **given)


def test_picking_from_numbers():
    agree(lambda x, i: pick_op(x, i, dim=0), np.array(3.0), np.array(0))
    agree(lambda g, i: unpick_op(g, i, dim=0, size=1), np.array(3.0), np.array(0))


@pytest.mark.traps
def test_picking_outside():
    x = naiad.ones(2, 3, device="cuda")
    with pytest.raises(IndexError, match="invalid index"):
        pick_op(x, naiad.full((2, 3), 3, device="cuda", dtype=naiad.int64), dim=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("diagonal", [-9, -1, 0, 2, 9])
def test_triangles(layout, diagonal):
    for function in (naiad.tril, naiad.triu):
        agree(lambda x, f=function: f(x, diagonal), sample(2, 4, 3), layout=layout)
        agree(lambda x, f=function: f(x, diagonal), np.ones((3, 5), bool), layout=layout)
        agree(lambda x, f=function: f(x, diagonal), np.zeros((0, 5)))


@pytest.mark.parametrize("pairs", [((0, 0), (1, 2)), ((2, 0), (-1, 1)), ((-1, -1), (0, 3)), ((0, 0), (0, 0))])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding(pairs, layout):
    x = sample(4, 5)
    agree(lambda x: constant_pad(x, pairs=pairs, value=1.5), x, layout=layout)
    agree(lambda x: constant_pad(x, pairs=pairs, value=0), (x * 4).astype(np.int64), layout=layout)
    for mode in ("reflect", "replicate", "circular"):
        agree(lambda x, mode=mode: edge_pad(x, pairs=pairs, mode=mode), x, layout=layout)
        g = sample(*(n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)))
        agree(lambda g, mode=mode: edge_pad_grad(g, shape=(4, 5), pairs=pairs, mode=mode), g, layout=layout)


def test_a_border_wider_than_what_it_repeats():
    agree(lambda x: edge_pad(x, pairs=((7, 5),), mode="replicate"), sample(2))
    agree(lambda g: edge_pad_grad(g, shape=(2,), pairs=((7, 5),), mode="replicate"), sample(14))
    agree(lambda x: constant_pad(x, pairs=((1, 1), (0, 0)), value=2.0), sample(3, 0))
