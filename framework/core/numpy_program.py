"""Traced bodies as straight lines of NumPy calls, run block by block.

Called as it stands, a body of ten operations makes ten arrays and passes over main memory twenty times. As a program
(`numpy_text.py` writes its source) every intermediate result has a scratch array of one block, which stays in the
processor's cache, and is given to another result as soon as nothing reads it any more: memory is read and written
once. The elementwise ops make new arrays this way, the optimizers update parameters and their state in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from naiad.core import numpy_maths
from naiad.core.numpy_text import SCOPE, Text, structure, without_identities, write
from naiad.core.trace import Symbol, compile_text

BLOCK = 1 << 14  # elements: a handful of float32 blocks fit a core's second-level cache
ndarray = np.ndarray

_BITS: dict[int, Any] = {1: np.dtype(np.int8), 2: np.dtype(np.int16), 4: np.dtype(np.int32), 8: np.dtype(np.int64)}
_BOOL = np.dtype(np.bool_)
_FEW = 256  # elements: up to here one call of np.where is quicker than three others


class Program:
    """A compiled body: `step(*inputs, *outs, *constants, *registers)` works on one block.

    The constants are 1, `bits` (the integers as wide as the numbers), and the body's own.
    """

    def __init__(self, text: Text, function: Callable[..., None], constants: Sequence[Any], dtype: np.dtype) -> None:
        self.step = function
        self.constants = [_constant(1, dtype), _BITS.get(dtype.itemsize), *[_constant(c, dtype) for c in constants]]
        self.registers = [dtype] * text.numbers + [_BOOL] * text.masks

    def run(self, arrays: Sequence[ndarray], shape: tuple[int, ...]) -> None:
        """Work on arrays (inputs, then outs) at once: of this shape, or of one that is broadcast to it."""
        self.step(*arrays, *self.constants, *[np.empty(shape, d) for d in self.registers])

    def run_blocks(self, arrays: Sequence[ndarray], shape: tuple[int, ...], row: int = 0) -> None:
        """Work through arrays (inputs, then outs), each C-contiguous and of this shape, or 0-d.

        row: the size of the inputs that are shorter and repeat, as a bias does; 0 where there are none.
        """
        size = prod(shape)
        layout, count, most = ((-1, row), size // row, BLOCK // row) if row else ((-1,), size, BLOCK)
        flat = [a.reshape(layout) if a.ndim and a.size > row else a.reshape(row) if a.ndim else a for a in arrays]
        blocked = [a.ndim == len(layout) for a in flat]
        scratch = [np.empty((min(most, count), *layout[1:]), d) for d in self.registers]
        for start in range(0, count, most):
            stop = min(start + most, count)
            if stop - start < most:
                scratch = [r[: stop - start] for r in scratch]
            pieces = [a[start:stop] if cut else a for a, cut in zip(flat, blocked, strict=True)]
            self.step(*pieces, *self.constants, *scratch)


_texts: dict[tuple, tuple[Text, Callable[..., None]]] = {}


def compile_program(
    name: str,
    inputs: Sequence[str],
    lines: Sequence[tuple],
    results: Sequence[Symbol],
    dtype: np.dtype,
    *,
    masks: Sequence[str] = (),
    into: Sequence[int] | None = None,
    widen: bool = False,
    fresh: np.dtype | None = None,
) -> Program:
    """A program of traced lines that computes in `dtype`.

    masks: the inputs that are bool. into: the numbers of the inputs that the results replace; None: results go to
    arrays of their own, `outs`, of dtype `fresh`. widen: the inputs are of a narrower dtype; they are converted a
    block at a time, and the results rounded once.

    Programs that do the same with other constants share their function: an optimizer's step size changes every step.
    """
    lines, results = without_identities(lines, results)
    register = "r" if fresh == dtype else "b" if fresh == _BOOL else ""
    key = (name, *inputs, *masks, into, widen, register, *[r.name for r in results], *structure(lines))
    found = _texts.get(key)
    if found is None:
        name += "_step"  # no function that it calls has such a name
        text = write(name, inputs, lines, results, masks=masks, into=into, widen=widen, fresh=register)
        found = _texts[key] = text, compile_text(text.source, name, dict(_SCOPE))
    return Program(found[0], found[1], [lines[i][2][j] for i, j in found[0].constants], dtype)


def _constant(value: Any, dtype: np.dtype) -> Any:
    """A number of the body as a 0-d array of the dtype, which NumPy takes quicker than Python's."""
    return value if isinstance(value, bool) and dtype != _BOOL else np.asarray(value, dtype)


# ---------------------------------------------------------------- choosing by a mask
# As operations on the bits, several times quicker than np.where where neighbours differ.
def _blend(mask: ndarray, yes: ndarray, no: ndarray, out: ndarray) -> None:
    """yes where the mask is set, else no, which `out` must not be."""
    if out.size <= _FEW:
        out[...] = np.where(mask, yes, no)
        return
    bits = _BITS[out.itemsize]
    base, target = no.view(bits), out.view(bits)
    np.bitwise_xor(yes.view(bits), base, target)
    np.bitwise_and(target, np.negative(mask.view(_BITS[1])), target)
    np.bitwise_xor(target, base, target)


_SCOPE: dict[str, Any] = SCOPE | {"m": numpy_maths, "blend": _blend, "logical_not": np.logical_not}
