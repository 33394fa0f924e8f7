"""Functions of complex numbers, which Triton does not know: device functions of their two parts.

Each takes the real and the imaginary part of its operands, tensors of one floating dtype, and returns the two parts of
its result. Branch cuts, signs of zeros and infinities are those of C's functions of the same names.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import maths
from naiad.kernels.maths import divide

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def load(ptr, offset, inside):
    """The parts of the numbers that begin `offset` parts after ptr: one access for both."""
    pair = tl.load(ptr + offset[:, None] + tl.arange(0, 2)[None, :], mask=inside[:, None], other=0)
    return tl.split(pair)


@triton.jit
def store(ptr, offset, re, im, inside):
    """Write numbers where `load` would read them."""
    tl.store(ptr + offset[:, None] + tl.arange(0, 2)[None, :], tl.join(re, im), mask=inside[:, None])


@triton.jit
def _zero(x):
    return tl.full([1], 0, x.dtype)


@triton.jit
def _one(x):
    return tl.full([1], 1, x.dtype)


@triton.jit
def mul(a, b, c, d):
    """(a + ib) (c + id)."""
    return a * c - b * d, a * d + b * c


@triton.jit
def div(a, b, c, d):
    """(a + ib) / (c + id) by Smith's algorithm: no square that could overflow (R. L. Smith, CACM 5 (8), 1962)."""
    wide = tl.abs(c) >= tl.abs(d)
    large, small = tl.where(wide, c, d), tl.where(wide, d, c)
    ratio = divide(small, large)
    scale = divide(_one(a), large + small * ratio)
    re = tl.where(wide, a + b * ratio, a * ratio + b) * scale
    im = tl.where(wide, b - a * ratio, b * ratio - a) * scale
    zero = (c == 0) & (d == 0)
    return tl.where(zero, divide(a, tl.abs(c)), re), tl.where(zero, divide(b, tl.abs(c)), im)


@triton.jit
def sgn(a, b):
    """z / |z|; 0 for 0."""
    size = libdevice.hypot(a, b)
    return tl.where(size == 0, _zero(a), divide(a, size)), tl.where(size == 0, _zero(b), divide(b, size))


@triton.jit
def exp(a, b):
    """e to the z. Where e to the a alone would overflow it is multiplied in two steps."""
    limit: tl.constexpr = 80.0 if a.dtype == tl.float32 else 700.0
    over = (a > limit) & (a < float("inf"))
    grown = libdevice.exp(tl.where(over, a - limit / 2, a))
    again = tl.where(over, libdevice.exp(_zero(a) + limit / 2), _one(a))
    gone, real = a == -float("inf"), b == 0
    re = tl.where(real, grown * again, grown * libdevice.cos(b) * again)
    im = tl.where(real, b, grown * libdevice.sin(b) * again)
    return tl.where(gone, _zero(a), re), tl.where(gone, tl.where(real, b, _zero(a)), im)


@triton.jit
def expm1(a, b):
    """exp(z) - 1, right near 0: the real part is expm1(a) cos b - 2 sin(b / 2)^2."""
    half = libdevice.sin(b * 0.5)
    _, im = exp(a, b)
    return libdevice.expm1(a) * libdevice.cos(b) - 2 * half * half, im


@triton.jit
def exp2(a, b):
    """2 to the z."""
    return exp(a * LN2, b * LN2)


@triton.jit
def _log_abs(a, b):
    """log |z|: near |z| = 1 from |z|^2 - 1, with halves where |z| might overflow."""
    a, b = tl.abs(a), tl.abs(b)
    large, small = tl.where(b > a, b, a), tl.where(b > a, a, b)
    near = (large > 0.5) & (large < 1.5) & (large * large + small * small < 3)
    huge: tl.constexpr = 1e38 if a.dtype == tl.float32 else 1e308
    vast = (large > huge) & (large < float("inf"))
    scale = tl.where(vast, _one(a) * 0.25, _one(a))
    far = libdevice.log(libdevice.hypot(large * scale, small * scale))
    far = tl.where(vast, far + 2 * LN2, far)
    close = 0.5 * libdevice.log1p((large - 1) * (large + 1) + small * small)
    return tl.where(near, close, far)


