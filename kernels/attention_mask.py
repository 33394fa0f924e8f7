"""The gradient of a mask that is added to attention's scores, without a buffer of queries x keys unless it is one.

A program takes a tile of the mask, and goes over all that it was added to: batches, heads, and where the mask has one
row or one column for all, tiles of queries and keys. 4 B H L S (E + Ev) / 2 operations, as the gradient of the queries.
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels.attention import LOG2E, Drop, _kept, _rows, _scores, start
from naiad.kernels.attention_tiles import with_tiles
from naiad.kernels.copy import contiguous, fill
from naiad.kernels.launch import cdiv
from naiad.kernels.tuning import Choice


@triton.jit
def _attention_bwd_mask(
    grad_ptr, g_ptr, out_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, first_pair, H, shared, L, S, E, EV,
    g_batch, g_head, g_row, g_col, q_batch, q_head, q_row, q_col, k_batch, k_head, k_row, k_col,
    v_batch, v_head, v_row, v_col, mask_batch, mask_head, mask_row, mask_col, scale, seed, first, limit, share,
    heads, rows, columns, batches_each, heads_each, rows_each, columns_each,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_L: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr, ONE_ROW: tl.constexpr,
    ONE_COLUMN: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of an added mask (batches, heads, rows, columns): ds, summed where it was added.

    batches_each, heads_each: how many of the attention's one of the mask's is added to; rows_each, columns_each: the
    same in tiles.
    """
    across = tl.cdiv(columns, BLOCK_S)
    tile_i, tile_j = tl.program_id(0) // across, tl.program_id(0) % across
    acc = tl.zeros([BLOCK_L, BLOCK_S], tl.float32)
    matrix = first_pair + tl.program_id(1)
    first_batch = matrix // heads * batches_each
    first_head = matrix % heads * heads_each
    for pair in range(batches_each * heads_each):
        batch = (first_batch + pair // heads_each).to(tl.int64)
        head = (first_head + pair % heads_each).to(tl.int64)
        row = (batch * H + head) * L
        own = head // shared
        for tile in range(tile_i, tile_i + rows_each):
            i = tile * BLOCK_L + tl.arange(0, BLOCK_L)
            q = _rows(q_ptr + batch * q_batch + head * q_head, i, q_row, q_col, L, E, BLOCK_E)
            g = _rows(g_ptr + batch * g_batch + head * g_head, i, g_row, g_col, L, EV, BLOCK_V)
            out = _rows(out_ptr + row * EV, i, EV, 1, L, EV, BLOCK_V)
            delta = tl.sum(g.to(tl.float32) * out.to(tl.float32), 1)
            lse = tl.load(lse_ptr + row + i, mask=i < L, other=0) * LOG2E
            for part in range(tile_j, tile_j + columns_each):
                j = part * BLOCK_S + tl.arange(0, BLOCK_S)
                k = _rows(k_ptr + batch * k_batch + own * k_head, j, k_row, k_col, S, E, BLOCK_E)
                product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=tl.float32)
                scores = _scores(
                    product, mask_ptr + batch * mask_batch + head * mask_head, i[:, None], j[None, :], L, S, mask_row,
                    mask_col, scale, MASK, CAUSAL,
                )  # fmt: skip
                p = tl.exp2(scores - lse[:, None])
                v = _rows(v_ptr + batch * v_batch + own * v_head, j, v_row, v_col, S, EV, BLOCK_V)
                dp = tl.dot(g, tl.trans(v), input_precision=PRECISION, out_dtype=tl.float32)
                if DROP != 0:
                    kept = _kept(seed, first, limit, row + i, part * BLOCK_S, S, DROP, BLOCK_S)
                    dp = tl.where(kept, dp * share, tl.zeros([1, 1], dp.dtype))
                acc += p * (dp - delta[:, None])
    if ONE_ROW:
        acc = tl.sum(acc, 0)[None, :]
    if ONE_COLUMN:
        acc = tl.sum(acc, 1)[:, None]
    i = tile_i * BLOCK_L + tl.arange(0, 1 if ONE_ROW else BLOCK_L)
    j = tile_j * BLOCK_S + tl.arange(0, 1 if ONE_COLUMN else BLOCK_S)
    at = grad_ptr + (matrix.to(tl.int64) * rows + i)[:, None] * columns + j[None, :]
    tl.store(at, acc.to(grad_ptr.dtype.element_ty), mask=(i < rows)[:, None] & (j < columns)[None, :])


def mask_grad(
    dm: Any, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any, *, scale: float, causal: bool,
    drop: Drop = None,
) -> None:  # fmt: skip
    """dm = the gradient of an added mask, in its shape."""
    if prod(dm.shape) == 0 or prod(q.shape) == 0 or prod(k.shape) == 0:
        fill(dm, value=0)
        return
    full = (*q.shape[:3], k.shape[2])
    shape = (1,) * (4 - len(dm.shape)) + tuple(dm.shape)
    arrays = (dm, g, contiguous(out), contiguous(lse))

    def run(choice: Choice) -> None:
        counts = [cdiv(n, tile) for n, tile in zip(full[2:], choice, strict=False)]
        each = [n if m == 1 else 1 for n, m in zip((*full[:2], *counts), shape, strict=True)]
        grid = cdiv(shape[2], choice[0]) * cdiv(shape[3], choice[1]), shape[0] * shape[1]
        start(
            _attention_bwd_mask, grid, choice, arrays, q, k, v, mask, g.strides, scale, causal, drop, *shape[1:], *each,
            ONE_ROW=shape[2] == 1, ONE_COLUMN=shape[3] == 1,
        )  # fmt: skip

    with_tiles("mask", q, k, v, mask, causal, drop, run)
