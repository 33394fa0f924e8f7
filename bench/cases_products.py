"""Built-in cases, continued: matrix products, attention, convolution, pooling, indexing and sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.bench.cases_ops import HALF, IMAGES, MATRIX, define, normal

# ---------------------------------------------------------------- matmul, attention, conv
FEW = 64  # rows of a large product that the reference computes


def _factors(random: Any, n: int) -> dict[str, np.ndarray]:
    return {"a": random.standard_normal((n, n)), "b": random.standard_normal((n, n))}


SQUARE: dict[str, Any] = {
    "axes": {"n": (4096, 8192), "dtype": ("bfloat16", "float16", "float32")},
    "overrides": {
        "cpu": {"n": (256, 1024), "dtype": ("float32",)},
        "quick": {"n": (32,), "dtype": ("float32",)},
    },
    "flops": lambda n: 2 * n**3,
    "part": lambda r: r[:FEW],
}
define("matmul/square", lambda m, a, b: a @ b, lambda m, a, b: a @ b, inputs=_factors, **SQUARE)(
    lambda a, b: a[:FEW] @ b
)
define(
    "matmul/linear, a @ b.T + c",
    lambda m, a, b, c: m.nn.functional.linear(a, b, c),
    lambda m, a, b, c: a @ b.T + c,
    inputs=lambda random, n: _factors(random, n) | {"c": random.standard_normal(n)},
    **SQUARE,
)(lambda a, b, c: a[:FEW] @ b.T + c)
define(
    "matmul/batched",
    lambda m, a, b: a @ b,
    lambda m, a, b: a @ b,
    inputs=lambda random, count, n: {k: random.standard_normal((count, n, n)) for k in "ab"},
    axes={"count": (64,), "n": (512,), "dtype": HALF},
    overrides={
        "cpu": {"count": (16,), "n": (128,), "dtype": ("float32",)},
        "quick": {"count": (2,), "n": (16,), "dtype": ("float32",)},
    },
    flops=lambda count, n: 2 * count * n**3,
)(lambda a, b: a @ b)


def _heads(*names: str) -> Callable:
    return lambda random, heads: {n: random.standard_normal(heads) for n in names}


def _causal(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p, p @ v


ATTENTION: dict[str, Any] = {
    "axes": {"heads": ((4, 16, 4096, 64), (4, 16, 4096, 128)), "dtype": ("bfloat16", "float16")},
    "overrides": {
        "cpu": {"heads": ((2, 4, 256, 64),), "dtype": ("float32",)},
        "quick": {"heads": ((1, 2, 24, 16),), "dtype": ("float32",)},
    },
    "tolerance": 2.0,
}
define(
    "attention/causal",
    lambda m, q, k, v: m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
    inputs=_heads("q", "k", "v"),
    part=lambda r: r[:1, :1],
    flops=lambda heads: 2 * heads[0] * heads[1] * heads[2] ** 2 * heads[3],
    **ATTENTION,
)(lambda q, k, v: _causal(q[:1, :1], k[:1, :1], v[:1, :1])[1])


def _causal_gradients(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    q, k, v, g = (t[:1, :1] for t in (q, k, v, g))
    p, _ = _causal(q, k, v)
    dp = g @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return [ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g]


define(
    "attention/causal and gradients",
    lambda m, q, k, v, g: m.autograd.grad(
        m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v], [g]
    ),
    inputs=_heads("q", "k", "v", "g"),
    grads=("q", "k", "v"),
    part=lambda r: [t[:1, :1] for t in r],
    flops=lambda heads: 7 * heads[0] * heads[1] * heads[2] ** 2 * heads[3],
    **ATTENTION,
)(_causal_gradients)


def _filters(random: Any, images: tuple[int, ...]) -> dict[str, np.ndarray]:
    channels = images[1]
    weight = random.standard_normal((2 * channels, channels, 3, 3)) / np.sqrt(9 * channels)
    return {"x": random.standard_normal(images), "w": weight}


def _conv(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    padded = np.pad(x[:1], ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w, optimize=True)


define(
    "conv/3x3",
    lambda m, x, w: m.nn.functional.conv2d(x, w, padding=1),
    inputs=_filters,
    part=lambda r: r[:1],
    flops=lambda images: 36 * images[0] * images[1] ** 2 * images[2] * images[3],
    **IMAGES,
)(_conv)
define(
    "pool/max 2x2",
    lambda m, x: m.nn.functional.max_pool2d(x, 2),
    lambda m, x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5)),
    inputs=lambda random, images: {"x": random.standard_normal(images)},
    **IMAGES,
)(lambda x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5)))


# ---------------------------------------------------------------- indexing, sorting
def _rows(random: Any, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"x": random.standard_normal(shape), "i": random.integers(0, shape[0], shape[0])}


define(
    "index/embedding",
    lambda m, x, i: m.nn.functional.embedding(i, x),
    lambda m, x, i: x[i],
    inputs=_rows,
    **MATRIX,
)(lambda x, i: x[i])
define(
    "index/add rows",
    lambda m, x, i: m.zeros_like(x).index_add_(0, i, x),
    inputs=_rows,
    **MATRIX,
)(lambda x, i: _added(x, i))


def _added(x: np.ndarray, i: np.ndarray) -> np.ndarray:
    out = np.zeros_like(x)
    np.add.at(out, i, x)
    return out


define("sort/rows", lambda m, x: m.sort(x, 1)[0], lambda m, x: m.sort(x, 1), inputs=normal("x"), **MATRIX)(
    lambda x: np.sort(x, 1)
)
