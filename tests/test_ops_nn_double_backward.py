"""Second derivatives of the neural-network ops equal PyTorch's: the gradient of a function of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape) + 17).standard_normal(shape)


CLASSES = np.array([1, 0, 4, 1])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1, 1.5])
SIGNS = np.array([1.0, -1.0, 1.0])

# name -> (shapes of differentiable operands, function of the module and the operands)
CASES: dict[str, tuple[list, Callable]] = {
    **{
        name: ([(3, 4)], lambda t, x, name=name: getattr(t.nn.functional, name)(x))
        for name in (
            *("relu", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "gelu", "softplus", "logsigmoid", "glu"),
            *("hardtanh", "hardswish", "softsign", "tanhshrink", "softshrink", "hardshrink"),
        )
    },
    "gelu_tanh": ([(3, 4)], lambda t, x: t.nn.functional.gelu(x, approximate="tanh")),
    "prelu": ([(2, 3, 2), (3,)], lambda t, x, w: t.nn.functional.prelu(x, w)),
    "softmax": ([(3, 4)], lambda t, x: t.softmax(x, 1)),
    "log_softmax": ([(3, 4)], lambda t, x: t.log_softmax(x, 0)),
    "linear": ([(2, 3, 4), (5, 4), (5,)], lambda t, x, w, b: t.nn.functional.linear(x, w, b)),
    "matmul": ([(2, 3, 4), (4, 5)], lambda t, x, w: x @ w),
    "bilinear": ([(3, 2), (3, 4), (5, 2, 4)], lambda t, a, b, w: t.nn.functional.bilinear(a, b, w)),
    "einsum": ([(2, 3), (3, 4), (4, 2)], lambda t, a, b, c: t.einsum("ij,jk,ki->i", a, b, c)),
    "layer_norm": ([(3, 4), (4,), (4,)], lambda t, x, w, b: t.nn.functional.layer_norm(x, (4,), w, b)),
    "rms_norm": ([(3, 4), (4,)], lambda t, x, w: t.nn.functional.rms_norm(x, (4,), w)),
    "group_norm": ([(2, 4, 3), (4,), (4,)], lambda t, x, w, b: t.nn.functional.group_norm(x, 2, w, b)),
    "batch_norm": (
        [(4, 3, 2), (3,), (3,)],
        lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True),
    ),
    "instance_norm": ([(2, 3, 4)], lambda t, x: t.nn.functional.instance_norm(x)),
    "conv1d": ([(2, 3, 7), (4, 3, 3), (4,)], lambda t, x, w, b: t.nn.functional.conv1d(x, w, b, padding=1)),
    "conv2d": (
        [(2, 4, 6, 5), (4, 2, 3, 2), (4,)],
        lambda t, x, w, b: t.nn.functional.conv2d(x, w, b, stride=2, padding=1, groups=2),
    ),
    "depthwise": ([(2, 3, 6, 5), (3, 1, 3, 3)], lambda t, x, w: t.nn.functional.conv2d(x, w, groups=3)),
    "pointwise": ([(2, 3, 4, 4), (5, 3, 1, 1)], lambda t, x, w: t.nn.functional.conv2d(x, w)),
    "conv_transpose2d": (
        [(2, 3, 3, 4), (3, 2, 3, 2), (2,)],
        lambda t, x, w, b: t.nn.functional.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
    ),
    "conv3d": ([(1, 2, 4, 4, 4), (2, 2, 2, 2, 2)], lambda t, x, w: t.nn.functional.conv3d(x, w, dilation=2)),
    "max_pool2d": ([(2, 3, 6, 6)], lambda t, x: t.nn.functional.max_pool2d(x, 3, 2, 1)),
    "avg_pool2d": ([(2, 3, 6, 6)], lambda t, x: t.nn.functional.avg_pool2d(x, 3, 2, 1)),
    "adaptive_avg_pool2d": ([(2, 3, 5, 6)], lambda t, x: t.nn.functional.adaptive_avg_pool2d(x, (2, 4))),
    "adaptive_max_pool2d": ([(2, 3, 5, 6)], lambda t, x: t.nn.functional.adaptive_max_pool2d(x, (2, 4))),
    "unfold": ([(1, 2, 5, 4)], lambda t, x: t.nn.functional.unfold(x, 2, padding=1)),
    "reflect": ([(1, 2, 5, 4)], lambda t, x: t.nn.functional.pad(x, (2, 1, 1, 0), "reflect")),
    "bicubic": ([(1, 2, 5, 4)], lambda t, x: t.nn.functional.interpolate(x, (7, 3), mode="bicubic")),
    "attention": (
        [(2, 3, 4), (2, 5, 4), (2, 5, 4), (3, 5)],
        lambda t, q, k, v, m: t.nn.functional.scaled_dot_product_attention(q, k, v, m),
    ),
    "embedding": (
        [(5, 4)],
        lambda t, w: t.nn.functional.embedding(t.tensor([[1, 0], [4, 1]]), w, padding_idx=0, scale_grad_by_freq=True),
    ),
    "cross_entropy": ([(4, 5)], lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(CLASSES))),
    "cross_entropy_all": (
        [(4, 5)],
        lambda t, x: t.nn.functional.cross_entropy(
            x, t.tensor(CLASSES), t.tensor(WEIGHT), ignore_index=0, label_smoothing=0.2, reduction="none"
        ),
    ),
    "cross_entropy_probabilities": (
        [(4, 5), (4, 5)],
        lambda t, x, p: t.nn.functional.cross_entropy(x, p, t.tensor(WEIGHT), label_smoothing=0.1),
    ),
    "nll_loss": ([(4, 5)], lambda t, x: t.nn.functional.nll_loss(x * x, t.tensor(CLASSES), t.tensor(WEIGHT))),
    "mse_loss": ([(3, 4), (3, 4)], lambda t, a, b: t.nn.functional.mse_loss(a, b)),
    "smooth_l1_loss": ([(3, 4), (3, 4)], lambda t, a, b: t.nn.functional.smooth_l1_loss(a, b, beta=0.3)),
    "huber_loss": ([(3, 4), (3, 4)], lambda t, a, b: t.nn.functional.huber_loss(a, b, delta=0.7)),
    "bce": (
        [(3, 4)],
        lambda t, a: t.nn.functional.binary_cross_entropy(a.sigmoid(), t.sigmoid(t.tensor(normal(3, 4)))),
    ),
    "bce_with_logits": (
        [(3, 4)],
        lambda t, a: t.nn.functional.binary_cross_entropy_with_logits(
            a, t.tensor(normal(3, 4)).sigmoid(), pos_weight=t.tensor([1.0, 2.0, 3.0, 4.0], dtype=t.float64)
        ),
    ),
    "kl_div": ([(3, 4)], lambda t, a: t.nn.functional.kl_div(a, t.tensor(normal(3, 4)).exp(), reduction="sum")),
    "cosine_similarity": ([(3, 4), (3, 4)], lambda t, a, b: t.nn.functional.cosine_similarity(a, b)),
    "cosine_embedding_loss": (
        [(3, 4), (3, 4)],
        lambda t, a, b: t.nn.functional.cosine_embedding_loss(a, b, t.tensor(SIGNS), margin=-0.5),
    ),
    "triplet": ([(3, 4)] * 3, lambda t, a, p, n: t.nn.functional.triplet_margin_loss(a * 2, p, n * 3)),
    "normalize": ([(3, 4)], lambda t, x: t.nn.functional.normalize(x, p=3)),
}


def second_order(module: Any, function: Callable, values: list, make: Callable) -> list:
    xs = [make(v).requires_grad_() for v in values]
    out = function(module, *xs)
    weights = make(np.cos(np.arange(out.numel()).reshape(tuple(out.shape))))
    (out * weights).sum().backward(create_graph=True)
    first = [x.grad for x in xs]
    total = None
    for i, g in enumerate(first):
        term = (g * make(np.sin(np.arange(g.numel()) + i).reshape(tuple(g.shape)))).sum()
        total = term if total is None else total + term
    grads = [g.detach().numpy().copy() for g in first]
    for x in xs:
        x.grad = None
    if total.requires_grad:
        total.backward()
    return grads + [
        np.zeros(v.shape) if x.grad is None else x.grad.detach().numpy() for x, v in zip(xs, values, strict=True)
    ]


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_equal_torch(name: str) -> None:
    shapes, function = CASES[name]
    values = [normal(*shape) + 0.1 * i for i, shape in enumerate(shapes)]
    ours = second_order(naiad, function, values, lambda v: naiad.from_numpy(np.array(v)))
    theirs = second_order(torch, function, values, lambda v: torch.from_numpy(np.array(v)))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, 1e-8, 1e-10)
