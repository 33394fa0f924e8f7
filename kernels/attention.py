"""Scaled dot product attention, forward and backward, without a buffer of queries x keys.

out = softmax(q k^T * scale + mask) v, row by row by the online softmax (Milakov and Gimelshein, 2018; Dao et al.,
2022): a program keeps a tile of queries and goes over tiles of keys; those that a causal mask hides are skipped.
2 B H L S (E + Ev) operations forward (half of it if causal) and about four times that backward, where the weights are
computed again from the saved logarithms of the rows' sums; q, k, v and out are moved once per tile of the other side.
Halves multiply on tensor cores and accumulate in float32. Key and value may have fewer heads than the query, which then
share them. Rows in which everything is masked give 0. Dropout draws by Philox on an element's place among all weights,
the same again in each backward kernel, so that no mask is kept either; as everywhere in naiad, it is the lane that a
mask in memory would have had there.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels.attention_tiles import kind, width_of, with_tiles
from naiad.kernels.copy import contiguous, fill
from naiad.kernels.launch import Scalar, cdiv, launch
from naiad.kernels.precision import precision
from naiad.kernels.tuning import Choice

LOG2E = tl.constexpr(1.4426950408889634)
MOST_PAIRS = 65520  # (batch, head) pairs in one launch: a grid takes 65535 there; divisible by 16, as 0 is
Drop = tuple[float, int, int] | None  # dropout's probability, seed, and place in the seed's stream


@triton.jit
def _rows(ptr, row, row_stride, column_stride, rows, columns, BLOCK: tl.constexpr):
    """Rows `row` of a matrix as a tile of BLOCK columns, 0 outside."""
    column = tl.arange(0, BLOCK)
    at = ptr + (row.to(tl.int64) * row_stride)[:, None] + (column * column_stride)[None, :]
    return tl.load(at, mask=(row < rows)[:, None] & (column < columns)[None, :], other=0)


@triton.jit
def _scores(
    product, mask_ptr, i, j, L, S, mask_row, mask_column, scale, MASK: tl.constexpr, CAUSAL: tl.constexpr
):  # fmt: skip
    """Scores times log2(e), -infinity where query i (a column or a row of numbers) does not see key j."""
    there = (i < L) & (j < S)
    if CAUSAL:
        there = there & (j <= i)
    scores = product * (scale * LOG2E)
    if MASK != 0:
        at = mask_ptr + i.to(tl.int64) * mask_row + j.to(tl.int64) * mask_column
        if MASK == 1:
            there = there & tl.load(at, mask=there, other=0)
        else:
            scores += tl.load(at, mask=there, other=0).to(tl.float32) * LOG2E
    return tl.where(there, scores, tl.full([1, 1], float("-inf"), tl.float32))


@triton.jit
def _kept(seed, first, limit, row, start, S, DROP: tl.constexpr, BLOCK_S: tl.constexpr):
    """Whether dropout keeps the weights of rows `row` (int64, among all) and BLOCK_S keys from `start`."""
    if DROP == 2:  # S is a multiple of 4: the four lanes of a counter are four keys side by side
        place = row[:, None] * (S // 4) + (start // 4 + tl.arange(0, BLOCK_S // 4))[None, :]
    else:
        element = row[:, None] * S + (start + tl.arange(0, BLOCK_S))[None, :]
        place = element // 4
    counter = first + place.to(tl.uint64)
    low = (counter & 0xFFFFFFFF).to(tl.uint32)
    high = (counter >> 32).to(tl.uint32)
    zero = tl.zeros_like(low)
    a, b, c, d = tl.philox(seed, low, high, zero, zero)
    if DROP == 2:
        lane = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))
    else:
        which = element % 4
        lane = tl.where(which < 2, tl.where(which == 0, a, b), tl.where(which == 2, c, d))
    return lane > limit


@triton.jit
def _attention_fwd(
    out_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, first_pair, H, shared, L, S, E, EV,
    q_batch, q_head, q_row, q_col, k_batch, k_head, k_row, k_col, v_batch, v_head, v_row, v_col,
    mask_batch, mask_head, mask_row, mask_col, scale, seed, first, limit, share,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_L: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """A tile of queries of one head."""
    tile = tl.program_id(0)
    pair = first_pair + tl.program_id(1)
    batch = (pair // H).to(tl.int64)
    head = (pair % H).to(tl.int64)
    i = tile * BLOCK_L + tl.arange(0, BLOCK_L)
    q = _rows(q_ptr + batch * q_batch + head * q_head, i, q_row, q_col, L, E, BLOCK_E)
    k_ptr += batch * k_batch + (head // shared) * k_head
    v_ptr += batch * v_batch + (head // shared) * v_head
    mask_ptr += batch * mask_batch + head * mask_head
    largest = tl.full([BLOCK_L], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_L], tl.float32)
    acc = tl.zeros([BLOCK_L, BLOCK_V], tl.float32)
    end = S
    if CAUSAL:
        end = tl.minimum(S, (tile + 1) * BLOCK_L)
    for start in range(0, end, BLOCK_S):
        j = start + tl.arange(0, BLOCK_S)
        k = _rows(k_ptr, j, k_row, k_col, S, E, BLOCK_E)
        product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=tl.float32)
        scores = _scores(product, mask_ptr, i[:, None], j[None, :], L, S, mask_row, mask_col, scale, MASK, CAUSAL)
        new = tl.maximum(largest, tl.max(scores, 1))
        safe = tl.where(new == float("-inf"), tl.zeros([1], tl.float32), new)  # nothing seen so far
        shrink = tl.exp2(largest - safe)
        p = tl.exp2(scores - safe[:, None])
        total = total * shrink + tl.sum(p, 1)
        if DROP != 0:
            row = pair.to(tl.int64) * L + i
            p = tl.where(_kept(seed, first, limit, row, start, S, DROP, BLOCK_S), p * share, tl.zeros([1, 1], p.dtype))
        v = _rows(v_ptr, j, v_row, v_col, S, EV, BLOCK_V)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision=PRECISION, out_dtype=tl.float32)
        largest = new
    seen = total > 0
    total = tl.where(seen, total, 1)
    row = pair.to(tl.int64) * L + i
    lse = tl.where(seen, (largest + tl.log2(total)) / LOG2E, tl.zeros([1], tl.float32))
    tl.store(lse_ptr + row, lse, mask=i < L)
    column = tl.arange(0, BLOCK_V)
    at = out_ptr + row[:, None] * EV + column[None, :]
    result = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(at, result, mask=(i < L)[:, None] & (column < EV)[None, :])


@triton.jit
def _attention_bwd_q(
    dq_ptr, g_ptr, out_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, first_pair, H, shared, L, S, E, EV,
    g_batch, g_head, g_row, g_col, q_batch, q_head, q_row, q_col, k_batch, k_head, k_row, k_col,
    v_batch, v_head, v_row, v_col, mask_batch, mask_head, mask_row, mask_col, scale, seed, first, limit, share,
    MASK: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_L: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of queries: ds k * scale, with ds = p (g v^T - sum(g out))."""
    tile = tl.program_id(0)
    pair = first_pair + tl.program_id(1)
    batch = (pair // H).to(tl.int64)
    head = (pair % H).to(tl.int64)
    i = tile * BLOCK_L + tl.arange(0, BLOCK_L)
    row = pair.to(tl.int64) * L
    q = _rows(q_ptr + batch * q_batch + head * q_head, i, q_row, q_col, L, E, BLOCK_E)
    g = _rows(g_ptr + batch * g_batch + head * g_head, i, g_row, g_col, L, EV, BLOCK_V)
    out = _rows(out_ptr + row * EV, i, EV, 1, L, EV, BLOCK_V)
    lse = tl.load(lse_ptr + row + i, mask=i < L, other=0) * LOG2E
    delta = tl.sum(g.to(tl.float32) * out.to(tl.float32), 1)
    k_ptr += batch * k_batch + (head // shared) * k_head
    v_ptr += batch * v_batch + (head // shared) * v_head
    mask_ptr += batch * mask_batch + head * mask_head
    acc = tl.zeros([BLOCK_L, BLOCK_E], tl.float32)
    end = S
    if CAUSAL:
        end = tl.minimum(S, (tile + 1) * BLOCK_L)
    for start in range(0, end, BLOCK_S):
        j = start + tl.arange(0, BLOCK_S)
        k = _rows(k_ptr, j, k_row, k_col, S, E, BLOCK_E)
        v = _rows(v_ptr, j, v_row, v_col, S, EV, BLOCK_V)
        product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=tl.float32)
        scores = _scores(product, mask_ptr, i[:, None], j[None, :], L, S, mask_row, mask_col, scale, MASK, CAUSAL)
        p = tl.exp2(scores - lse[:, None])
        dp = tl.dot(g, tl.trans(v), input_precision=PRECISION, out_dtype=tl.float32)
        if DROP != 0:
            kept = _kept(seed, first, limit, row + i, start, S, DROP, BLOCK_S)
            dp = tl.where(kept, dp * share, tl.zeros([1, 1], dp.dtype))
        ds = p * (dp - delta[:, None])
        acc = tl.dot(ds.to(k.dtype), k, acc, input_precision=PRECISION, out_dtype=tl.float32)
    column = tl.arange(0, BLOCK_E)
    at = dq_ptr + (row + i)[:, None] * E + column[None, :]
    tl.store(at, (acc * scale).to(dq_ptr.dtype.element_ty), mask=(i < L)[:, None] & (column < E)[None, :])


@triton.jit
def _attention_bwd_kv(
    dk_ptr, dv_ptr, g_ptr, out_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, first_pair, H, shared, L, S, E, EV,
    g_batch, g_head, g_row, g_col, q_batch, q_head, q_row, q_col, k_batch, k_head, k_row, k_col,
    v_batch, v_head, v_row, v_col, mask_batch, mask_head, mask_row, mask_col, scale, seed, first, limit, share,
    KEY: tl.constexpr, VALUE: tl.constexpr, MASK: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of keys, ds^T q * scale, and of values, p^T g, summed over the heads that share it."""
    tile = tl.program_id(0)
    pair = first_pair + tl.program_id(1)
    heads = H // shared
    batch = (pair // heads).to(tl.int64)
    own = (pair % heads).to(tl.int64)
    j = tile * BLOCK_S + tl.arange(0, BLOCK_S)
    k = _rows(k_ptr + batch * k_batch + own * k_head, j, k_row, k_col, S, E, BLOCK_E)
    v = _rows(v_ptr + batch * v_batch + own * v_head, j, v_row, v_col, S, EV, BLOCK_V)
    if KEY:
        dk = tl.zeros([BLOCK_S, BLOCK_E], tl.float32)
    if VALUE:
        dv = tl.zeros([BLOCK_S, BLOCK_V], tl.float32)
    begin = 0
    if CAUSAL:
        begin = (tile * BLOCK_S) // BLOCK_L * BLOCK_L
    for head in range(own * shared, (own + 1) * shared):
        row = (batch * H + head) * L
        masks = mask_ptr + batch * mask_batch + head * mask_head
        for start in range(begin, L, BLOCK_L):
            i = start + tl.arange(0, BLOCK_L)
            q = _rows(q_ptr + batch * q_batch + head * q_head, i, q_row, q_col, L, E, BLOCK_E)
            g = _rows(g_ptr + batch * g_batch + head * g_head, i, g_row, g_col, L, EV, BLOCK_V)
            lse = tl.load(lse_ptr + row + i, mask=i < L, other=0) * LOG2E
            product = tl.dot(k, tl.trans(q), input_precision=PRECISION, out_dtype=tl.float32)
            scores = _scores(product, masks, i[None, :], j[:, None], L, S, mask_row, mask_col, scale, MASK, CAUSAL)
            p = tl.exp2(scores - lse[None, :])
            if DROP != 0:
                kept = tl.trans(_kept(seed, first, limit, row + i, tile * BLOCK_S, S, DROP, BLOCK_S))
            if VALUE:
                weights = p
                if DROP != 0:
                    weights = tl.where(kept, p * share, tl.zeros([1, 1], p.dtype))
                dv = tl.dot(weights.to(g.dtype), g, dv, input_precision=PRECISION, out_dtype=tl.float32)
            if KEY:
                out = _rows(out_ptr + row * EV, i, EV, 1, L, EV, BLOCK_V)
                delta = tl.sum(g.to(tl.float32) * out.to(tl.float32), 1)
                dp = tl.dot(v, tl.trans(g), input_precision=PRECISION, out_dtype=tl.float32)
                if DROP != 0:
                    dp = tl.where(kept, dp * share, tl.zeros([1, 1], dp.dtype))
                ds = p * (dp - delta[None, :])
                dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION, out_dtype=tl.float32)
    place = pair.to(tl.int64) * S + j
    if KEY:
        column = tl.arange(0, BLOCK_E)
        at = dk_ptr + place[:, None] * E + column[None, :]
        tl.store(at, (dk * scale).to(dk_ptr.dtype.element_ty), mask=(j < S)[:, None] & (column < E)[None, :])
    if VALUE:
        column = tl.arange(0, BLOCK_V)
        at = dv_ptr + place[:, None] * EV + column[None, :]
        tl.store(at, dv.to(dv_ptr.dtype.element_ty), mask=(j < S)[:, None] & (column < EV)[None, :])


def attention(
    outs: tuple, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float, causal: bool, drop: Drop = None
) -> None:
    """outs = the attention (B, H, L, Ev), and the log of the sum of exponentials of each row of scores (B, H, L).

    q (B, H, L, E), k and v (B, H / shared, S, E and Ev), mask (bool, or floats that are added) broadcasts to
    (B, H, L, S); any strides. drop: the probability with which a weight becomes 0, the seed, and the place in its
    stream.
    """
    out, lse = outs
    if prod(lse.shape) == 0:
        return
    if k.shape[2] == 0:
        fill(out, value=0)
        fill(lse, value=0)
        return

    def run(choice: Choice) -> None:
        grid = cdiv(q.shape[2], choice[0]), prod(q.shape[:2])
        start(_attention_fwd, grid, choice, (out, lse), q, k, v, mask, (), scale, causal, drop)

    with_tiles("out", q, k, v, mask, causal, drop, run)


def query_grad(
    dq: Any, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float, causal: bool,
    drop: Drop = None,
) -> None:  # fmt: skip
    """dq (B, H, L, E) = the gradient of the queries; out and lse are what `attention` gave."""
    if prod(dq.shape) == 0 or prod(k.shape) == 0:
        fill(dq, value=0)
        return
    arrays = (dq, g, contiguous(out), contiguous(lse))

    def run(choice: Choice) -> None:
        grid = cdiv(q.shape[2], choice[0]), prod(q.shape[:2])
        start(_attention_bwd_q, grid, choice, arrays, q, k, v, mask, g.strides, scale, causal, drop)

    with_tiles("query", q, k, v, mask, causal, drop, run)


def key_grad(
    dk: Any, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float, causal: bool,
    drop: Drop = None,
) -> None:  # fmt: skip
    """dk (B, H / shared, S, E) = the gradient of the keys."""
    _of_shared(dk, None, g, out, lse, q, k, v, mask, scale, causal, drop)


def value_grad(
    dv: Any, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float, causal: bool,
    drop: Drop = None,
) -> None:  # fmt: skip
    """dv (B, H / shared, S, Ev) = the gradient of the values."""
    _of_shared(None, dv, g, out, lse, q, k, v, mask, scale, causal, drop)


def key_value_grad(
    outs: tuple, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, *, scale: float, causal: bool,
    drop: Drop = None,
) -> None:  # fmt: skip
    """outs = both, computing the weights once for them."""
    _of_shared(*outs, g, out, lse, q, k, v, mask, scale, causal, drop)


def _of_shared(
    dk: Any, dv: Any, g: Any, out: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any, scale: float, causal: bool,
    drop: Drop,
) -> None:  # fmt: skip
    wanted = [x for x in (dk, dv) if x is not None]
    if prod(k.shape[:3]) == 0 or prod(q.shape) == 0 or any(prod(x.shape) == 0 for x in wanted):
        for x in wanted:
            fill(x, value=0)
        return
    arrays = (wanted[0], wanted[-1], g, contiguous(out), contiguous(lse))

    def run(choice: Choice) -> None:
        grid = cdiv(k.shape[2], choice[1]), prod(k.shape[:2])
        start(
            _attention_bwd_kv, grid, choice, arrays, q, k, v, mask, g.strides, scale, causal, drop,
            KEY=dk is not None, VALUE=dv is not None,
        )  # fmt: skip

    with_tiles("both" if len(wanted) == 2 else "value" if dk is None else "key", q, k, v, mask, causal, drop, run)


def start(
    kernel: Any, grid: tuple, choice: Choice, arrays: tuple, q: Any, k: Any, v: Any, mask: Any,
    g_strides: tuple, scale: float, causal: bool, drop: Drop, *more: int, **constants: Any,
) -> None:  # fmt: skip
    """Launch a kernel with what all of this family are given; grid = tiles and (batch, head) pairs."""
    batch, heads, length, e = q.shape
    keys, ev = k.shape[2], v.shape[3]
    strides: tuple = (0, 0, 0, 0)
    if mask is not None:
        strides = mask.broadcast((batch, heads, length, keys)).strides
    p, seed, first = drop or (0.0, 0, 0)
    draw = [Scalar(seed & (2**64 - 1), "uint64"), Scalar(first, "uint64")]
    # Lanes above the limit are kept, as `draws.dropout_noise` decides.
    draw += [Scalar((ceil(float(np.float32(p)) * 2**24) << 8) - 1 & 0xFFFFFFFF, "uint32")]
    draw += [Scalar(1 / (1 - p) if p < 1 else 0.0, "float32")]
    programs, pairs = grid
    for first_pair in range(0, pairs, MOST_PAIRS):
        launch(
            kernel, (programs, min(pairs - first_pair, MOST_PAIRS)), *arrays, q, k, v, q if mask is None else mask,
            first_pair, heads, heads // k.shape[1], length, keys, e, ev, *g_strides, *q.strides, *k.strides, *v.strides,
            *strides, Scalar(scale, "float32"), *draw, *more,
            num_warps=choice[2], num_stages=choice[3], MASK=kind(mask), CAUSAL=causal,
            DROP=0 if drop is None else 2 if keys % 4 == 0 else 1, PRECISION=precision(q.dtype.name),
            BLOCK_L=choice[0], BLOCK_S=choice[1], BLOCK_E=width_of(e), BLOCK_V=width_of(ev), **constants,
        )  # fmt: skip
