"""Matrix products: vectors, matrices and broadcast batches, operands of any strides, plus a bias per column.

out[b, i, j] = sum over k of a[b, i, k] * b[b, k, j] + bias[j]: 2 M N K operations per matrix; each program makes one
tile of out and reads M K / BLOCK_N + K N / BLOCK_M tiles of the operands, in an order that keeps them in L2. Halves
multiply on tensor cores and accumulate in float32, float32 by three tf32 products (as accurate as float32), float64 in
float64; integers, which tensor cores do not have at these widths, by plain multiplications. A product of few tiles and
many terms is split over the terms; the parts are added up in one order by a second launch.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels import interpreting, reduce, tuning
from naiad.kernels.copy import contiguous, copy, fill
from naiad.kernels.elementwise import device_function
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import cdiv, launch, next_power_of_2
from naiad.kernels.precision import precision
from naiad.kernels.rows import widened

GROUP = 8  # tiles of rows that are worked on together


@triton.jit
def _matmul(
    out_ptr, a_ptr, b_ptr, bias_ptr, M, N, K, inner_batch,
    out_outer, out_inner, out_row, out_col,
    a_outer, a_inner, a_row, a_col,
    b_outer, b_inner, b_row, b_col, bias_stride, BIAS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, EPILOGUE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One tile of one matrix. PRECISION names how tl.dot multiplies, or is "plain" for sums of products; EPILOGUE is a
    device function that the result goes through, or None."""
    tiles_m = tl.cdiv(M, BLOCK_M)
    tiles_n = tl.cdiv(N, BLOCK_N)
    batch = tl.program_id(0) // (tiles_m * tiles_n)
    tile = tl.program_id(0) % (tiles_m * tiles_n)
    group = tile // (GROUP * tiles_n)
    rows_in_group = tl.minimum(tiles_m - group * GROUP, GROUP)
    tile_m = group * GROUP + (tile % (GROUP * tiles_n)) % rows_in_group
    tile_n = (tile % (GROUP * tiles_n)) // rows_in_group
    i = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    j = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    if WIDE:
        batch, i, j, k = batch.to(tl.int64), i.to(tl.int64), j.to(tl.int64), k.to(tl.int64)
    outer, inner = batch // inner_batch, batch % inner_batch
    # Rows and columns past the end wrap around: what they compute is not stored, and the loads need no mask for them.
    a_tile = a_ptr + outer * a_outer + inner * a_inner + (i % M)[:, None] * a_row + k[None, :] * a_col
    b_tile = b_ptr + outer * b_outer + inner * b_inner + k[:, None] * b_row + (j % N)[None, :] * b_col
    acc = tl.zeros([BLOCK_M, BLOCK_N], ACC)
    for start in range(0, K, BLOCK_K):
        a = tl.load(a_tile, mask=(k < K - start)[None, :], other=0)
        b = tl.load(b_tile, mask=(k < K - start)[:, None], other=0)
        if PRECISION == "plain":
            acc += tl.sum(a.to(ACC)[:, :, None] * b.to(ACC)[None, :, :], 1)
        else:
            acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        a_tile += BLOCK_K * widened(a_col, WIDE)
        b_tile += BLOCK_K * widened(b_row, WIDE)
    if BIAS:
        acc += tl.load(bias_ptr + (j % N) * bias_stride).to(ACC)[None, :]
    if EPILOGUE is not None:
        acc = EPILOGUE(acc)
    out_tile = out_ptr + outer * out_outer + inner * out_inner + i[:, None] * out_row + j[None, :] * out_col
    result = acc != 0 if out_ptr.dtype.element_ty == tl.int1 else acc.to(out_ptr.dtype.element_ty)
    tl.store(out_tile, result, mask=(i < M)[:, None] & (j < N)[None, :])


