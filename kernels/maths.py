"""Device functions for what neither Triton nor libdevice has as one function. Operands are tensors of one dtype."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def divide(x, y):
    """x / y, rounded correctly."""
    if x.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit
def sqrt(x):
    """The square root, rounded correctly."""
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)
    else:
        return libdevice.sqrt(x)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)): exp may overflow to infinity, whose inverse is the right 0."""
    return divide(tl.full([1], 1, x.dtype), 1 + libdevice.exp(-x))


@triton.jit
def sgn(x):
    """-1, 0 or 1; 0 for NaN."""
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


@triton.jit
def signbit(x):
    """Whether the sign bit is set, also on -0 and NaN."""
    if x.dtype == tl.float32:
        return x.to(tl.int32, bitcast=True) < 0
    elif x.dtype == tl.float64:
        return x.to(tl.int64, bitcast=True) < 0
    else:
        return x < 0


@triton.jit
def remainder(x, y):
    """x - y * floor(x / y): fmod with the sign of y."""
    rest = libdevice.fmod(x, y)
    shifted = tl.where((rest < 0) != (y < 0), rest + y, rest)
    return tl.where(rest == 0, libdevice.copysign(rest, y), shifted)


@triton.jit
def floor_div(x, y):
    """x / y rounded down, from the exact remainder, as Python's // does it; x / y where y is 0."""
    rest = libdevice.fmod(x, y)
    quotient = divide(x - rest, y)
    quotient = tl.where((rest != 0) & ((rest < 0) != (y < 0)), quotient - 1, quotient)
    down = libdevice.floor(quotient)
    down = tl.where(quotient - down > 0.5, down + 1, down)
    exact = divide(x, y)
    down = tl.where(quotient == 0, libdevice.copysign(x * 0, exact), down)
    return tl.where(y == 0, exact, down)


@triton.jit
def int_remainder(x, y):
    """x - y * floor(x / y) in integers."""
    rest = x % y
    return tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


@triton.jit
def int_floor_div(x, y):
    """x / y rounded down in integers."""
    rest = x % y
    quotient = x // y
    return tl.where((rest != 0) & ((rest < 0) != (y < 0)), quotient - 1, quotient)


@triton.jit
def int_pow(x, y):
    """x to the y in integers, wrapping, by squaring; a negative exponent gives 0 but for the bases 1 and -1."""
    result = x * 0 + 1
    base = x
    exponent = tl.where(y > 0, y, y * 0)
    for _ in tl.static_range(64):
        result = tl.where((exponent & 1) != 0, result * base, result)
        base = base * base
        exponent = exponent >> 1
    odd = (y & 1) != 0
    inverse = tl.where(x == 1, x, tl.where((x == -1) & odd, x, tl.where(x == -1, x * x, x * 0)))
    return tl.where(y >= 0, result, inverse)


@triton.jit
def uint_pow(x, y):
    """x to the y in unsigned integers, wrapping, by squaring."""
    result = x * 0 + 1
    base = x
    exponent = y
    for _ in tl.static_range(8):
        result = tl.where((exponent & 1) != 0, result * base, result)
        base = base * base
        exponent = exponent >> 1
    return result


@triton.jit
def lshift(x, y, BITS: tl.constexpr):
    """x << y; 0 where y is negative or no smaller than the width."""
    inside = (y >= 0) & (y < BITS)
    return tl.where(inside, x << tl.where(inside, y, y * 0), x * 0)


@triton.jit
def rshift(x, y, BITS: tl.constexpr):
    """x >> y; only the sign is left where y is negative or no smaller than the width."""
    inside = (y >= 0) & (y < BITS)
    return x >> tl.where(inside, y, y * 0 + (BITS - 1))


@triton.jit
def _cot_pi(x):
    """cot(pi x) with the argument reduced to [-1/2, 1/2] first."""
    reduced = x - libdevice.rint(x)
    return divide(libdevice.cos(reduced * 3.141592653589793), libdevice.sin(reduced * 3.141592653589793))


@triton.jit
def digamma(x):
    """The derivative of lgamma: reflection below 0, recurrence up to 10, then the asymptotic series (A&S 6.3.18).

    digamma(±0) is ∓infinity, digamma of a negative integer NaN.
    """
    one = x * 0 + 1
    reflected = x < 0.5
    z = tl.where(reflected, 1 - x, x)
    shift = x * 0
    for _ in tl.static_range(10):
        small = z < 10
        shift = shift - tl.where(small, divide(one, z), x * 0)
        z = tl.where(small, z + 1, z)
    w = divide(one, z * z)
    series = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12))))))
    value = shift + libdevice.log(z) - divide(one * 0.5, z) - series
    value = tl.where(reflected, value - 3.141592653589793 * _cot_pi(x), value)
    value = tl.where((x < 0) & (x == libdevice.floor(x)), x * 0 + float("nan"), value)
    value = tl.where(x == 0, libdevice.copysign(one * float("inf"), x * -1.0), value)
    return tl.where(x == float("inf"), x, value)


