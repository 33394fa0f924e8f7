"""The built-in cases, by family of the op table: what the kernels and the CPU bodies are judged by.

A provider written once serves naiad and PyTorch, whose functions have the same names; one written for NumPy serves
CuPy. References are NumPy in float64. Sizes: a GPU's by default, smaller ones for a CPU's two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.bench.cases import CASES, Case, case

HALF = ("float32", "bfloat16")
MATRIX: dict[str, Any] = {
    "axes": {"shape": ((8192, 8192), (4096, 1000)), "dtype": HALF},
    "overrides": {
        "cpu": {"shape": ((2048, 1024),), "dtype": ("float32",)},
        "quick": {"shape": ((32, 48),), "dtype": ("float32",)},
    },
}


def define(name: str, tensors: Callable, arrays: Callable | None = None, **facts: Any) -> Callable[[Callable], Case]:
    """Declare a case whose `tensors` runs in naiad and PyTorch and `arrays` in NumPy and CuPy."""

    def decorate(reference: Callable) -> Case:
        made = case(name, **facts)(reference)
        for library in ("naiad", "torch"):
            made.provider(library)(tensors)
        for library in ("numpy", "cupy") if arrays else ():
            made.provider(library)(arrays)
        return made

    return decorate


def normal(*names: str, **fixed: tuple[str, ...]) -> Callable:
    """Inputs of the point's shape, normal; `fixed` names vectors along the last dimension."""

    def inputs(random: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        vectors = {n: random.standard_normal(shape[-1]) for n in fixed.get("vectors", ())}
        return {n: random.standard_normal(shape) for n in names} | vectors

    return inputs


# ---------------------------------------------------------------- elementwise and copies
define("elementwise/add", lambda m, x, y: x + y, lambda m, x, y: x + y, inputs=normal("x", "y"), **MATRIX)(
    lambda x, y: x + y
)
define(
    "elementwise/add a row",
    lambda m, x, b: x + b,
    lambda m, x, b: x + b,
    inputs=normal("x", vectors=("b",)),
    **MATRIX,
)(lambda x, b: x + b)
define(
    "elementwise/add transposed",
    lambda m, x, y: x + y.T,
    lambda m, x, y: x + y.T,
    inputs=lambda random, shape: {"x": random.standard_normal(shape), "y": random.standard_normal(shape[::-1])},
    **MATRIX,
)(lambda x, y: x + y.T)
define("elementwise/exp", lambda m, x: m.exp(x), lambda m, x: m.exp(x), inputs=normal("x"), **MATRIX)(
    lambda x: np.exp(x)
)
define(
    "elementwise/silu",
    lambda m, x: m.nn.functional.silu(x),
    lambda m, x: x / (1 + m.exp(-x)),
    inputs=normal("x"),
    **MATRIX,
)(lambda x: x / (1 + np.exp(-x)))


def _gelu(m: Any, x: Any) -> Any:
    return 0.5 * x * (1 + m.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


define(
    "elementwise/gelu",
    lambda m, x: m.nn.functional.gelu(x, approximate="tanh"),
    _gelu,
    inputs=normal("x"),
    **MATRIX,
)(lambda x: _gelu(np, x))
define(
    "elementwise/gelu(x * w + b)",
    lambda m, x, w, b: m.nn.functional.gelu(x * w + b, approximate="tanh"),
    lambda m, x, w, b: _gelu(m, x * w + b),
    inputs=normal("x", vectors=("w", "b")),
    tolerance=2.0,
    **MATRIX,
)(lambda x, w, b: _gelu(np, x * w + b))


def _gelu_gradient(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    t = np.tanh(0.7978845608028654 * (x + 0.044715 * x**3))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 0.134145 * x * x))


define(
    "elementwise/gelu and gradient",
    lambda m, x, g: m.autograd.grad(m.nn.functional.gelu(x, approximate="tanh"), [x], [g]),
    inputs=normal("x", "g"),
    grads=("x",),
    bytes=lambda x, g, dtype: 5 * x.size * (2 if dtype == "bfloat16" else 4),
    **MATRIX,
)(_gelu_gradient)
define(
    "copy/transpose",
    lambda m, x: x.T.contiguous(),
    lambda m, x: m.ascontiguousarray(x.T),
    inputs=normal("x"),
    **MATRIX,
)(lambda x: x.T)
define(
    "copy/concatenate",
    lambda m, x, y: m.cat([x, y], 1),
    lambda m, x, y: m.concatenate([x, y], 1),
    inputs=normal("x", "y"),
    **MATRIX,
)(lambda x, y: np.concatenate([x, y], 1))


# ---------------------------------------------------------------- reductions
def _positive(random: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"x": random.uniform(0, 1, shape)}


for _name, _dim in (("all", None), ("rows", 1), ("columns", 0)):
    define(
        f"reduce/sum of {_name}",
        lambda m, x, dim=_dim: x.sum() if dim is None else x.sum(dim),
        lambda m, x, dim=_dim: x.sum(dim),
        inputs=_positive,
        flops=lambda shape: shape[0] * shape[1],
        **MATRIX,
    )(lambda x, dim=_dim: x.sum(dim))
define("reduce/max of rows", lambda m, x: x.amax(1), lambda m, x: x.max(1), inputs=_positive, **MATRIX)(
    lambda x: x.max(1)
)
define(
    "reduce/cumsum of rows",
    lambda m, x: x.cumsum(1),
    lambda m, x: m.cumsum(x, 1),
    inputs=_positive,
    tolerance=3.0,
    **MATRIX,
)(lambda x: np.cumsum(x, 1))


# ---------------------------------------------------------------- softmax, norms, losses
def _softmax(m: Any, x: Any) -> Any:
    e = m.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


define("softmax/forward", lambda m, x: x.softmax(1), _softmax, inputs=normal("x"), **MATRIX)(lambda x: _softmax(np, x))


def _softmax_gradient(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    y = _softmax(np, x)
    return y * (g - (g * y).sum(1, keepdims=True))


define(
    "softmax/forward and gradient",
    lambda m, x, g: m.autograd.grad(x.softmax(1), [x], [g]),
    inputs=normal("x", "g"),
    grads=("x",),
    bytes=lambda x, g, dtype: 5 * x.size * (2 if dtype == "bfloat16" else 4),
    tolerance=2.0,
    **MATRIX,
)(_softmax_gradient)


def _layer_norm(m: Any, x: Any, w: Any, b: Any) -> Any:
    centred = x - x.mean(1, keepdims=True)
    return centred / m.sqrt((centred * centred).mean(1, keepdims=True) + 1e-5) * w + b


define(
    "norm/layer_norm",
    lambda m, x, w, b: m.nn.functional.layer_norm(x, (x.shape[1],), w, b),
    _layer_norm,
    inputs=normal("x", vectors=("w", "b")),
    **MATRIX,
)(lambda x, w, b: _layer_norm(np, x, w, b))


def _layer_norm_gradient(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    centred = x - x.mean(1, keepdims=True)
    inverse = 1 / np.sqrt((centred * centred).mean(1, keepdims=True) + 1e-5)
    unit, scaled = centred * inverse, g * w
    back = scaled - scaled.mean(1, keepdims=True) - unit * (scaled * unit).mean(1, keepdims=True)
    return [back * inverse, (g * unit).sum(0), g.sum(0)]


define(
    "norm/layer_norm and gradients",
    lambda m, x, w, b, g: m.autograd.grad(m.nn.functional.layer_norm(x, (x.shape[1],), w, b), [x, w, b], [g]),
    inputs=normal("x", "g", vectors=("w", "b")),
    grads=("x", "w", "b"),
    bytes=lambda x, g, dtype: 5 * x.size * (2 if dtype == "bfloat16" else 4),
    tolerance=3.0,
    **MATRIX,
)(_layer_norm_gradient)


def _rms_norm(m: Any, x: Any, w: Any) -> Any:
    return x / m.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * w


define(
    "norm/rms_norm",
    lambda m, x, w: m.nn.functional.rms_norm(x, (x.shape[1],), w, 1e-5),
    _rms_norm,
    inputs=normal("x", vectors=("w",)),
    **MATRIX,
)(lambda x, w: _rms_norm(np, x, w))
IMAGES: dict[str, Any] = {
    "axes": {"images": ((64, 64, 56, 56),), "dtype": HALF},
    "overrides": {
        "cpu": {"images": ((32, 32, 28, 28),), "dtype": ("float32",)},
        "quick": {"images": ((2, 3, 8, 8),), "dtype": ("float32",)},
    },
}
define(
    "norm/batch_norm, training",
    lambda m, x: m.nn.functional.batch_norm(x, None, None, training=True),
    inputs=lambda random, images: {"x": random.standard_normal(images)},
    **IMAGES,
)(lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5))


def _labelled(random: Any, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"x": random.standard_normal(shape), "y": random.integers(0, shape[1], shape[0])}


def _cross_entropy(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    p = _softmax(np, x)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return [loss, p / len(y)]


def _loss_and_gradient(m: Any, x: Any, y: Any) -> list[Any]:
    loss = m.nn.functional.cross_entropy(x, y)
    return [loss, *m.autograd.grad(loss, [x])]


define(
    "loss/cross_entropy and gradient",
    _loss_and_gradient,
    inputs=_labelled,
    grads=("x",),
    bytes=lambda x, dtype: 3 * x.size * (2 if dtype == "bfloat16" else 4),
    tolerance=2.0,
    **MATRIX,
)(_cross_entropy)


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

__all__ = ["CASES", "define"]
