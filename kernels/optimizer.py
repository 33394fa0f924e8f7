"""Update rules of optimizers: one launch for all parameters that share their numbers.

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
