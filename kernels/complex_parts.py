"""Complex arrays taken apart and put together again: what real kernels need around them to serve complex numbers.

Taking apart moves nothing, the parts are read where they lie. Putting together reads each part once and writes once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from naiad.kernels import elementwise
from naiad.kernels.complex_elementwise import PARTS, as_real, part_of
from naiad.kernels.copy import Operand

__all__ = ["PARTS", "add", "as_real", "combine", "is_not_zero", "join", "joined", "part_of"]

_BOOL = np.dtype(np.bool_)


def _kernel(name: str, operands: str, lines: list[tuple[str, str, str]], dtypes: tuple[str, ...], out: str) -> Callable:
    """The launcher of lines `(symbol, op, operands)`, given by name."""
    symbols: dict[str, Operand] = {o: Operand(o) for o in operands.split()}
    written = []
    for symbol, op, args in lines:
        given = tuple(symbols[a] if a in symbols else float(a) for a in args.split())
        symbols[symbol] = Operand(symbol)
        written.append((symbols[symbol], op, given))
    return elementwise.prepare(name, tuple(operands.split()), written, written[-1][0], dtypes, out)


@cache
def _joiner(part: str, out: str) -> Callable:
    return _kernel("complex", "a b", [("z", "pair", "a b")], (part, part), out)


@cache
def _combiner(part: str, out: str) -> Callable:
    lines = [("r", "sub", "a b"), ("s", "add", "c d"), ("z", "pair", "r s")]
    return _kernel("complex_combine", "a b c d", lines, (part,) * 4, out)


@cache
def _adder(dtype: str) -> Callable:
    return _kernel("add", "a b", [("z", "add", "a b")], (dtype, dtype), dtype)


@cache
def _tester(dtype: str) -> Callable:
    return _kernel("is_not_zero", "a", [("z", "ne", "a 0.0")], (dtype,), "bool")


def join(out: Any, re: Any, im: Any) -> None:
    """out = re + i im."""
    _joiner(re.dtype.name, out.dtype.name)(out, re, im)


def joined(out: Any, real: Any, imag: Any) -> None:
    """out = real + i imag, of operands that broadcast."""
    join(out, real.broadcast(out.shape), imag.broadcast(out.shape))


def combine(out: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """out = (a - b) + i (c + d)."""
    _combiner(a.dtype.name, out.dtype.name)(out, a, b, c, d)


def add(out: Any, a: Any, b: Any) -> None:
    """out = a + b."""
    _adder(out.dtype.name)(out, a, b)


def is_not_zero(x: Any) -> Any:
    """Whether each element of x differs from 0."""
    out = x.new(x.shape, _BOOL)
    _tester(x.dtype.name)(out, x)
    return out
