"""erf, erfc, erfinv, lgamma, digamma and polygamma on NumPy arrays, which the base install has no library for.

Each takes an array or scalar of float32 or float64 (narrower floats are computed in float32, anything else in float64)
and gives an array of the same shape and dtype. float64 results are within 4 units in the last place; float32 is
computed in float64 and rounded once, but for erf: tanh of a polynomial in float32, within 2.5 units. The error is
absolute instead at the zeros of lgamma and digamma on the negative axis. Arrays are worked through in pieces that stay
in the cache.

The decompositions are the classical ones: erf and erfc by intervals as in W. J. Cody, "Rational Chebyshev approximation
for the error function", Math. Comp. 23 (1969), with one fraction for the whole tail in the variable of Shepherd and
Laframboise, Math. Comp. 36 (1981); erfinv in the variables of M. J. Wichura's algorithm AS 241, Appl. Statist. 37
(1988); the gamma family from a fraction that has the zeros divided out (W. J. Cody and K. E. Hillstrom, Math. Comp. 21
(1967)), Stirling's series for large arguments (DLMF 5.11, 5.15), and reflection for negative ones (DLMF 5.5.3). The
coefficients are our own: special_tables.py says how they were made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from math import factorial, log, pi
from typing import Any

import numpy as np

from naiad.core import special_tables as tables

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma", "polygamma", "trigamma"]

Array = np.ndarray
Fraction = tuple[float, tuple[float, ...], tuple[float, ...]]
_PIECE = 4096  # elements: a handful of float64 temporaries fit the second-level cache
_PIECE_SINGLE = 16384  # the same for the three float32 arrays of erf
_ERF_SINGLE_ONE = 4.2  # erf rounds to 1 from 3.92 on, the approximation from 4.1 on
_LGAMMA_OVERFLOW = 2.556e305  # lgamma passes the largest double just below


def _on_float64(body: Callable[[Array], Array]) -> Callable[[Array, Array], None]:
    """Fill `out` piece by piece from a function of float64 arrays."""

    def run(x: Array, out: Array) -> None:
        for start in range(0, x.size, _PIECE):
            piece = slice(start, start + _PIECE)
            out[piece] = body(x[piece].astype(np.float64, copy=False))

    return run


def _special(body: Callable[[Array], Array], single: Callable[[Array, Array], None] | None = None) -> Callable:
    """Make a function of 1-d float64 arrays one of arrays and scalars of any float dtype and shape.

    `single`, where given, fills a float32 array from another without the detour.
    """
    run64 = _on_float64(body)
    run32 = single or run64

    @wraps(body)
    def function(x: Any) -> Array:
        x = np.asarray(x)
        if x.dtype not in (np.float32, np.float64):
            narrow = x.dtype.itemsize == 2 and x.dtype.kind in "fV"  # V: bfloat16 of ml_dtypes
            return function(x.astype(np.float32)).astype(x.dtype) if narrow else function(x.astype(np.float64))
        if x.flags.f_contiguous and not x.flags.c_contiguous:
            return function(x.T).T
        source = np.ascontiguousarray(x).reshape(-1)
        out = np.empty_like(source)
        (run32 if x.dtype == np.float32 else run64)(source, out)
        return out.reshape(x.shape)

    return function


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Horner's scheme, lowest power first, in one buffer."""
    value = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        value += c
        value *= x
    value += coefficients[0]
    return value


def _fraction(table: Fraction, x: Array) -> Array:
    constant, numerator, denominator = table
    value = _polynomial(numerator, x)
    value /= _polynomial(denominator, x)
    value += constant
    return value


def _fill(out: Array, where: Array, formula: Callable[[Array], Array], x: Array) -> None:
    """out[where] = formula(x[where]), without the gathering when the whole piece is meant or none of it."""
    count = np.count_nonzero(where)
    if count == x.size:
        out[...] = formula(x)
    elif count:
        out[where] = formula(x[where])


def _erf_centre(x: Array) -> Array:
    return x + x * _polynomial(tables.ERF, x * x)


def _erfc_tail(x: Array) -> Array:
    """erfc for x >= 0.5. x² is split so that its rounding error is not magnified by exp."""
    x = np.minimum(x, 28.0)  # where it has underflowed
    high = x.astype(np.float32).astype(np.float64)  # its square is exact
    value = _polynomial(tables.ERFC, (x - 2.0) / (x + 2.0))
    value /= 1.0 + 2.0 * x
    value *= np.exp(-high * high)
    rest = (high - x) * (high + x)  # below 1e-4: three terms of exp(rest) - 1 are enough
    value += value * (rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0))))
    return value