@triton.jit
def log(a, b):
    """The logarithm, with an imaginary part in (-pi, pi]."""
    return _log_abs(a, b), libdevice.atan2(b, a)


@triton.jit
def log2(a, b):
    """The logarithm to base 2."""
    re, im = log(a, b)
    return re * 1.4426950408889634, im * 1.4426950408889634


@triton.jit
def log10(a, b):
    """The logarithm to base 10."""
    re, im = log(a, b)
    return re * 0.4342944819032518, im * 0.4342944819032518


@triton.jit
def log1p(a, b):
    """log(1 + z)."""
    small = (tl.abs(a) < 0.5) & (tl.abs(b) < 0.5)
    near = 0.5 * libdevice.log1p(a * (2 + a) + b * b)
    return tl.where(small, near, _log_abs(a + 1, b)), libdevice.atan2(b, a + 1)


@triton.jit
def sqrt(a, b):
    """The root with a real part that is not negative (as W. Kahan has it), on an eighth of z, which cannot overflow."""
    x, y = tl.abs(a) * 0.125, tl.abs(b)
    s = 2 * maths.sqrt(x + libdevice.hypot(x, y * 0.125))
    d = tl.where(y == 0, y, divide(y, 2 * s))
    left = maths.signbit(a)
    re, im = tl.where(left, d, s), libdevice.copysign(tl.where(left, s, d), b)
    endless = y == float("inf")
    re = tl.where(endless, y, re)
    return re, tl.where(endless, b, im)


@triton.jit
def rsqrt(a, b):
    """1 / sqrt(z)."""
    re, im = sqrt(a, b)
    return reciprocal(re, im)


@triton.jit
def reciprocal(a, b):
    """1 / z."""
    return div(_one(a), _zero(a), a, b)


@triton.jit
def sigmoid(a, b):
    """1 / (1 + exp(-z))."""
    re, im = exp(a * -1.0, b * -1.0)
    return reciprocal(1 + re, im)


@triton.jit
def sinh(a, b):
    """sinh a cos b + i cosh a sin b."""
    cos, sin = libdevice.cos(b), libdevice.sin(b)
    re = tl.where((a == 0) & (cos != cos), a, libdevice.sinh(a) * cos)
    re = tl.where(b == 0, libdevice.sinh(a), re)
    return re, tl.where(b == 0, b, libdevice.cosh(a) * sin)


@triton.jit
def cosh(a, b):
    """cosh a cos b + i sinh a sin b."""
    sin = libdevice.sin(b)
    im = tl.where(b == 0, b * libdevice.copysign(_one(a), a), libdevice.sinh(a) * sin)
    im = tl.where((a == 0) & (sin != sin), a, im)
    return tl.where(b == 0, libdevice.cosh(a), libdevice.cosh(a) * libdevice.cos(b)), im


@triton.jit
def tanh(a, b):
    """By W. Kahan's formula, with its limit where sinh a squared would overflow."""
    edge: tl.constexpr = 11.0 if a.dtype == tl.float32 else 22.0
    far = tl.abs(a) > edge
    x = tl.where(far, _zero(a), a)
    t = libdevice.tan(b)
    s = libdevice.sinh(x)
    beta = 1 + t * t
    scale = divide(_one(a), 1 + beta * s * s)
    fall = 4 * libdevice.sin(b) * libdevice.cos(b) * libdevice.exp(-2 * tl.abs(a))
    fall = tl.where(tl.abs(a) == float("inf"), _zero(a), fall)
    re = tl.where(far, libdevice.copysign(_one(a), a), beta * maths.sqrt(1 + s * s) * s * scale)
    return re, tl.where(far, fall, t * scale)


@triton.jit
def sin(a, b):
    """-i sinh(iz)."""
    re, im = sinh(b * -1.0, a)
    return im, re * -1.0


@triton.jit
def cos(a, b):
    """cosh(iz)."""
    return cosh(b * -1.0, a)


@triton.jit
def tan(a, b):
    """-i tanh(iz)."""
    re, im = tanh(b * -1.0, a)
    return im, re * -1.0


