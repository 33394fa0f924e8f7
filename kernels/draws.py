"""Normals, integers and dropout masks from the Philox stream of `random.py`: the same on every device.

Masks and integers are equal bit for bit to those of the NumPy twin, normals but for the last bits of log, cos and sin.
Each element is written once and nothing is read; compiled without fused multiply-add.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import maths
from naiad.kernels.copy import contiguous
from naiad.kernels.launch import Scalar, block_for, cdiv, launch
from naiad.kernels.random import _lanes

BLOCK = 256  # counters per program


@triton.jit
def _pair(first, second):
    """The 64-bit number of two lanes."""
    return (first.to(tl.uint64) << 32) | second.to(tl.uint64)


@triton.jit
def _box_muller(u, v):
    """Two standard normals of two uniforms in [0, 1)."""
    r = maths.sqrt(-2.0 * libdevice.log1p(u * -1.0))
    t = v * 6.283185307179586
    return r * libdevice.cos(t), r * libdevice.sin(t)


@triton.jit
def _normal(out_ptr, seed, offset, mean, std, numel, DOUBLE: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr):
    a, b, c, d = _lanes(seed, offset, BLOCK)
    if DOUBLE:
        first = (_pair(a, b) >> 11).to(tl.float64) * 1.1102230246251565e-16
        second = (_pair(c, d) >> 11).to(tl.float64) * 1.1102230246251565e-16
        x, y = _box_muller(first, second)
        values = tl.interleave(x, y)
    else:
        x, y = _box_muller((a >> 8).to(tl.float32) * (1.0 / (1 << 24)), (b >> 8).to(tl.float32) * (1.0 / (1 << 24)))
        z, w = _box_muller((c >> 8).to(tl.float32) * (1.0 / (1 << 24)), (d >> 8).to(tl.float32) * (1.0 / (1 << 24)))
        values = tl.interleave(tl.interleave(x, z), tl.interleave(y, w))
    values = values * std + mean
    if LOG:
        values = libdevice.exp(values)
    VALUES: tl.constexpr = (2 if DOUBLE else 4) * BLOCK
    i = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    tl.store(out_ptr + i, values.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _uniforms(a, b, c, d, DOUBLE: tl.constexpr):
    """Uniforms in [0, 1) of a program's lanes, in order: 24 bits of each lane, or 53 of each pair."""
    if DOUBLE:
        u = tl.interleave((_pair(a, b) >> 11).to(tl.float64), (_pair(c, d) >> 11).to(tl.float64))
        return u * 1.1102230246251565e-16
    else:
        bits = tl.interleave(tl.interleave(a, c), tl.interleave(b, d)) >> 8
        return bits.to(tl.float32) * (1.0 / (1 << 24))


@triton.jit
def _inverted(
    out_ptr, seed, offset, first, second, numel, KIND: tl.constexpr, DOUBLE: tl.constexpr, BLOCK: tl.constexpr
):
    """A distribution's inverse at uniforms: EXPONENTIAL (rate), CAUCHY (median, scale), GEOMETRIC (log(1 - p))."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    u = _uniforms(a, b, c, d, DOUBLE)
    if KIND == 1:
        value = first + second * libdevice.tan((u - 0.5) * 3.141592653589793)
    else:
        value = maths.divide(libdevice.log1p(-u), tl.zeros([1], u.dtype) + first)
        if KIND == 0:
            value = -value
        else:
            value = tl.maximum(libdevice.ceil(value), 1.0)
    VALUES: tl.constexpr = (2 if DOUBLE else 4) * BLOCK
    i = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    if out_ptr.dtype.element_ty == tl.int1:
        value = value != 0
    tl.store(out_ptr + i, value.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _begin(mean, deviation):
    """Where a running sum of probabilities begins: at 0, or 20 deviations below the mean."""
    k = tl.floor(mean - 20.0 * deviation - 20.0)
    return tl.where(k < 64.0, 0.0, k)


@triton.jit
def _log_factorial(n):
    """Stirling's series."""
    n = tl.maximum(n, 1.0)
    series = n * (libdevice.log(n) - 1.0) + 0.5 * libdevice.log(6.283185307179586 * n)
    return series + (0.08333333333333333 - 1.0 / (360.0 * n * n)) / n


