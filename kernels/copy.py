"""Copies and fills. Both are generated elementwise kernels: one body, any strides on either side.

copy moves each element once in and once out, fill once out; neither computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from naiad.kernels.elementwise import prepare


@dataclass(frozen=True)
class Operand:
    """A name of a trace's lines."""

    name: str


def copy(out: Any, x: Any, *, dtype: Any = None) -> None:
    """out[...] = x, of any shapes that broadcast, strides and dtypes; out may be a view.

    The values are converted to out's dtype; `dtype`, which names it once more, is for ops that carry it.
    """
    _copier(x.dtype.name, out.dtype.name)(out, x if x.shape == out.shape else x.broadcast(out.shape))


def fill(out: Any, *, value: complex | bool) -> None:
    """out[...] = value, for an `out` of any strides."""
    _filler(out.dtype.name)(out, value)


def overwritten(out: Any, x: Any, source: Any) -> None:
    """out[...] = source: what an in-place copy makes of x, whose values do not matter."""
    copy(out, source)


def refilled(out: Any, x: Any, *, value: complex | bool) -> None:
    """out[...] = value: what an in-place fill makes of x, whose values do not matter."""
    fill(out, value=value)


def flip(out: Any, x: Any, *, dims: tuple[int, ...]) -> None:
    """out = x with the order along `dims` reversed: read through negative strides."""
    strides = tuple(-step if d in dims else step for d, step in enumerate(x.strides))
    last = sum((x.shape[d] - 1) * x.strides[d] for d in dims)
    if 0 not in x.shape:
        copy(out, x.view(x.shape, strides, x.offset + last))


def contiguous(x: Any) -> Any:
    """x itself if its elements lie in order, else a copy in which they do."""
    if x.is_contiguous:
        return x
    out = x.new(x.shape, x.dtype)
    copy(out, x)
    return out


@cache
def _copier(source: str, target: str) -> Callable[..., None]:
    return prepare("copy", ("x",), (), Operand("x"), (source,), target)


@cache
def _filler(dtype: str) -> Callable[..., None]:
    return prepare("fill", ("value",), (), Operand("value"), (("scalar", dtype),), dtype)
