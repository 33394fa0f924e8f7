"""Layer, group, instance, batch and RMS normalization: one kernel each way, over any dimensions of a view.

y = (x - mean) / sqrt(var + eps) * w + b, the mean and variance of each group being those of its n elements; what is
not centred (RMS norm) has mean 0. Statistics are float32 for halves, float32 and float64 as the operands else. Forward
moves x and y once (a group that does not fit a tile is read twice), backward g, x and dx; about 8 operations per
element. Means and variances of long groups are merged tile by tile (Chan, Golub and LeVeque, 1979).
"""

from __future__ import annotations

from math import prod
from typing import Any

import triton
import triton.language as tl

from naiad.kernels import interpreting, maths, reduce
from naiad.kernels.copy import contiguous, fill
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import Scalar, cdiv, launch, next_power_of_2
from naiad.kernels.rows import accumulator, contiguous_like, own_rows, row_tile, rows_and_columns, widened


@triton.jit
def _columns(start, column_1, stride_0, stride_1, BLOCK: tl.constexpr, FLAT: tl.constexpr, WIDE: tl.constexpr):
    """Offsets of a tile's columns; FLAT: they lie side by side."""
    column = start + widened(tl.arange(0, BLOCK), WIDE)
    if FLAT:
        return column
    else:
        return (column // column_1) * stride_0 + (column % column_1) * stride_1


@triton.jit
def _affine(ptr, row_offset, column_offset, mask, VARIES: tl.constexpr, ACC: tl.constexpr):
    """Weights of a tile; they vary along its rows only where VARIES."""
    if VARIES:
        return tl.load(ptr + row_offset[:, None] + column_offset[None, :], mask=mask, other=0).to(ACC)
    else:
        return tl.load(ptr + row_offset).to(ACC)[:, None]


@triton.jit
def _tile_moments(x, mask, count, CENTRED: tl.constexpr, ACC: tl.constexpr):
    """Mean and sum of squared deviations of each row of a tile, of which `count` columns are there."""
    if not CENTRED:  # what is not there was loaded as 0
        return tl.zeros([x.shape[0]], ACC), tl.sum(x * x, 1)
    mean = maths.divide(tl.sum(x, 1), tl.full([1], 1, ACC) * count)
    centred = tl.where(mask, x - mean[:, None], tl.zeros([1, 1], ACC))
    return mean, tl.sum(centred * centred, 1)


@triton.jit
def _normalize(
    out_ptr, mean_ptr, var_ptr, x_ptr, w_ptr, b_ptr, rows, row_1, n, column_1,
    x_row_0, x_row_1, x_col_0, x_col_1, w_row_0, w_row_1, w_col_0, w_col_1, eps,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, VARIES: tl.constexpr, FLAT: tl.constexpr, FLAT_W: tl.constexpr,
    CENTRED: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, LOOP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    row = own_rows(ROWS, WIDE)
    there = row < rows
    row = tl.where(there, row, 0)
    x_row = (row // row_1) * x_row_0 + (row % row_1) * x_row_1
    w_row = (row // row_1) * w_row_0 + (row % row_1) * w_row_1
    mean = tl.zeros([ROWS], ACC)
    squares = tl.zeros([ROWS], ACC)
    if LOOP:
        for start in range(0, n, BLOCK):
            column = _columns(start, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
            mask = there[:, None] & (start + tl.arange(0, BLOCK) < n)[None, :]
            x = tl.load(x_ptr + x_row[:, None] + column[None, :], mask=mask, other=0).to(ACC)
            count = tl.minimum(n - start, BLOCK)
            tile_mean, tile_squares = _tile_moments(x, mask, count, CENTRED, ACC)
            delta = tile_mean - mean
            share = maths.divide(tl.full([ROWS], 1, ACC) * count, tl.full([ROWS], 1, ACC) * (start + count))
            mean += delta * share
            squares += tile_squares + delta * delta * share * start
    else:
        column = _columns(0, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
        mask = there[:, None] & (tl.arange(0, BLOCK) < n)[None, :]
        x = tl.load(x_ptr + x_row[:, None] + column[None, :], mask=mask, other=0).to(ACC)
        mean, squares = _tile_moments(x, mask, n, CENTRED, ACC)
    var = maths.divide(squares, tl.full([ROWS], 1, ACC) * n)
    if CENTRED:
        tl.store(mean_ptr + row, mean.to(mean_ptr.dtype.element_ty), mask=there)
    tl.store(var_ptr + row, var.to(var_ptr.dtype.element_ty), mask=there)
    inverse = maths.divide(tl.full([ROWS], 1, ACC), maths.sqrt(var + eps))
    for start in range(0, n, BLOCK):
        column = _columns(start, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
        mask = there[:, None] & (start + tl.arange(0, BLOCK) < n)[None, :]
        if LOOP:
            x = tl.load(x_ptr + x_row[:, None] + column[None, :], mask=mask, other=0).to(ACC)
        y = (x - mean[:, None]) * inverse[:, None]
        w_column = _columns(start, column_1, w_col_0, w_col_1, BLOCK, FLAT_W, WIDE)
        if WEIGHT:
            y = y * _affine(w_ptr, w_row, w_column, mask, VARIES, ACC)
        if BIAS:
            y = y + _affine(b_ptr, w_row, w_column, mask, VARIES, ACC)
        tl.store(out_ptr + x_row[:, None] + column[None, :], y.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _unit_and_scaled(
    g_ptr, x_ptr, w_ptr, offset, w_row, w_column, mask, mean, inverse,
    WEIGHT: tl.constexpr, VARIES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    x = tl.load(x_ptr + offset, mask=mask, other=0).to(ACC)
    unit = tl.where(mask, (x - mean[:, None]) * inverse[:, None], tl.zeros([1, 1], ACC))
    scaled = tl.load(g_ptr + offset, mask=mask, other=0).to(ACC)
    if WEIGHT:
        scaled = scaled * _affine(w_ptr, w_row, w_column, mask, VARIES, ACC)
    return unit, scaled


@triton.jit
def _normalize_grad(
    out_ptr, g_ptr, x_ptr, w_ptr, mean_ptr, var_ptr, rows, row_1, n, column_1,
    x_row_0, x_row_1, x_col_0, x_col_1, w_row_0, w_row_1, w_col_0, w_col_1, eps,
    WEIGHT: tl.constexpr, VARIES: tl.constexpr, FLAT: tl.constexpr, FLAT_W: tl.constexpr, CENTRED: tl.constexpr,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, LOOP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """(g w - mean(g w) - unit mean(g w unit)) / sqrt(var + eps)."""
    row = own_rows(ROWS, WIDE)
    there = row < rows
    row = tl.where(there, row, 0)
    x_row = (row // row_1) * x_row_0 + (row % row_1) * x_row_1
    w_row = (row // row_1) * w_row_0 + (row % row_1) * w_row_1
    if CENTRED:
        mean = tl.load(mean_ptr + row).to(ACC)
    else:
        mean = tl.zeros([ROWS], ACC)
    one = tl.full([ROWS], 1, ACC)
    inverse = maths.divide(one, maths.sqrt(tl.load(var_ptr + row).to(ACC) + eps))
    if LOOP:
        through_mean = tl.zeros([ROWS], ACC)
        through_var = tl.zeros([ROWS], ACC)
        for start in range(0, n, BLOCK):
            column = _columns(start, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
            w_column = _columns(start, column_1, w_col_0, w_col_1, BLOCK, FLAT_W, WIDE)
            mask = there[:, None] & (start + tl.arange(0, BLOCK) < n)[None, :]
            offset = x_row[:, None] + column[None, :]
            unit, scaled = _unit_and_scaled(
                g_ptr, x_ptr, w_ptr, offset, w_row, w_column, mask, mean, inverse, WEIGHT, VARIES, ACC
            )
            if CENTRED:
                through_mean += tl.sum(scaled, 1)
            through_var += tl.sum(scaled * unit, 1)
        through_mean = maths.divide(through_mean, one * n)
        through_var = maths.divide(through_var, one * n)
        for start in range(0, n, BLOCK):
            column = _columns(start, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
            w_column = _columns(start, column_1, w_col_0, w_col_1, BLOCK, FLAT_W, WIDE)
            mask = there[:, None] & (start + tl.arange(0, BLOCK) < n)[None, :]
            offset = x_row[:, None] + column[None, :]
            unit, scaled = _unit_and_scaled(
                g_ptr, x_ptr, w_ptr, offset, w_row, w_column, mask, mean, inverse, WEIGHT, VARIES, ACC
            )
            dx = (scaled - through_mean[:, None] - unit * through_var[:, None]) * inverse[:, None]
            tl.store(out_ptr + offset, dx.to(out_ptr.dtype.element_ty), mask=mask)
    else:
        column = _columns(0, column_1, x_col_0, x_col_1, BLOCK, FLAT, WIDE)
        w_column = _columns(0, column_1, w_col_0, w_col_1, BLOCK, FLAT_W, WIDE)
        mask = there[:, None] & (tl.arange(0, BLOCK) < n)[None, :]
        offset = x_row[:, None] + column[None, :]
        unit, scaled = _unit_and_scaled(
            g_ptr, x_ptr, w_ptr, offset, w_row, w_column, mask, mean, inverse, WEIGHT, VARIES, ACC
        )
        if CENTRED:
            through_mean = maths.divide(tl.sum(scaled, 1), one * n)
        else:
            through_mean = tl.zeros([ROWS], ACC)
        through_var = maths.divide(tl.sum(scaled * unit, 1), one * n)
        dx = (scaled - through_mean[:, None] - unit * through_var[:, None]) * inverse[:, None]
        tl.store(out_ptr + offset, dx.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _normalize_weight_grad(
    out_ptr, sum_ptr, g_ptr, x_ptr, mean_ptr, var_ptr, rows, row_1, n, column_1, share,
    x_row_0, x_row_1, x_col_0, x_col_1, m_row_0, m_row_1, m_col_0, m_col_1, eps, SUM: tl.constexpr,
    CENTRED: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Program (i, s) sums g * unit over share s of what shares each of ROWS weights, into out[s, weight].

    SUM: and g by itself, into sum[s, weight].
    """
    row = own_rows(ROWS, WIDE)
    split = widened(tl.program_id(1), WIDE)
    there = row < rows
    x_row = (row // row_1) * x_row_0 + (row % row_1) * x_row_1
    m_row = (row // row_1) * m_row_0 + (row % row_1) * m_row_1
    total = tl.zeros([ROWS, BLOCK], ACC)
    plain = tl.zeros([ROWS, BLOCK], ACC)
    last = tl.minimum((split + 1) * share, n)
    for start in range(split * share, last, BLOCK):
        column = _columns(start, column_1, x_col_0, x_col_1, BLOCK, False, WIDE)
        m_column = _columns(start, column_1, m_col_0, m_col_1, BLOCK, False, WIDE)
        mask = there[:, None] & (start + tl.arange(0, BLOCK) < last)[None, :]
        x = tl.load(x_ptr + x_row[:, None] + column[None, :], mask=mask, other=0).to(ACC)
        g = tl.load(g_ptr + x_row[:, None] + column[None, :], mask=mask, other=0).to(ACC)
        if CENTRED:
            x -= tl.load(mean_ptr + m_row[:, None] + m_column[None, :], mask=mask, other=0).to(ACC)
        var = tl.load(var_ptr + m_row[:, None] + m_column[None, :], mask=mask, other=1).to(ACC)
        unit = maths.divide(x, maths.sqrt(var + eps))
        total += tl.where(mask, g * unit, tl.zeros([1, 1], ACC))
        if SUM:
            plain += g
    tl.store(out_ptr + split * rows + row, tl.sum(total, 1).to(out_ptr.dtype.element_ty), mask=there)
    if SUM:
        tl.store(sum_ptr + split * rows + row, tl.sum(plain, 1).to(sum_ptr.dtype.element_ty), mask=there)


def normalize(
    outs: tuple, x: Any, weight: Any = None, bias: Any = None, *, view: Shape, axes: Shape, affine: Shape, eps: float,
    centred: bool = True,
) -> None:  # fmt: skip
    """outs = y of x's shape, and the mean and (biased) variance of x seen as `view` over `axes`.

    Not centred: the mean is taken for 0, and not written.
    """
    out, mean, var = outs
    if prod(view) == 0:
        if prod(mean.shape):
            fill(mean, value=float("nan"))
            fill(var, value=float("nan"))
        return
    x, weight, bias = contiguous(x), _flat(weight), _flat(bias)
    sizes, facts = _plan(x, view, axes, affine)
    launch(
        _normalize, facts.pop("grid"), out, mean, var, x, weight or x, bias or x, *sizes, _number(eps, x),
        WEIGHT=weight is not None, BIAS=bias is not None, CENTRED=centred, **facts,
    )  # fmt: skip


def normalize_grad(
    out: Any, g: Any, x: Any, weight: Any, mean: Any, var: Any, *, view: Shape, axes: Shape, affine: Shape, eps: float,
    centred: bool = True,
) -> None:  # fmt: skip
    """out = the gradient of x, from that of y and the saved mean and variance."""
    if prod(view) == 0:
        return
    g, x, weight = contiguous(g), contiguous(x), _flat(weight)
    sizes, facts = _plan(x, view, axes, affine)
    launch(
        _normalize_grad, facts.pop("grid"), out, g, x, weight or x, contiguous(mean), contiguous(var), *sizes,
        _number(eps, x), WEIGHT=weight is not None, CENTRED=centred, **facts,
    )  # fmt: skip


def normalize_weight_grad(
    out: Any, g: Any, x: Any, mean: Any, var: Any, *, view: Shape, axes: Shape, affine: Shape, eps: float,
    centred: bool = True,
) -> None:  # fmt: skip
    """out = the sum of g * (x - mean) / sqrt(var + eps) over all that shares a weight."""
    _affine_grads((out,), g, x, mean, var, view, affine, eps, centred)


def normalize_affine_grad(
    outs: tuple, g: Any, x: Any, mean: Any, var: Any, *, view: Shape, axes: Shape, affine: Shape, eps: float,
    centred: bool = True,
) -> None:  # fmt: skip
    """outs = what `normalize_weight_grad` makes, and the sum of g over the same."""
    _affine_grads(outs, g, x, mean, var, view, affine, eps, centred)


def _affine_grads(
    outs: tuple, g: Any, x: Any, mean: Any, var: Any, view: Shape, affine: Shape, eps: float, centred: bool
) -> None:
    if prod(outs[0].shape) == 0 or prod(view) == 0:
        for out in outs:
            fill(out, value=0)
        return
    g, x, mean, var = contiguous(g), contiguous(x), contiguous(mean), contiguous(var)
    columns = tuple(d for d, size in enumerate(affine) if size == 1)
    strides = (contiguous_like(view), contiguous_like(mean.shape))
    (row_0, row_1), (column_0, column_1), (x_strides, m_strides) = _fitting(view, columns, strides)
    rows, n = row_0 * row_1, column_0 * column_1
    if interpreting():
        per, block = next_power_of_2(rows), min(next_power_of_2(n), 4096)
    else:
        per, block = (min(next_power_of_2(rows), 128), 16) if x_strides[3] != 1 else (1, 1024)
    splits = 1 if interpreting() else max(min(cdiv(264, cdiv(rows, per)), cdiv(n, 8 * block)), 1)
    share = cdiv(cdiv(n, splits), block) * block
    acc = accumulator(x.dtype.name)
    parts = outs
    if splits > 1:
        parts = tuple(out.new((splits, rows), mean.dtype if acc == tl.float64 else _float32()) for out in outs)
    launch(
        _normalize_weight_grad, (cdiv(rows, per), splits), parts[0], parts[-1], g, x, mean, var, rows, row_1, n,
        column_1, share, *x_strides, *m_strides, _number(eps, x),
        SUM=len(outs) > 1, CENTRED=centred, ACC=acc, ROWS=per, BLOCK=block, WIDE=needs_int64((prod(view),), [(1,)]),
    )  # fmt: skip
    if splits > 1:
        for out, part in zip(outs, parts, strict=True):
            reduce.sum(out.view((rows,), (1,)), part, dim=(0,))


def _plan(x: Any, view: Shape, axes: Shape, affine: Shape) -> tuple[tuple[int, ...], dict[str, Any]]:
    (row_0, row_1), (column_0, column_1), (x_strides, w_strides) = _fitting(
        view, axes, (contiguous_like(view), contiguous_like(affine))
    )
    rows, n = row_0 * row_1, column_0 * column_1
    per, block, warps = row_tile(rows, n)
    flat = column_0 == 1 or x_strides[2] == column_1 * x_strides[3]
    facts = {
        "grid": (cdiv(rows, per),),
        "num_warps": warps,
        "VARIES": w_strides[2:] != (0, 0),
        "FLAT": flat and x_strides[3] in (0, 1),
        "FLAT_W": column_0 == 1 and w_strides[3] == 1,
        "ACC": accumulator(x.dtype.name),
        "ROWS": per,
        "BLOCK": block,
        "LOOP": block < n,
        "WIDE": needs_int64((prod(view),), [(1,)]),
    }
    return (rows, row_1, n, column_1, *x_strides, *w_strides), facts


def _fitting(view: Shape, columns: Shape, strides: tuple[Shape, ...]) -> Any:
    found = rows_and_columns(view, columns, strides)
    if found is None:
        raise NotImplementedError(f"a normalization of {view} over {columns} has no kernel on cuda: use the cpu")
    return found


def _flat(operand: Any) -> Any:
    return None if operand is None else contiguous(operand)


def _number(value: float, x: Any) -> Scalar:
    return Scalar(value, "float64" if x.dtype.name == "float64" else "float32")


def _float32() -> Any:
    import numpy as np

    return np.dtype(np.float32)