def matmul(out: Any, a: Any, b: Any, bias: Any = None, activation: Any = None) -> None:
    """out = a @ b by PyTorch's rules for 1-d, 2-d and batched operands; a and b have one dtype and any strides.

    bias: one number per column, added before the result is rounded. activation: an elementwise op of one operand, which
    the result then goes through; floating point only.
    """
    if prod(out.shape) == 0:
        return
    if a.shape[-1] == 0 and activation is None:
        if bias is None:
            fill(out, value=0)
        else:
            copy(out, bias)
        return
    out, a, b = _matrices(out, a, b)
    whole = bias is not None or activation is not None
    parts = 1 if whole or len(out.shape) != 2 else _parts(*out.shape, a.shape[-1], a.dtype.name)
    if parts > 1:
        _in_parts(out, a, b, parts)
        return
    found = _batches(out, a, b)
    if found is None:
        out, a, b = _flat_batch(out), _flat_batch(contiguous(a)), _flat_batch(contiguous(b))
        found = _batches(out, a, b)
        assert found is not None
    batch, strides = found
    (m, k), n = a.shape[-2:], b.shape[-1]
    wide = needs_int64((prod(out.shape),), [(1,)]) or any(needs_int64(x.shape, [x.strides]) for x in (a, b))
    epilogue = activation and device_function(activation, "float64" if a.dtype.name == "float64" else "float32")

    def run(choice: tuning.Choice) -> None:
        block_m, block_n, block_k, warps, stages = choice
        launch(
            _matmul, (cdiv(m, block_m) * cdiv(n, block_n) * batch[0] * batch[1],),
            out, a, b, a if bias is None else bias, m, n, k, batch[1], *strides,
            bias.strides[0] if bias is not None else 0,
            num_warps=warps, num_stages=stages, BIAS=bias is not None,
            BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, GROUP=GROUP,
            ACC=_accumulator(a.dtype.name), PRECISION=precision(a.dtype.name), EPILOGUE=epilogue, WIDE=wide,
        )  # fmt: skip

    sizes = (m, n, k)
    candidates = [fit(choice, sizes) for choice in CANDIDATES.get(a.dtype.name, ())]
    run(tuning.choose("matmul", a, sizes, _tile(*sizes, a.dtype.name), candidates, run))


def linear(out: Any, x: Any, weight: Any, bias: Any = None, *, activation: Any = None) -> None:
    """out = activation(x @ weight.T + bias): x (..., k), weight (n, k), bias (n,) or what broadcasts to it."""
    n = weight.shape[0]
    turned = weight.view(weight.shape[::-1], weight.strides[::-1])
    matmul(out, x, turned, None if bias is None else bias.broadcast((n,)), activation)


def flat_outer(out: Any, a: Any, b: Any) -> None:
    """out = the sum over all leading dimensions of a (..., n) and b (..., k) of their outer products: (n, k)."""
    a, b = _rows(a), _rows(b)
    matmul(out, a.view(a.shape[::-1], a.strides[::-1]), b)


def _rows(x: Any) -> Any:
    """x with its leading dimensions as one."""
    if len(x.shape) == 1:
        return x.view((1, *x.shape), (0, *x.strides))
    while len(x.shape) > 2:
        if not _joined(x, 0):
            return _rows(contiguous(x))
        x = _join(x, 0)
    return x


SPLIT_TARGET = 132  # programs that keep a large GPU busy


def _parts(m: int, n: int, k: int, dtype: str) -> int:
    """Into how many parts the terms of a product are split: a power of two that divides their number."""
    if interpreting() or "float" not in dtype:
        return 1
    tile = _tile(m, n, k, dtype)
    tiles = cdiv(m, tile[0]) * cdiv(n, tile[1])
    parts = 1
    while 2 * parts * tiles <= SPLIT_TARGET and k % (2 * parts) == 0 and k // (2 * parts) >= 512:
        parts *= 2
    return parts


def _in_parts(out: Any, a: Any, b: Any, parts: int) -> None:
    (m, k), n = a.shape, b.shape[1]
    size = k // parts
    partial = out.new((parts, m, n), np.dtype(np.float64 if out.dtype.name == "float64" else np.float32))
    matmul(
        partial,
        a.view((parts, m, size), (size * a.strides[1], *a.strides)),
        b.view((parts, size, n), (size * b.strides[0], *b.strides)),
    )
    if out.is_contiguous:
        reduce.sum(out, partial, dim=(0,))
    else:
        whole = out.new(out.shape, out.dtype)
        reduce.sum(whole, partial, dim=(0,))
        copy(out, whole)


def _accumulator(dtype: str) -> Any:
    return tl.float64 if dtype == "float64" else tl.float32 if "float" in dtype else tl.int64


