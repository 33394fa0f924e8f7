"""Cross entropy and the negative log likelihood of class numbers, forward and backward.

With q_c = w_c ((1 - e) [c == t] + e / C) for class t, class weights w and smoothing e, a sample loses
-sum_c q_c log p_c, where p is the softmax of its scores (or the scores are log p already), and its scores' gradient
is g (p_c sum(q) - q_c). Scores are (N, C, ...): sample r is (r // inner, r % inner), its classes `inner` apart.
Forward reads the scores once (a row that does not fit a tile twice) and writes p, backward reads p and writes the
gradient: about 5 operations and an exp per score. Sums over samples are made in one order, without atomics.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import interpreting, maths, reduce
from naiad.kernels.copy import contiguous, fill
from naiad.kernels.geometry import needs_int64
from naiad.kernels.launch import Scalar, block_for, cdiv, launch
from naiad.kernels.rows import accumulator, own_rows, row_tile, widened


@triton.jit
def _class_of(
    target_ptr, w_ptr, row, there, ignore, n, WEIGHT: tl.constexpr, ACC: tl.constexpr, CHECK: tl.constexpr = False
):
    """Class (0 where it does not count), whether it counts, and its weight."""
    target = tl.load(target_ptr + row, mask=there, other=0).to(tl.int64)
    counts = there & (target != ignore)
    if CHECK:
        tl.device_assert((~counts) | ((target >= 0) & (target < n)), "index of a class out of range in cross_entropy")
    target = tl.where(counts & (target >= 0) & (target < n), target, 0)
    weight = counts.to(ACC)
    if WEIGHT:
        weight = weight * tl.load(w_ptr + target, mask=counts, other=0).to(ACC)
    return target, counts, weight


@triton.jit
def _class_weights(w_ptr, column, n, WEIGHT: tl.constexpr, ACC: tl.constexpr):
    if WEIGHT:
        return tl.load(w_ptr + column, mask=column < n, other=0).to(ACC)
    else:
        return (column < n).to(ACC)


@triton.jit
def _cross_entropy_fwd(
    loss_ptr, weight_ptr, prob_ptr, x_ptr, target_ptr, w_ptr, rows, inner, n, ignore, smoothing,
    NLL: tl.constexpr, WEIGHT: tl.constexpr, SMOOTH: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, LOOP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Loss and weight of ROWS samples, and unless NLL their softmax."""
    row = own_rows(ROWS, WIDE)
    there = row < rows
    lane = widened(tl.arange(0, BLOCK), WIDE)
    base = (row // inner) * (widened(n, WIDE) * inner) + row % inner
    target, counts, weight = _class_of(target_ptr, w_ptr, row, there, ignore, n, WEIGHT, ACC, True)
    own = tl.load(x_ptr + base + target * inner, mask=there, other=0).to(ACC)
    none = tl.zeros([1], ACC)
    minus_infinity = tl.full([1, 1], float("-inf"), ACC)
    top = tl.zeros([ROWS], ACC)  # log p = x - top - log_total
    log_total = tl.zeros([ROWS], ACC)
    if not NLL:
        if LOOP:
            top = tl.full([ROWS], float("-inf"), ACC)
            total = tl.zeros([ROWS], ACC)
            for start in range(0, n, BLOCK):
                column = start + lane
                mask = there[:, None] & (column < n)[None, :]
                x = tl.load(x_ptr + base[:, None] + (column * inner)[None, :], mask=mask, other=float("-inf")).to(ACC)
                new = tl.maximum(top, tl.max(tl.where(x == x, x, minus_infinity), 1))
                safe = tl.where(new == float("-inf"), none, new)
                total = total * libdevice.exp(top - safe) + tl.sum(libdevice.exp(x - safe[:, None]), 1)
                top = new
            log_total = libdevice.log(total)
            for start in range(0, n, BLOCK):
                column = start + lane
                mask = there[:, None] & (column < n)[None, :]
                offset = base[:, None] + (column * inner)[None, :]
                x = tl.load(x_ptr + offset, mask=mask, other=float("-inf")).to(ACC)
                p = libdevice.exp(x - top[:, None]) / total[:, None]
                tl.store(prob_ptr + offset, p.to(prob_ptr.dtype.element_ty), mask=mask)
        else:
            column = lane
            mask = there[:, None] & (column < n)[None, :]
            offset = base[:, None] + (column * inner)[None, :]
            x = tl.load(x_ptr + offset, mask=mask, other=float("-inf")).to(ACC)
            top = tl.max(tl.where(x == x, x, minus_infinity), 1)
            top = tl.where(there, top, none)
            e = libdevice.exp(x - top[:, None])
            total = tl.sum(tl.where(mask, e, tl.zeros([1, 1], ACC)), 1)
            log_total = libdevice.log(total)
            p = e / total[:, None]
            tl.store(prob_ptr + offset, p.to(prob_ptr.dtype.element_ty), mask=mask)
    loss = tl.where(weight == 0, none, weight * (log_total - (own - top)))
    if SMOOTH:
        spread = tl.zeros([ROWS], ACC)
        for start in range(0, n, BLOCK):
            column = start + lane
            mask = there[:, None] & (column < n)[None, :]
            x = tl.load(x_ptr + base[:, None] + (column * inner)[None, :], mask=mask, other=0).to(ACC)
            w = _class_weights(w_ptr, column, n, WEIGHT, ACC)
            spread += tl.sum(tl.where(mask, w[None, :] * (log_total[:, None] - (x - top[:, None])), none[:, None]), 1)
        share = maths.divide(tl.full([1], 1, ACC) * smoothing, tl.full([1], 1, ACC) * n)
        loss = (1 - smoothing) * loss + tl.where(counts, spread * share, none)
    tl.store(loss_ptr + row, loss.to(loss_ptr.dtype.element_ty), mask=there)
    tl.store(weight_ptr + row, weight, mask=there)


@triton.jit
def _total(out_ptr, loss_ptr, weight_ptr, n, MEAN: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr):
    """out = the sum of n losses; MEAN: divided by that of their weights."""
    losses = tl.zeros([BLOCK], ACC)
    weights = tl.zeros([BLOCK], ACC)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        losses += tl.load(loss_ptr + i, mask=i < n, other=0)
        if MEAN:
            weights += tl.load(weight_ptr + i, mask=i < n, other=0)
    total = tl.sum(losses, 0)
    if MEAN:
        total = maths.divide(tl.full([1], 1, ACC) * total, tl.full([1], 1, ACC) * tl.sum(weights, 0))
    else:
        total = tl.full([1], 1, ACC) * total
    tl.store(out_ptr + tl.arange(0, 1), total.to(out_ptr.dtype.element_ty))


@triton.jit
def _weight_total(
    out_ptr, target_ptr, w_ptr, rows, n, ignore, share,
    WEIGHT: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[s] = the sum of the weights of share s of the samples."""
    split = tl.program_id(0).to(tl.int64)
    last = tl.minimum((split + 1) * share, rows)
    total = tl.zeros([BLOCK], ACC)
    for start in range(split * share, last, BLOCK):
        row = start + tl.arange(0, BLOCK)
        _, _, weight = _class_of(target_ptr, w_ptr, row, row < last, ignore, n, WEIGHT, ACC)
        total += weight
    tl.store(out_ptr + split + tl.arange(0, 1), tl.full([1], 1, ACC) * tl.sum(total, 0))


@triton.jit
def _cross_entropy_bwd(
    out_ptr, g_ptr, g_stride, prob_ptr, target_ptr, w_ptr, total_ptr, rows, inner, n, ignore, smoothing,
    NLL: tl.constexpr, MEAN: tl.constexpr, WEIGHT: tl.constexpr, SMOOTH: tl.constexpr, ACC: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, LOOP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    row = own_rows(ROWS, WIDE)
    there = row < rows
    lane = widened(tl.arange(0, BLOCK), WIDE)
    base = (row // inner) * (widened(n, WIDE) * inner) + row % inner
    target, counts, weight = _class_of(target_ptr, w_ptr, row, there, ignore, n, WEIGHT, ACC)
    g = tl.load(g_ptr + row * g_stride, mask=there, other=0).to(ACC)
    if MEAN:
        g = maths.divide(g, tl.load(total_ptr + row * 0))
    if SMOOTH:
        share = maths.divide(tl.full([1], 1, ACC) * smoothing, tl.full([1], 1, ACC) * n)
        all_weights = tl.zeros([BLOCK], ACC)
        for start in range(0, n, BLOCK):
            all_weights += _class_weights(w_ptr, start + tl.arange(0, BLOCK), n, WEIGHT, ACC)
        spread = tl.where(counts, share, tl.zeros([1], ACC))
        weight = weight * (1 - smoothing)
        q_total = weight + spread * tl.sum(all_weights, 0)
        g = tl.where(counts, g, tl.zeros([1], ACC))
    else:
        q_total = weight
        g = tl.where(weight == 0, tl.zeros([1], ACC), g)
    for start in range(0, n, BLOCK):
        column = start + lane
        mask = there[:, None] & (column < n)[None, :]
        offset = base[:, None] + (column * inner)[None, :]
        q = tl.where(column[None, :] == target[:, None], weight[:, None], tl.zeros([1, 1], ACC))
        if SMOOTH:
            q += spread[:, None] * _class_weights(w_ptr, column, n, WEIGHT, ACC)[None, :]
        if NLL:
            dx = -(g[:, None] * q)
        else:
            p = tl.load(prob_ptr + offset, mask=mask, other=0).to(ACC)
            dx = g[:, None] * (p * q_total[:, None] - q)
        tl.store(out_ptr + offset, dx.to(out_ptr.dtype.element_ty), mask=mask)


def cross_entropy(outs: tuple, x: Any, target: Any, weight: Any = None, **facts: Any) -> None:
    """outs = the loss (a number, or one per sample) and the softmax of the scores x."""
    _forward(outs[0], outs[1], x, target, weight, **facts)


def nll(out: Any, x: Any, target: Any, weight: Any = None, **facts: Any) -> None:
    """out = the loss of scores that are logarithms of probabilities."""
    _forward(out, None, x, target, weight, **facts)


def cross_entropy_grad(out: Any, g: Any, prob: Any, target: Any, weight: Any = None, **facts: Any) -> None:
    """out = the gradient of the scores, from that of the loss and their softmax."""
    _backward(out, g, contiguous(prob), target, weight, **facts)


def nll_grad(out: Any, g: Any, target: Any, weight: Any = None, *, shape: Any = None, **facts: Any) -> None:
    """out = the gradient of log-probabilities, from that of the loss."""
    _backward(out, g, None, target, weight, **facts)


def _forward(
    out: Any, prob: Any, x: Any, target: Any, weight: Any, *, ignore: int, reduction: str, smoothing: float
) -> None:
    rows, inner, n = _geometry(x.shape)
    if rows == 0 or n == 0:
        if prod(out.shape):
            fill(out, value=float("nan") if reduction == "mean" else 0)
        return
    x, target, weight = contiguous(x), contiguous(target), None if weight is None else contiguous(weight)
    acc = accumulator(x.dtype.name)
    kind = _numpy(acc)
    losses = out if reduction == "none" else out.new((rows,), kind)
    weights = out.new((rows,), kind)
    facts, grid = _facts(x, rows, inner, n, acc)
    launch(
        _cross_entropy_fwd, grid, losses, weights, prob or x, x, target, weight or x, rows, inner, n, ignore,
        Scalar(smoothing, kind.name), NLL=prob is None, WEIGHT=weight is not None, SMOOTH=smoothing != 0, **facts,
    )  # fmt: skip
    if reduction == "none":
        return
    if rows > 1 << 16:
        losses, weights, rows = _summed(losses), _summed(weights), 1
    launch(
        _total, (1,), out, losses, weights, rows, num_warps=8,
        MEAN=reduction == "mean", ACC=acc, BLOCK=block_for(rows, 4096),
    )  # fmt: skip


def _backward(
    out: Any, g: Any, prob: Any, target: Any, weight: Any, *, ignore: int, reduction: str, smoothing: float
) -> None:
    rows, inner, n = _geometry(out.shape)
    if rows == 0 or n == 0:
        return
    g, target, weight = contiguous(g), contiguous(target), None if weight is None else contiguous(weight)
    acc = accumulator(out.dtype.name)
    kind = _numpy(acc)
    total = g
    if reduction == "mean":
        block = block_for(rows, 1024)
        splits = 1 if interpreting() else min(cdiv(rows, 16 * block), 256)
        share = cdiv(cdiv(rows, splits), block) * block
        total = out.new((splits,), kind)
        launch(
            _weight_total, (splits,), total, target, weight or g, rows, n, ignore, share,
            WEIGHT=weight is not None, ACC=acc, BLOCK=block,
        )  # fmt: skip
        total = total if splits == 1 else _summed(total)
    facts, grid = _facts(out, rows, inner, n, acc)
    launch(
        _cross_entropy_bwd, grid, out, g, 1 if g.shape and reduction == "none" else 0, prob or g, target, weight or g,
        total, rows, inner, n, ignore, Scalar(smoothing, kind.name),
        NLL=prob is None, MEAN=reduction == "mean", WEIGHT=weight is not None, SMOOTH=smoothing != 0, **facts,
    )  # fmt: skip


def _geometry(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Samples, samples that lie between two classes of one, classes."""
    if len(shape) == 1:
        return 1, 1, shape[0]
    inner = prod(shape[2:])
    return shape[0] * inner, inner, shape[1]


def _facts(x: Any, rows: int, inner: int, n: int, acc: Any) -> tuple[dict[str, Any], tuple[int]]:
    per, block, warps = row_tile(rows, n)
    if inner > 1 and not interpreting():  # neighbours in memory are in different rows
        block = min(block, 64)
        per, warps = max(min(2048 // block, 64), 1), 4
    facts = {"num_warps": warps, "ACC": acc, "ROWS": per, "BLOCK": block, "LOOP": block < n}
    facts["WIDE"] = needs_int64(x.shape, [x.strides])
    return facts, (cdiv(rows, per),)


def _numpy(acc: Any) -> np.dtype:
    return np.dtype(np.float64 if acc == tl.float64 else np.float32)


def _summed(x: Any) -> Any:
    out = x.new((1,), x.dtype)
    reduce.sum(out.view((), ()), x, dim=(0,))
    return out
