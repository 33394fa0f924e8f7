"""Update rules of optimizers and the clipping of gradients: one launch for many parameters.

A rule comes as a straight line of elementwise operations on a parameter, its state and its gradient, and is printed as
a kernel. Where the arrays are stands in a table in device memory: each row has the addresses of a parameter, its state
and its gradient, and their number of elements; each program takes one block of one row. Every array is read once and
all but the gradient written once. Halves are computed in float32 and rounded once. Coefficients are run-time numbers:
a new learning rate compiles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import triton
import triton.language as tl

from naiad.kernels import reduce
from naiad.kernels.copy import fill
from naiad.kernels.elementwise import HEADER
from naiad.kernels.launch import Scalar, block_for, launch
from naiad.kernels.source import compile_kernel

BLOCK = 1024
_PROPAGATE = "propagate_nan=tl.PropagateNan.ALL"
_EXPRESSIONS = {
    **{"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "maths.divide({0}, {1})"},
    **{"neg": "{0} * -1.0", "sqrt": "maths.sqrt({0})", "abs": "tl.abs({0})", "sign": "maths.sgn({0})"},
    "maximum": f"tl.maximum({{0}}, {{1}}, {_PROPAGATE})",
    "minimum": f"tl.minimum({{0}}, {{1}}, {_PROPAGATE})",
    "clip": f"tl.minimum(tl.maximum({{0}}, {{1}}, {_PROPAGATE}), {{2}}, {_PROPAGATE})",
    **{"where": "tl.where({0}, {1}, {2})", "lt": "{0} < {1}", "gt": "{0} > {1}", "eq": "{0} == {1}"},
}


@triton.jit
def _block(table_ptr, blocks_ptr, DTYPE: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    """Pointers to this program's block of an array, and which of it exist."""
    at = blocks_ptr + 2 * tl.program_id(0)
    row = table_ptr + tl.load(at) * 2
    ptr = tl.load(row).to(tl.pointer_type(DTYPE))
    start = tl.load(at + 1)
    numel = tl.load(row + 1)
    if EVEN:
        ptr = tl.multiple_of(ptr, 16)
        start = start // 16 * 16
        numel = numel // 16 * 16
    i = start + tl.arange(0, BLOCK)
    return ptr + i, i < numel


@triton.jit
def _square_sums(
    out_ptr, table_ptr, blocks_ptr, DTYPE: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr
):
    at, inside = _block(table_ptr, blocks_ptr, DTYPE, BLOCK, EVEN)
    x = tl.load(at, mask=inside, other=0).to(ACC)
    tl.store(out_ptr + tl.program_id(0) + tl.arange(0, 1), tl.full([1], 1, ACC) * tl.sum(x * x, 0))


@triton.jit
def _scale(factor_ptr, table_ptr, blocks_ptr, DTYPE: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    at, inside = _block(table_ptr, blocks_ptr, DTYPE, BLOCK, EVEN)
    factor = tl.load(factor_ptr)
    x = tl.load(at, mask=inside, other=0)
    tl.store(at, (x.to(factor.dtype) * factor).to(DTYPE), mask=inside)


def square_sum(out: Any, table: Any, blocks: Any, block: int, even: bool, dtype: str) -> None:
    """out (0-d, float32 or float64) = the sum of squares of all arrays of a table with one array per row."""
    if table is None:
        fill(out, value=0)
        return
    programs = blocks.shape[0]
    parts = out.new((programs,), out.dtype)
    acc = tl.float64 if out.dtype.name == "float64" else tl.float32
    launch(_square_sums, (programs,), parts, table, blocks, DTYPE=getattr(tl, dtype), ACC=acc, BLOCK=block, EVEN=even)
    reduce.sum(out, parts, dim=(0,))


def scale(factor: Any, table: Any, blocks: Any, block: int, even: bool, dtype: str) -> None:
    """Multiply the arrays of a table in place by a 0-d array."""
    programs = blocks.shape[0]
    launch(_scale, (programs,), factor, table, blocks, DTYPE=getattr(tl, dtype), BLOCK=block, EVEN=even)


def blocks_of(sizes: Sequence[int]) -> tuple[np.ndarray, int]:
    """(row, first element) of each program for arrays of these sizes, as int64 (programs, 2), and the block size."""
    block = block_for(max(sizes, default=1), BLOCK)
    firsts = [np.arange(0, n, block, dtype=np.int64) for n in sizes]
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), [len(f) for f in firsts])
    return np.stack([rows, np.concatenate([np.zeros(0, np.int64), *firsts])], 1), block


def update(
    name: str,
    ops: tuple[tuple[str, tuple[int, ...]], ...],
    results: tuple[int, ...],
    constants: Sequence[float],
    dtypes: tuple[str, ...],
    table: Any,
    blocks: Any,
    block: int,
    even: bool,
) -> None:
    """Run a rule on every row of a table.

    ops: (operation, operands), the i-th making value `inputs + i` of earlier values (from 0: the parameter, its state,
    the gradient) or of constants (-1, -2, ...). results: the values that the parameter and its state become. dtypes: of
    the arrays of a row. table: int64 (rows, inputs + 1), addresses and number of elements. blocks: from `blocks_of`.
    even: whether all addresses and sizes are divisible by 16.
    """
    compute = "float64" if "float64" in dtypes else "float32"
    kernel = _kernel(name, ops, results, len(constants), dtypes, compute)
    numbers = [Scalar(c, compute) for c in constants]
    launch(kernel, (blocks.shape[0],), table, blocks, *numbers, BLOCK=block, EVEN=even)


@cache
def _kernel(
    name: str, ops: tuple, results: tuple[int, ...], constants: int, dtypes: tuple[str, ...], compute: str
) -> Any:
    inputs = len(dtypes)
    names = [f"v{i}" for i in range(inputs + len(ops))]
    parameters = ["table_ptr", "blocks_ptr", *(f"c{i}" for i in range(constants))]
    text = [
        "at = blocks_ptr + 2 * tl.program_id(0)",
        f"row = table_ptr + tl.load(at) * {inputs + 1}",
        f"i = tl.load(at + 1) + tl.arange(0, BLOCK)  # {name}",
        f"numel = tl.load(row + {inputs})",
    ]
    text += [f"p{k} = tl.load(row + {k}).to(tl.pointer_type(tl.{d}))" for k, d in enumerate(dtypes)]
    text += ["if EVEN:", "    i = tl.load(at + 1) // 16 * 16 + tl.arange(0, BLOCK)", "    numel = numel // 16 * 16"]
    text += [f"    p{k} = tl.multiple_of(p{k}, 16)" for k in range(inputs)]
    text.append("inside = i < numel")
    text += [f"v{k} = tl.load(p{k} + i, mask=inside, other=0).to(tl.{compute})" for k in range(inputs)]
    for k, (op, operands) in enumerate(ops, inputs):
        shown = [names[x] if x >= 0 else f"tl.full([1], 1, tl.{compute}) * c{-x - 1}" for x in operands]
        text.append(f"v{k} = {_EXPRESSIONS[op].format(*(s if s in names else f'({s})' for s in shown))}")
    for k, value in enumerate(results):
        if value != k:
            text.append(f"tl.store(p{k} + i, v{value}.to(tl.{dtypes[k]}), mask=inside)")
    head = f"@triton.jit\ndef _{name}({', '.join(parameters)}, BLOCK: tl.constexpr, EVEN: tl.constexpr):\n"
    return compile_kernel(HEADER + "\n" + head + "".join(f"    {line}\n" for line in text), f"_{name}")
