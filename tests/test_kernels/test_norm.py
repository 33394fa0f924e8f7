"""Normalization kernels against the CPU in float64."""

import numpy as np
import pytest
from kernel_check import FLOATS, agree

pytest.importorskip("naiad.kernels.norm", reason="needs Triton: pip install 'naiad[test]'")
from naiad.ops.norm import normalized, normalized_grad, normalized_weight_grad

# view, axes, affine: layer norm over one and two dimensions, group, batch and instance norm
VIEWS = {
    "layer": ((5, 7), (1,), (1, 7)),
    "layer2": ((3, 4, 6), (1, 2), (1, 4, 6)),
    "group": ((2, 3, 2, 5), (2, 3), (1, 3, 2, 1)),
    "batch": ((4, 3, 5), (0, 2), (1, 3, 1)),
    "instance": ((2, 3, 1, 5), (2, 3), (1, 3, 1, 1)),
    "long": ((2, 20000), (1,), (1, 20000)),
    "one": ((3, 1), (1,), (1, 1)),
}


def operands(kind, seed=0):
    rng = np.random.default_rng(seed)
    view, axes, affine = VIEWS[kind]
    x = rng.normal(1, 2, view)
    w, b = rng.normal(1, 0.5, (2, int(np.prod(affine))))
    return x, rng.normal(size=view), w, b, dict(view=view, axes=axes, affine=affine, eps=1e-5)


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_forward(kind, dtype):
    x, _, w, b, facts = operands(kind)
    agree(lambda x, w, b: normalized(x, w, b, **facts), x, w, b, dtype=dtype)


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients(kind, dtype):
    x, g, w, _, facts = operands(kind)
    mean = x.mean(facts["axes"], keepdims=True)
    var = x.var(facts["axes"], keepdims=True)
    agree(lambda *a: normalized_grad(*a, **facts), g, x, w, mean, var, dtype=dtype)
    tolerance = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 0.1}[dtype]
    agree(lambda *a: normalized_weight_grad(*a, **facts), g, x, mean, var, dtype=dtype, tolerance=tolerance)


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_layouts_and_missing_operands(layout):
    x, g, w, b, facts = operands("batch")
    mean, var = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
    agree(lambda x: normalized(x, None, None, **facts), x, layout=layout)
    agree(lambda x, w: normalized(x, w, None, **facts), x, w, layout=layout)
    agree(lambda x, b: normalized(x, None, b, **facts), x, b, layout=layout)
    agree(lambda g, x, m, v: normalized_grad(g, x, None, m, v, **facts), g, x, mean, var, layout=layout)


def test_float64_and_a_large_mean():
    x, _, w, b, facts = operands("layer")
    agree(lambda x, w, b: normalized(x, w, b, **facts), x, w, b, dtype="float64")
    x, _, w, b, facts = operands("long")
    agree(lambda x, w, b: normalized(x, w, b, **facts)[2], x + 1000, w, b, tolerance=1e-3)


def test_nothing_to_normalize():
    facts = dict(view=(0, 3), axes=(1,), affine=(1, 3), eps=1e-5)
    x, w = np.zeros((0, 3)), np.ones(3)
    agree(lambda x, w: normalized(x, w, w, **facts), x, w)
    empty = np.zeros((0, 1))
    agree(lambda *a: normalized_weight_grad(*a, **facts), x, x, empty, empty)
