"""NumPy bodies for the `libdevice` functions that kernels call, for Triton's interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter as ti


def _by_element(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    def apply(x: np.ndarray) -> np.ndarray:
        return np.array([function(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)

    return apply


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except ValueError:  # a pole, where C gives infinity
        return math.inf


def _erfinv(x: float) -> float:
    """Giles' (2012) central and tail polynomials, then Newton steps on erf, or erfc where erf is near 1."""
    if not -1 < x < 1:
        return math.copysign(math.inf, x) if abs(x) == 1 else math.nan
    w = -math.log((1 - x) * (1 + x))
    if w < 5:
        w -= 2.5
        p: tuple[float, ...] = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
        p += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
    else:
        w = math.sqrt(w) - 3
        p = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
        p += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)
    y = p[0]
    for c in p[1:]:
        y = y * w + c
    y *= x
    for _ in range(2):
        error = math.erf(y) - x if abs(x) < 0.5 else math.copysign(1, x) * ((1 - abs(x)) - math.erfc(abs(y)))
        y -= error / (2 / math.sqrt(math.pi) * math.exp(-y * y))
    return y


_BODIES: dict[str, Callable] = {
    **{
        name: getattr(np, name)
        for name in "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh".split()
    },
    **{name: getattr(np, name) for name in "floor ceil trunc rint hypot copysign nextafter fmod".split()},
    **{"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh},
    **{"atanh": np.arctanh, "atan2": np.arctan2, "pow": np.power},
    **{"rsqrt": lambda x: 1 / np.sqrt(x), "nearbyint": np.rint, "abs": np.abs},
    **{"erf": _by_element(math.erf), "erfc": _by_element(math.erfc)},
    **{"lgamma": _by_element(_lgamma), "erfinv": _by_element(_erfinv)},
}


def _function(body: Callable) -> Callable:
    def call(*args: Any) -> Any:
        result = body(*(a.handle.data for a in np_broadcast(args)))
        first = max(args, key=lambda a: len(a.shape) if a.type.is_block() else -1)
        shape = result.shape if first.type.is_block() else ()
        scalar = first.type.scalar
        kind = tl.block_type(scalar, list(shape)) if shape else scalar
        return tl.tensor(ti.TensorHandle(result, scalar), kind)

    return call


def np_broadcast(args: tuple) -> tuple:
    """Operands must agree in dtype: libdevice has one function per dtype and converts nothing."""
    kinds = {str(a.type.scalar) for a in args}
    if len(kinds) != 1:
        raise TypeError(f"a libdevice function was called with mixed dtypes {sorted(kinds)}")
    return args


def install() -> None:
    """Give `triton.language.extra.libdevice` these bodies."""
    for name, body in _BODIES.items():
        setattr(libdevice, name, _function(body))