def _erf(x: Array) -> Array:
    size = np.abs(x)
    out = x.copy()  # NaN stays
    _fill(out, size <= 1.0, _erf_centre, x)
    _fill(out, size > 1.0, lambda x: np.copysign(1.0 - _erfc_tail(np.abs(x)), x), x)
    return out


def _erf_single(x: Array, out: Array) -> None:
    """tanh(x + x·polynomial(x²)) in float32, in place: gelu calls this on every activation."""
    square, value = np.empty((2, min(x.size, _PIECE_SINGLE)), np.float32)
    for start in range(0, x.size, _PIECE_SINGLE):
        o = out[start : start + _PIECE_SINGLE]
        z, v = square[: o.size], value[: o.size]
        np.maximum(x[start : start + o.size], -_ERF_SINGLE_ONE, out=o)
        np.minimum(o, _ERF_SINGLE_ONE, out=o)
        np.multiply(o, o, out=z)
        np.multiply(z, tables.ERF_SINGLE[-1], out=v)
        for c in tables.ERF_SINGLE[-2:0:-1]:
            v += c
            v *= z
        v += tables.ERF_SINGLE[0]
        v *= o
        o += v
        np.tanh(o, out=o)


@partial(_special, single=_erf_single)
def erf(x: Array) -> Array:
    """2/sqrt(π) · integral of exp(-t²) from 0 to x."""
    return _erf(x)


@_special
def erfc(x: Array) -> Array:
    """1 - erf(x), relatively accurate for large x too."""
    out = x.copy()
    _fill(out, x < 0.5, lambda x: 1.0 - _erf(x), x)
    _fill(out, x >= 0.5, _erfc_tail, x)
    return out


def _erfinv_tail(y: Array) -> Array:
    r = np.sqrt(-np.log(1.0 - np.abs(y)))
    out = np.empty_like(r)
    _fill(out, r <= 3.0, lambda r: r + r * _fraction(tables.ERFINV_TAIL, r - 1.36), r)
    _fill(out, r > 3.0, lambda r: r + r * _fraction(tables.ERFINV_FAR, r - 3.0), r)
    return np.copysign(out, y)


@_special
def erfinv(y: Array) -> Array:
    """The x whose erf is y: ±inf at ±1, NaN outside."""
    size = np.abs(y)
    out = np.full_like(y, np.nan)
    _fill(out, size <= 0.85, lambda y: y * _fraction(tables.ERFINV_CENTRE, 0.7225 - y * y), y)
    _fill(out, (size > 0.85) & (size < 1.0), _erfinv_tail, y)
    _fill(out, size == 1.0, lambda y: np.copysign(np.inf, y), y)
    return out


def _lgamma_stirling(x: Array) -> Array:
    inverse = 1.0 / x
    value = (x - 0.5) * (np.log(x) - 1.0)
    value += 0.5 * (log(2.0 * pi) - 1.0)
    value += inverse * _polynomial(tables.LGAMMA_STIRLING, inverse * inverse)
    return value


def _lgamma_reflected(x: Array) -> Array:
    return log(pi) - np.log(np.abs(_sin_pi(x))) - _lgamma_positive(1.0 - x)


def _lgamma_zeros(x: Array) -> Array:
    """lgamma around its zeros at 1 and 2, where the sum makes +0 of -0."""
    return (x - 1.0) * (x - 2.0) * _fraction(tables.LGAMMA_1, x - 1.0) + 0.0


def _lgamma_positive(x: Array) -> Array:
    out = np.full_like(x, np.inf)
    _fill(out, (x > 0.0) & (x < 1.0), lambda x: x * (x - 1.0) * _fraction(tables.LGAMMA_1, x) - np.log(x), x)
    _fill(out, (x >= 1.0) & (x < 3.0), _lgamma_zeros, x)
    _fill(out, (x >= 3.0) & (x < 8.0), lambda x: (x - 1.0) * (x - 2.0) * _fraction(tables.LGAMMA_3, x - 3.0), x)
    _fill(out, (x >= 8.0) & (x < _LGAMMA_OVERFLOW), _lgamma_stirling, x)
    return out


def _sin_pi(x: Array) -> Array:
    """sin(πx) up to its sign, which nobody here needs."""
    return np.sin(pi * (x - np.rint(x)))


def _negative_between_poles(x: Array) -> Array:
    return (x < 0.0) & (x > -np.inf) & (x != np.rint(x))


@_special
def lgamma(x: Array) -> Array:
    """log|Γ(x)|: inf at the poles 0, -1, -2, ... and at ±inf."""
    out = _lgamma_positive(x)
    _fill(out, _negative_between_poles(x), _lgamma_reflected, x)
    out[np.isnan(x)] = np.nan
    return out


