"""The maths namespace of NumPy: PyTorch's meaning of every function that an elementwise body may call.

Operands are arrays or NumPy scalars of one dtype (halves come widened to float32), or Python numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.special import digamma, erf, erfc, erfinv, lgamma, polygamma, trigamma

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma", "polygamma", "trigamma"]

exp, exp2, expm1, log, log2, log10, log1p, sqrt = (
    np.exp,
    np.exp2,
    np.expm1,
    np.log,
    np.log2,
    np.log10,
    np.log1p,
    np.sqrt,
)
sin, cos, tan, asin, acos, atan = np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan
sinh, cosh, tanh, asinh, acosh, atanh = np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh
atan2, hypot, copysign, nextafter, fmod = np.arctan2, np.hypot, np.copysign, np.nextafter, np.fmod
maximum, minimum, abs = np.maximum, np.minimum, np.absolute
isnan, isinf, isfinite, signbit = np.isnan, np.isinf, np.isfinite, np.signbit
add, sub, mul, neg, div = np.add, np.subtract, np.multiply, np.negative, np.true_divide
lt, le, gt, ge, eq, ne = np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal
floor, ceil, trunc, rint = np.floor, np.ceil, np.trunc, np.rint
floor_div, remainder = np.floor_divide, np.remainder

ndarray = np.ndarray

# Traced operators that are one NumPy function: an entry whose body is one of these is called without the body.
UFUNCS: dict[str, Any] = {
    **{"add": add, "sub": sub, "mul": mul, "neg": neg, "div": div},
    **{"lt": lt, "le": le, "gt": gt, "ge": ge, "eq": eq, "ne": ne},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "invert": np.invert},
    **{"lshift": np.left_shift, "rshift": np.right_shift},
    **{f.__name__: f for f in (exp, expm1, log, log2, log10, log1p, sqrt, sin, cos, tan, sinh, cosh, tanh)},
    **{f.__name__: f for f in (maximum, minimum, isnan, isinf, isfinite, signbit, floor, ceil, trunc, rint)},
    **{"abs": abs, "atan2": atan2, "asin": asin, "acos": acos, "atan": atan, "exp2": exp2},
    **{"asinh": asinh, "acosh": acosh, "atanh": atanh, "hypot": hypot, "copysign": copysign},
    **{"fmod": fmod, "remainder": remainder, "floor_div": floor_div, "nextafter": nextafter},
}


_INT8 = np.dtype(np.int8)
_ONE8 = np.ones((), np.int8)
_BITS: dict[Any, Any] = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y. Floats against zero, as in most gradients, take half of np.where's time."""
    if y.__class__ is not ndarray:
        if y == 0 and x.__class__ is ndarray:
            return _masked(x, condition, True)
    elif x.__class__ is not ndarray and x == 0:
        return _masked(y, condition, False)
    return np.where(condition, x, y)


def _masked(x: ndarray, condition: Any, keep: bool) -> Any:
    """x where the condition is `keep`, else 0: its bits and-ed with all ones or none."""
    bits = _BITS.get(x.dtype)
    if bits is None or condition.__class__ is not ndarray or condition.shape != x.shape or not x.ndim:
        return np.where(condition, x, 0) if keep else np.where(condition, 0, x)
    flags = condition.view(_INT8)
    out = np.empty(x.shape, x.dtype)
    mask = out.view(bits)
    mask[...] = np.negative(flags) if keep else np.subtract(flags, _ONE8)  # widened here: a ufunc would buffer it
    np.bitwise_and(mask, x.view(bits), mask)
    return out


def conj(x: Any) -> Any:
    """The complex conjugate; a real operand itself."""
    return x.conjugate()  # the method, unlike np.conjugate, does not copy real arrays


def real(x: Any) -> Any:
    return np.real(x) if np.iscomplexobj(x) else x


def imag(x: Any) -> Any:
    return np.imag(x) if np.iscomplexobj(x) else x * 0


def cast(x: Any, like: Any) -> Any:
    """x in the dtype of `like`."""
    return np.asarray(x).astype(np.asarray(like).dtype, copy=False)


def rsqrt(x: Any) -> Any:
    return 1 / np.sqrt(x)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def sgn(x: Any) -> Any:
    """The sign of real numbers (0 for 0 and for NaN); x / |x| of complex ones."""
    if x.dtype.kind in "biuc":
        return x if x.dtype.kind == "b" else np.sign(x)
    return np.subtract(x > 0, x < 0, dtype=x.dtype)


def trunc_div(x: Any, y: Any) -> Any:
    """x / y rounded toward zero, in the operands' dtype."""
    if np.result_type(x, y).kind in "fc":
        return np.trunc(x / y)
    quotient = x // y
    return quotient + ((quotient * y != x) & ((x < 0) != (y < 0)))


def pow(x: Any, y: Any) -> Any:
    """x to the y. Integers: wrapping; a negative exponent gives 0 but for bases 1 and -1, as integer division would."""
    if np.result_type(x, y).kind not in "iu":
        return np.power(x, y)
    if np.all(np.asarray(y) >= 0):
        return np.power(x, y)
    positive = np.power(x, np.maximum(y, 0))
    odd = np.bitwise_and(y, 1) != 0
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(odd, -1, 1), 0))
    return np.where(y >= 0, positive, inverse).astype(positive.dtype)
