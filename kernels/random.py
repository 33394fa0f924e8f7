"""Random fills by Philox4x32-10 (Salmon et al., 2011), counter based: the same stream on every device.

A draw is a run of 32-bit lanes: lane i of a draw at `offset` is lane i % 4 of the counter offset + i // 4, under the
low and high halves of the seed as key. Writes each element once and reads nothing; about 50 integer operations per
element.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.launch import Scalar, block_for, cdiv, launch

BLOCK = 256  # counters per program


@triton.jit
def _lanes(seed, offset, BLOCK: tl.constexpr):
    """The four lanes of this program's counters."""
    counter = offset + (tl.program_id(0).to(tl.uint64) * BLOCK + tl.arange(0, BLOCK).to(tl.uint64))
    low = (counter & 0xFFFFFFFF).to(tl.uint32)
    high = (counter >> 32).to(tl.uint32)
    zero = tl.zeros([BLOCK], tl.uint32)
    return tl.philox(seed, low, high, zero, zero)


@triton.jit
def _uniform(out_ptr, seed, offset, low, high, numel, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """out = low + (high - low) * u with u of BITS random bits in [0, 1), compiled without fused multiply-add."""
    a, b, c, d = _lanes(seed, offset, BLOCK)
    if BITS == 53:  # two lanes per value
        first = (((a.to(tl.uint64) << 32) | b.to(tl.uint64)) >> 11).to(tl.float64)
        second = (((c.to(tl.uint64) << 32) | d.to(tl.uint64)) >> 11).to(tl.float64)
        bits = tl.interleave(first, second)
        u = bits * 1.1102230246251565e-16
    else:
        bits = tl.interleave(tl.interleave(a, c), tl.interleave(b, d)) >> (32 - BITS)
        u = bits.to(tl.float32) * (1.0 / (1 << BITS))
    u = low + (high - low) * u
    VALUES: tl.constexpr = (2 if BITS == 53 else 4) * BLOCK
    i = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    tl.store(out_ptr + i, u.to(out_ptr.dtype.element_ty), mask=i < numel)


def uniform(out: Any, *, seed: int, offset: int, low: float = 0.0, high: float = 1.0) -> None:
    """Fill out (contiguous, a float dtype) with uniforms in [low, high), computed in float32 (float64 for float64)."""
    numel, name = prod(out.shape), out.dtype.name
    if numel == 0:
        return
    per_counter = 2 if name == "float64" else 4
    counters = cdiv(numel, per_counter)
    block = block_for(counters, BLOCK, 16384)
    compute = "float64" if name == "float64" else "float32"
    launch(
        _uniform, (cdiv(counters, block),), out, Scalar(seed & (2**64 - 1), "uint64"), Scalar(offset, "uint64"),
        Scalar(low, compute), Scalar(high, compute), numel,
        enable_fp_fusion=False, BITS={"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[name], BLOCK=block,
    )  # fmt: skip