def _matrices(out: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Operands with at least two dimensions and out with theirs; rows of a batch that lie evenly become one matrix."""
    if len(a.shape) == 1:
        a = a.view((1, *a.shape), (0, *a.strides))
        cut = len(out.shape) - (len(b.shape) > 1)
        out = out.view((*out.shape[:cut], 1, *out.shape[cut:]), (*out.strides[:cut], 0, *out.strides[cut:]))
    if len(b.shape) == 1:
        b = b.view((*b.shape, 1), (*b.strides, 0))
        out = out.view((*out.shape, 1), (*out.strides, 0))
    while len(b.shape) == 2 < len(a.shape) and all(_joined(x, -3) for x in (a, out)):
        a, out = _join(a, -3), _join(out, -3)
    shape = out.shape[:-2]
    return out, a.broadcast(shape + a.shape[-2:]), b.broadcast(shape + b.shape[-2:])


def _joined(x: Any, d: int) -> bool:
    """Whether dimensions d and d + 1 are one evenly strided dimension."""
    return x.shape[d] == 1 or x.strides[d] == x.shape[d + 1] * x.strides[d + 1]


def _join(x: Any, d: int) -> Any:
    d %= len(x.shape)
    shape = (*x.shape[:d], x.shape[d] * x.shape[d + 1], *x.shape[d + 2 :])
    return x.view(shape, x.strides[:d] + x.strides[d + 1 :])


def _batches(out: Any, a: Any, b: Any) -> tuple[tuple[int, int], list[int]] | None:
    """The batch as two dimensions, and each array's (outer, inner, row, column) strides; None if it takes more."""
    sizes: list[int] = []
    steps: list[list[int]] = [[], [], []]
    arrays = (out, a, b)
    for d in range(len(out.shape) - 2):
        size = out.shape[d]
        if size == 1:
            continue
        if sizes and all(s[-1] == size * x.strides[d] for s, x in zip(steps, arrays, strict=True)):
            sizes[-1] *= size
            for s, x in zip(steps, arrays, strict=True):
                s[-1] = x.strides[d]
        else:
            sizes.append(size)
            for s, x in zip(steps, arrays, strict=True):
                s.append(x.strides[d])
    if len(sizes) > 2:
        return None
    lead = 2 - len(sizes)
    strides = [v for s, x in zip(steps, arrays, strict=True) for v in (*(0,) * lead, *s, *x.strides[-2:])]
    outer, inner = (1,) * lead + tuple(sizes)
    return (outer, inner), strides


def _flat_batch(x: Any) -> Any:
    """A contiguous array with one batch dimension."""
    rows, columns = x.shape[-2:]
    return x.view((prod(x.shape[:-2]), rows, columns), (rows * columns, columns, 1))


# BLOCK_M, BLOCK_N, BLOCK_K, warps, stages
RULE: dict[str, tuning.Choice] = {"float64": (64, 64, 16, 4, 3), "float32": (128, 64, 32, 8, 3)}
HALVES: tuning.Choice = (128, 128, 64, 8, 3)
_HALVES: tuple[tuning.Choice, ...] = (
    *((128, 256, 64, 8, 3), (256, 128, 64, 8, 3), (128, 128, 64, 4, 4), (128, 128, 32, 4, 4)),
    *((64, 256, 64, 4, 4), (64, 128, 64, 4, 4), (128, 64, 64, 4, 4), (64, 64, 64, 4, 4), (64, 64, 128, 4, 3)),
)
CANDIDATES: dict[str, tuple[tuning.Choice, ...]] = {
    "bfloat16": _HALVES,
    "float16": _HALVES,
    "float32": ((128, 128, 32, 8, 3), (64, 128, 32, 4, 3), (64, 64, 32, 4, 3), (64, 64, 64, 4, 3), (32, 64, 32, 4, 4)),
    "float64": ((64, 32, 16, 4, 3), (32, 32, 16, 4, 3), (128, 64, 16, 8, 3)),
}


def fit(choice: tuning.Choice, sizes: tuple[int, int, int]) -> tuning.Choice:
    """A choice with tiles no larger than the problem; tl.dot takes none below 16."""
    return (*(min(max(next_power_of_2(s), 16), c) for s, c in zip(sizes, choice[:3], strict=True)), *choice[3:])


def _tile(m: int, n: int, k: int, dtype: str) -> tuning.Choice:
    """The family's rule."""
    if "float" not in dtype:
        return fit((64, 64, 64, 4, 2) if interpreting() else (32, 32, 8, 4, 2), (m, n, k))
    return fit((256, 256, 256, 4, 2) if interpreting() else RULE.get(dtype, HALVES), (m, n, k))