@triton.jit
def _log_twice(a, b):
    """log |2z| of a large z."""
    return libdevice.log(libdevice.hypot(a * 0.5, b * 0.5)) + 2 * LN2


@triton.jit
def _is_large(a, b):
    """Whether 1 is nothing beside z."""
    bound: tl.constexpr = 1e18 if a.dtype == tl.float32 else 1e150
    return (tl.abs(a) > bound) | (tl.abs(b) > bound)


@triton.jit
def acos(a, b):
    """From the roots of 1 - z and 1 + z (W. Kahan, Much Ado about Nothing's Sign Bit, 1987)."""
    p, q = sqrt(1 - a, b * -1.0)
    r, s = sqrt(1 + a, b)
    re = 2 * libdevice.atan2(p, r)
    im = libdevice.asinh(r * q - s * p)
    far = _is_large(a, b)
    re = tl.where(far, libdevice.atan2(tl.abs(b), a), re)
    return re, tl.where(far, libdevice.copysign(_log_twice(a, b), b * -1.0), im)


@triton.jit
def acosh(a, b):
    """From the roots of z - 1 and z + 1 (W. Kahan)."""
    p, q = sqrt(a - 1, b)
    r, s = sqrt(a + 1, b)
    re = libdevice.asinh(p * r + q * s)
    im = 2 * libdevice.atan2(q, r)
    far = _is_large(a, b)
    return tl.where(far, _log_twice(a, b), re), tl.where(far, libdevice.atan2(b, a), im)


@triton.jit
def asinh(a, b):
    """From the roots of 1 - iz and 1 + iz (W. Kahan)."""
    p, q = sqrt(1 + b, a * -1.0)
    r, s = sqrt(1 - b, a)
    re = libdevice.asinh(p * s - q * r)
    im = libdevice.atan2(b, p * r - q * s)
    far = _is_large(a, b)
    re = tl.where(far, libdevice.copysign(_log_twice(a, b), a), re)
    return re, tl.where(far, libdevice.atan2(b, tl.abs(a)), im)


@triton.jit
def asin(a, b):
    """-i asinh(iz)."""
    re, im = asinh(b * -1.0, a)
    return im, re * -1.0


@triton.jit
def atanh(a, b):
    """log1p(4a / ((1 - a)^2 + b^2)) / 4, and the half angle, on the side a >= 0."""
    flipped = maths.signbit(a)
    x, y = tl.abs(a), tl.where(flipped, b * -1.0, b)
    gap = 1 - x
    re = libdevice.log1p(divide(4 * x, gap * gap + y * y)) * 0.25
    im = -0.5 * libdevice.atan2(-2 * y, gap * (1 + x) - y * y)
    pole = (gap == 0) & (tl.abs(y) < 1e-9)  # whose square is no longer a number to divide by
    re = tl.where(pole, 0.5 * (LN2 - libdevice.log(tl.abs(y))), re)
    far = _is_large(a, b)
    size = libdevice.hypot(x * 0.5, y * 0.5)
    endless = size == float("inf")
    re = tl.where(far, tl.where(endless, _zero(x), divide(divide(x * 0.25, size), size)), re)
    im = tl.where(far, libdevice.copysign(tl.full([1], 1.5707963267948966, a.dtype), y), im)
    return tl.where(flipped, re * -1.0, re), tl.where(flipped, im * -1.0, im)


@triton.jit
def atan(a, b):
    """-i atanh(iz)."""
    re, im = atanh(b * -1.0, a)
    return im, re * -1.0


@triton.jit
def pow(a, b, c, d):
    """z to the w: exp(w log z). 1 where w is 0; 0 to a power with a positive real part is 0."""
    size, angle = log(a, b)
    re, im = exp(c * size - d * angle, c * angle + d * size)
    none = (c == 0) & (d == 0)
    zero = (a == 0) & (b == 0) & ((c != 0) | (d != 0))
    gone = zero & (c > 0) & (d == 0)
    void = tl.where(gone, _zero(a), _one(a) * float("nan"))
    re, im = tl.where(zero, void, re), tl.where(zero, void, im)
    return tl.where(none, _one(a), re), tl.where(none, _zero(a), im)
