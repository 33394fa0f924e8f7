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
def _combiner(part: str, out: str, given: tuple[bool, bool]) -> Callable:
    """(a - b) + i (c + d), of which b and d may not be there."""
    names = [n for n, there in zip("abcd", (True, given[0], True, given[1]), strict=True) if there]
    lines = [("r", "sub", "a b")] if given[0] else []
    lines += [("s", "add", "c d")] if given[1] else []
    lines += [("z", "pair", f"{'r' if given[0] else 'a'} {'s' if given[1] else 'c'}")]
    return _kernel("complex_combine", " ".join(names), lines, (part,) * len(names), out)


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
    """out = (a - b) + i (c + d); b may be None, and one of c and d: both where one factor of a product is real."""
    if c is None:
        c, d = d, None
    given = [x for x in (a, b, c, d) if x is not None]
    _combiner(a.dtype.name, out.dtype.name, (b is not None, d is not None))(out, *given)


def add(out: Any, a: Any, b: Any) -> None:
    """out = a + b."""
    _adder(out.dtype.name)(out, a, b)


def is_not_zero(x: Any) -> Any:
    """Whether each element of x differs from 0."""
    out = x.new(x.shape, _BOOL)
    _tester(x.dtype.name)(out, x)
    return out
