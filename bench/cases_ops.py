"""The built-in cases, by family of the op table: what the kernels and the CPU bodies are judged by.

A provider written once serves naiad and PyTorch, whose functions have the same names; one written for NumPy serves
CuPy. References are NumPy in float64. Sizes: a GPU's by default, smaller ones for a CPU's two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.bench.cases import Case, case

HALF = ("float32", "bfloat16")
MATRIX: dict[str, Any] = {
    "axes": {"shape": ((8192, 8192), (4096, 1000)), "dtype": HALF},
    "overrides": {
        "cpu": {"shape": ((2048, 1024),), "dtype": ("float32",)},
        "quick": {"shape": ((32, 48),), "dtype": ("float32",)},
    },
}
IMAGES: dict[str, Any] = {
    "axes": {"images": ((64, 64, 56, 56),), "dtype": HALF},
    "overrides": {
        "cpu": {"images": ((32, 32, 28, 28),), "dtype": ("float32",)},
        "quick": {"images": ((2, 3, 8, 8),), "dtype": ("float32",)},
    },
}


def define(name: str, tensors: Callable, arrays: Callable | None = None, **facts: Any) -> Callable[[Callable], Case]:
    """Declare a case whose `tensors` runs in naiad and PyTorch and `arrays` in NumPy and CuPy."""

    def decorate(reference: Callable) -> Case:
        made = case(name, **facts)(reference)
        for library in ("naiad", "torch"):
            made.provider(library)(tensors)
        if arrays is not None:
            for library in ("numpy", "cupy"):
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