@triton.jit
def trigamma(x):
    """The derivative of digamma, by the same steps (A&S 6.4.12)."""
    one = x * 0 + 1
    reflected = x < 0.5
    z = tl.where(reflected, 1 - x, x)
    shift = x * 0
    for _ in tl.static_range(10):
        small = z < 10
        shift = shift + tl.where(small, divide(one, z * z), x * 0)
        z = tl.where(small, z + 1, z)
    w = divide(one, z * z)
    series = 1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66 - w * (691 / 2730 - w * 7 / 6)))))
    value = shift + divide(one, z) + 0.5 * w + divide(w * series, z)
    sine = libdevice.sin((x - libdevice.rint(x)) * 3.141592653589793)
    value = tl.where(reflected, divide(one * 9.869604401089358, sine * sine) - value, value)
    return tl.where(x == float("inf"), x * 0, value)


@triton.jit
def polygamma(N: tl.constexpr, x):
    """The derivative of order N >= 2 of digamma, in float64: N! times the Hurwitz zeta function (DLMF 25.11.28).

    Infinity at the poles, NaN at minus infinity.
    """
    z = x.to(tl.float64)
    pole = (z <= 0) & (z == libdevice.floor(z))
    regular = (tl.abs(z) < float("inf")) & ~pole
    q = tl.where(regular, z, tl.full([1], 12, tl.float64))
    total = q * 0
    while tl.max((q < 12).to(tl.int32), None) > 0:
        power = q * 0 + 1
        inverse = 1 / q
        for _ in tl.static_range(N + 1):
            power = power * inverse
        total += tl.where(q < 12, power, q * 0)
        q = tl.where(q < 12, q + 1, q)
    power = q * 0 + 1
    inverse = 1 / q
    for _ in tl.static_range(N):
        power = power * inverse  # q**-N
    total += power / N + 0.5 * power * inverse
    square = inverse * inverse
    term = power * square * (N + 1)
    series = term * (1 / 12)
    term = term * square * (N + 2) * (N + 3)
    series -= term * (1 / 720)
    term = term * square * (N + 4) * (N + 5)
    series += term * (1 / 30240)
    term = term * square * (N + 6) * (N + 7)
    series -= term * (1 / 1209600)
    term = term * square * (N + 8) * (N + 9)
    series += term * (1 / 47900160)
    term = term * square * (N + 10) * (N + 11)
    series -= term * (691 / 1307674368000)
    term = term * square * (N + 12) * (N + 13)
    total += series + term * (1 / 74724249600)
    for i in tl.static_range(1, N + 1):
        total = total * i
    total = tl.where(pole, total * 0 + float("inf"), total)
    total = tl.where(z == float("inf"), total * 0, total)
    if N % 2 == 0:
        total = total * -1.0
    total = tl.where((z != z) | (z == float("-inf")), z * 0 + float("nan"), total)
    return total.to(x.dtype)


@triton.jit
def _magnitude(x):
    """|x| in a type that can tell all of them, without a sign where it must."""
    if x.dtype == tl.int64:
        return tl.abs(x).to(tl.uint64, bitcast=True)
    elif x.dtype == tl.int32:
        return tl.abs(x).to(tl.uint32, bitcast=True)
    elif x.dtype == tl.uint8:
        return x.to(tl.uint32)
    else:
        return tl.abs(x.to(tl.int32)).to(tl.uint32, bitcast=True)


@triton.jit
def _gcd(a, b):
    """Euclid's algorithm, for all elements until the last is done."""
    while tl.max((b != 0).to(tl.int32), None) > 0:
        divisor = tl.where(b != 0, b, b * 0 + 1)
        rest = a % divisor
        a = tl.where(b != 0, b, a)
        b = tl.where(b != 0, rest, b)
    return a


@triton.jit
def gcd(x, y):
    """The greatest common divisor; that of 0 and 0 is 0."""
    return _gcd(_magnitude(x), _magnitude(y)).to(x.dtype)


@triton.jit
def lcm(x, y):
    """The least common multiple; 0 where one of them is 0. What does not fit wraps."""
    a = _magnitude(x)
    b = _magnitude(y)
    divisor = _gcd(a, b)
    return (a // tl.where(divisor != 0, divisor, divisor * 0 + 1) * b).to(x.dtype)