@triton.jit
def _poisson(out_ptr, rate_ptr, seed, offset, numel, BLOCK: tl.constexpr):
    """Where a uniform falls in the running sum of the probabilities of 0, 1, 2 ...; as the NumPy twin."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    u = _uniforms(a, b, c, d, True)
    i = tl.program_id(0).to(tl.int64) * (2 * BLOCK) + tl.arange(0, 2 * BLOCK)
    rate = tl.load(rate_ptr + i, mask=i < numel, other=0).to(tl.float64)
    tl.device_assert(rate >= 0, "invalid Poisson rate, expected rate to be non-negative")
    k = _begin(rate, maths.sqrt(rate))
    log = tl.where(k > 0, k * libdevice.log(tl.maximum(rate, 1.0)) - _log_factorial(k), 0.0)
    chance = libdevice.exp(log - rate)
    total = chance
    active = u >= total
    while tl.max(active.to(tl.int32), 0) > 0:
        k += active.to(tl.float64)
        chance = tl.where(active, chance * (rate / tl.maximum(k, 1.0)), chance)
        total += tl.where(active, chance, 0.0)
        active = active & (u >= total) & ((chance > 1e-20) | (k < rate))
    tl.store(out_ptr + i, k.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _binomial(out_ptr, count_ptr, prob_ptr, seed, offset, numel, BLOCK: tl.constexpr):
    """The same for successes among trials; probabilities above 1/2 count what does not succeed."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    u = _uniforms(a, b, c, d, True)
    i = tl.program_id(0).to(tl.int64) * (2 * BLOCK) + tl.arange(0, 2 * BLOCK)
    n = tl.load(count_ptr + i, mask=i < numel, other=0).to(tl.float64)
    given = tl.load(prob_ptr + i, mask=i < numel, other=0).to(tl.float64)
    p = tl.minimum(given, 1.0 - given, propagate_nan=tl.PropagateNan.ALL)
    mean = n * p
    k = _begin(mean, maths.sqrt(mean * (1.0 - p)))
    ways = _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k) + k * libdevice.log(tl.where(k > 0, p, 1.0))
    chance = libdevice.exp(tl.where(k > 0, ways, 0.0) + (n - k) * libdevice.log1p(-p))
    total = chance
    odds = p / (1.0 - p)
    active = u >= total
    while tl.max(active.to(tl.int32), 0) > 0:
        k += active.to(tl.float64)
        chance = tl.where(active, chance * ((n - k + 1.0) / tl.maximum(k, 1.0) * odds), chance)
        total += tl.where(active, chance, 0.0)
        active = active & (u >= total) & ((chance > 1e-20) | (k < mean))
    k = tl.minimum(k, n, propagate_nan=tl.PropagateNan.ALL)
    k = tl.where(given > 0.5, n - k, k)
    tl.store(out_ptr + i, k.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _integers(out_ptr, seed, offset, low, choices, numel, PAIRS: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr):
    """low + the high half of lane * choices, or if PAIRS a number of two lanes modulo choices (ALL: every one)."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    if PAIRS:
        drawn = tl.interleave(_pair(a, b), _pair(c, d))
        if not ALL:
            drawn = drawn % choices
    else:
        drawn = tl.interleave(tl.interleave(a, c), tl.interleave(b, d)).to(tl.uint64) * choices >> 32
    VALUES: tl.constexpr = (2 if PAIRS else 4) * BLOCK
    i = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    value = (drawn + low).to(tl.int64)
    if out_ptr.dtype.element_ty == tl.int1:
        value = value != 0
    tl.store(out_ptr + i, value.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _dropout_noise(out_ptr, seed, offset, threshold, scale, numel, BLOCK: tl.constexpr):
    """scale where a lane is no smaller than the threshold, else 0."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    drawn = tl.interleave(tl.interleave(a, c), tl.interleave(b, d)).to(tl.uint64)
    value = tl.where(drawn >= threshold, tl.zeros([4 * BLOCK], scale.dtype) + scale, tl.zeros([4 * BLOCK], scale.dtype))
    i = tl.program_id(0).to(tl.int64) * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    tl.store(out_ptr + i, value.to(out_ptr.dtype.element_ty), mask=i < numel)


@triton.jit
def _dropout(out_ptr, x_ptr, seed, offset, threshold, scale, numel, BLOCK: tl.constexpr):
    """x times what `_dropout_noise` draws, which is stored nowhere."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    drawn = tl.interleave(tl.interleave(a, c), tl.interleave(b, d)).to(tl.uint64)
    noise = tl.where(drawn >= threshold, tl.zeros([4 * BLOCK], scale.dtype) + scale, tl.zeros([4 * BLOCK], scale.dtype))
    i = tl.program_id(0).to(tl.int64) * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    x = tl.load(x_ptr + i, mask=i < numel, other=0).to(scale.dtype)
    tl.store(out_ptr + i, (x * noise).to(out_ptr.dtype.element_ty), mask=i < numel)


def normal(out: Any, *, seed: int, offset: int, mean: float, std: float, log: bool = False) -> None:
    """Fill out (a float dtype) with normals by Box-Muller (log: exp of them), in float32 (float64 for float64)."""
    double = out.dtype.name == "float64"
    kind = "float64" if double else "float32"
    numbers = Scalar(mean, kind), Scalar(std, kind)
    _launch(_normal, out, seed, offset, 2 if double else 4, *numbers, DOUBLE=double, LOG=log)


EXPONENTIAL, CAUCHY, GEOMETRIC = range(3)


def exponential(out: Any, *, seed: int, offset: int, lambd: float) -> None:
    """Fill out (a float dtype) with exponentials of a rate: -log(1 - u) / lambd."""
    _invert(out, seed, offset, EXPONENTIAL, lambd, 0.0)


def cauchy(out: Any, *, seed: int, offset: int, median: float, sigma: float) -> None:
    """Fill out (a float dtype) with Cauchy numbers: median + sigma tan(pi (u - 1/2))."""
    _invert(out, seed, offset, CAUCHY, median, sigma)


def geometric(out: Any, *, seed: int, offset: int, p: float) -> None:
    """Fill out with how many trials of probability p the first success takes, at least 1."""
    _invert(out, seed, offset, GEOMETRIC, float(np.log1p(-p)), 0.0)


def _invert(out: Any, seed: int, offset: int, kind: int, first: float, second: float) -> None:
    double = out.dtype.name == "float64"
    numbers = [Scalar(x, "float64" if double else "float32") for x in (first, second)]
    _launch(_inverted, out, seed, offset, 2 if double else 4, *numbers, KIND=kind, DOUBLE=double)


def poisson(out: Any, rate: Any, *, seed: int, offset: int) -> None:
    """out = Poisson numbers of the rates; one float64 uniform each."""
    _launch(_poisson, out, seed, offset, 2, source=(contiguous(rate),))


def binomial(out: Any, count: Any, prob: Any, *, seed: int, offset: int) -> None:
    """out = how many of count trials of a probability succeed; one float64 uniform each."""
    _launch(_binomial, out, seed, offset, 2, source=(contiguous(count), contiguous(prob)))


def integers(out: Any, *, seed: int, offset: int, low: int, high: int) -> None:
    """Fill out with integers in [low, high): up to 2**24 choices take one lane each, more take two."""
    choices = high - low
    pairs, everything = choices > 1 << 24, choices >= 1 << 64
    numbers = Scalar(low & (2**64 - 1), "uint64"), Scalar(1 if everything else choices, "uint64")
    _launch(_integers, out, seed, offset, 2 if pairs else 4, *numbers, PAIRS=pairs, ALL=everything)


def dropout_noise(out: Any, *, seed: int, offset: int, p: float, scale: float) -> None:
    """out = 0 with probability p, else scale; a lane decides by its upper 24 bits."""
    _launch(_dropout_noise, out, seed, offset, 4, *_noise(out, p, scale))


def dropout(out: Any, x: Any, *, seed: int, offset: int, p: float, scale: float) -> None:
    """out = x times the noise of the same seed, offset, p and scale, rounded as that would be."""
    rounded = float(np.asarray(scale, out.dtype))
    _launch(_dropout, out, seed, offset, 4, *_noise(out, p, rounded), source=(contiguous(x),))


def _noise(out: Any, p: float, scale: float) -> tuple[Scalar, Scalar]:
    threshold = ceil(float(np.float32(p)) * 2**24) << 8
    return Scalar(threshold, "uint64"), Scalar(scale, "float64" if out.dtype.name == "float64" else "float32")


def _launch(
    kernel: Any, out: Any, seed: int, offset: int, per_counter: int, *numbers: Any, source: tuple = (), **constants: Any
) -> None:
    numel = prod(out.shape)
    if numel == 0:
        return
    counters = cdiv(numel, per_counter)
    block = block_for(counters, BLOCK, 16384)
    launch(
        kernel, (cdiv(counters, block),), out, *source, Scalar(seed & (2**64 - 1), "uint64"), Scalar(offset, "uint64"),
        *numbers, numel, enable_fp_fusion=False, BLOCK=block, **constants,
    )  # fmt: skip
