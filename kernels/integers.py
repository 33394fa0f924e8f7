"""gcd, lcm and frexp: on bits and integers.

Each reads its operands once and writes its results once. gcd takes as many divisions as Euclid's algorithm does for
the worst pair in a block, at most 93 for 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.copy import contiguous
from naiad.kernels.elementwise import prepare
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import block_for, cdiv, launch

BLOCK = 1024


@dataclass(frozen=True)
class _Symbol:
    name: str


@cache
def _binary(op: str, dtype: str) -> Callable[..., None]:
    out, x, y = _Symbol("value"), _Symbol("x"), _Symbol("y")
    return prepare(op, ("x", "y"), ((out, op, (x, y)),), out, (dtype, dtype), dtype)


def gcd(out: Any, x: Any, y: Any) -> None:
    """out = the greatest common divisors of integers that broadcast."""
    _binary("gcd", out.dtype.name)(out, x.broadcast(out.shape), y.broadcast(out.shape))


def lcm(out: Any, x: Any, y: Any) -> None:
    """out = the least common multiples of integers that broadcast."""
    _binary("lcm", out.dtype.name)(out, x.broadcast(out.shape), y.broadcast(out.shape))


@triton.jit
def _frexp(
    mantissa_ptr, exponent_ptr, x_ptr, numel, ACC: tl.constexpr, KEY: tl.constexpr, DIGITS: tl.constexpr,
    BIAS: tl.constexpr, TINY: tl.constexpr, SCALE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """x as a mantissa with the exponent of 1/2, and the exponent; 0, infinities and NaN with the exponent 0."""
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    i = start * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < numel, other=0).to(ACC)
    regular = (tl.abs(x) < float("inf")) & (x != 0)
    tiny = tl.abs(x) < TINY  # without a leading bit: made larger by 2 ** SCALE first
    bits = tl.where(tiny, x * (1 << SCALE), x).to(KEY, bitcast=True)
    field: tl.constexpr = 2 * BIAS + 1
    exponent = ((bits >> DIGITS) & field) - (BIAS - 1) - tl.where(tiny, SCALE, 0)
    half = ((bits & (-(field << DIGITS) - 1)) | ((BIAS - 1) << DIGITS)).to(ACC, bitcast=True)
    mantissa = tl.where(regular, half, x)
    tl.store(mantissa_ptr + i, mantissa.to(mantissa_ptr.dtype.element_ty), mask=i < numel)
    tl.store(exponent_ptr + i, tl.where(regular, exponent, 0).to(tl.int32), mask=i < numel)


def frexp(outs: tuple, x: Any) -> None:
    """outs = mantissas and int32 exponents of floats: x = mantissa * 2**exponent, 0.5 <= |mantissa| < 1."""
    mantissa, exponent = outs
    numel = prod(x.shape)
    if numel == 0:
        return
    single = {"ACC": tl.float32, "KEY": tl.int32, "DIGITS": 23, "BIAS": 127, "TINY": 2.0**-126, "SCALE": 24}
    double = {"ACC": tl.float64, "KEY": tl.int64, "DIGITS": 52, "BIAS": 1023, "TINY": 2.0**-1022, "SCALE": 53}
    facts: dict[str, Any] = double if x.dtype.name == "float64" else single
    block = block_for(numel, BLOCK)
    wide = needs_int64((numel,), [(1,)])
    launch(_frexp, (cdiv(numel, block),), mantissa, exponent, contiguous(x), numel, BLOCK=block, WIDE=wide, **facts)