def _digamma_asymptotic(x: Array) -> Array:
    inverse = 1.0 / x
    square = inverse * inverse
    return np.log(x) - 0.5 * inverse - square * _polynomial(tables.DIGAMMA_ASYMPTOTIC, square)


def _digamma_fraction(table: Fraction, start: float, x: Array) -> Array:
    """digamma(start + x), where start + x need not be a double."""
    high, low = tables.DIGAMMA_ROOT
    return ((x - (high - start)) - low) * _fraction(table, x)


def _digamma_positive(x: Array) -> Array:
    out = np.full_like(x, np.nan)
    _fill(out, (x > 0.0) & (x < 1.0), lambda x: _digamma_fraction(tables.DIGAMMA_1, 1.0, x) - 1.0 / x, x)
    _fill(out, (x >= 1.0) & (x < 3.0), lambda x: _digamma_fraction(tables.DIGAMMA_1, 1.0, x - 1.0), x)
    _fill(out, (x >= 3.0) & (x < 10.0), lambda x: _digamma_fraction(tables.DIGAMMA_3, 3.0, x - 3.0), x)
    _fill(out, x >= 10.0, _digamma_asymptotic, x)
    return out


def _digamma_reflected(x: Array) -> Array:
    return _digamma_positive(1.0 - x) - pi / np.tan(pi * (x - np.rint(x)))


@_special
def digamma(x: Array) -> Array:
    """The derivative of lgamma: -inf at 0, inf at -0.0, NaN at the other poles and at -inf."""
    out = _digamma_positive(x)
    _fill(out, _negative_between_poles(x), _digamma_reflected, x)
    _fill(out, x == 0.0, lambda x: np.copysign(np.inf, -x), x)
    return out


def _trigamma_asymptotic(x: Array) -> Array:
    inverse = 1.0 / x
    square = inverse * inverse
    return inverse + 0.5 * square + inverse * square * _polynomial(tables.TRIGAMMA_ASYMPTOTIC, square)


def _trigamma_positive(x: Array) -> Array:
    out = np.full_like(x, np.nan)
    # In 0 < x < 1 by recurrence: the fraction stands for (1 + x)·trigamma(1 + x).
    _fill(out, (x > 0.0) & (x < 1.0), lambda x: _fraction(tables.TRIGAMMA_1, x) / (1.0 + x) + (1.0 / x) ** 2, x)
    _fill(out, (x >= 1.0) & (x < 3.0), lambda x: _fraction(tables.TRIGAMMA_1, x - 1.0) / x, x)
    _fill(out, (x >= 3.0) & (x < 10.0), lambda x: _fraction(tables.TRIGAMMA_3, x - 3.0) / x, x)
    _fill(out, x >= 10.0, _trigamma_asymptotic, x)
    return out


@_special
def trigamma(x: Array) -> Array:
    """The second derivative of lgamma: inf at the poles 0, -1, -2, ..., NaN at -inf."""
    out = _trigamma_positive(x)
    _fill(out, _negative_between_poles(x), lambda x: (pi / _sin_pi(x)) ** 2 - _trigamma_positive(1.0 - x), x)
    _fill(out, (x <= 0.0) & (x > -np.inf) & (x == np.rint(x)), lambda x: np.full_like(x, np.inf), x)
    return out


# B_2k / (2k)!, the weights of the Euler-Maclaurin formula.
_EULER_MACLAURIN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


def _hurwitz_zeta(s: int, q: Array) -> Array:
    """The sum of (q + k)**-s over k >= 0 for an integer s >= 3, by the Euler-Maclaurin formula (DLMF 25.11.28)."""
    total = np.zeros_like(q)
    q = q.copy()
    while (small := q < 12.0).any():
        total += np.where(small, np.where(small, q, 1.0) ** -s, 0.0)
        q = np.where(small, q + 1.0, q)
    total += q ** (1 - s) / (s - 1) + 0.5 * q**-s
    term = s * q ** (-s - 1)
    for j, weight in enumerate(_EULER_MACLAURIN):
        total += weight * term
        term = term * (s + 2 * j + 1) * (s + 2 * j + 2) / (q * q)
    return total


def polygamma(n: int, x: Any) -> Array:
    """The derivative of order n of digamma, n >= 0; for n >= 2 by the Hurwitz zeta function, inf at the poles."""
    if n < 2:
        return (digamma, trigamma)[n](x)

    def body(x: Array) -> Array:
        known = np.isfinite(x) & ((x > 0.0) | (x != np.rint(x)))
        out = np.where(np.isnan(x) | (x == -np.inf), np.nan, np.where(x == np.inf, 0.0, np.inf))
        _fill(out, known, lambda x: float(factorial(n)) * _hurwitz_zeta(n + 1, x), x)
        return out if n % 2 else -out

    return _special(body)(x)
