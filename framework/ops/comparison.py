"""Comparisons; their results are bool and carry no gradient."""

from __future__ import annotations

from typing import Any

from naiad.core.dtype import bool as bool_
from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC
from naiad.ops.arithmetic import operator


@elementwise(result=bool_, inplace=True)
def eq(m: Any, input: Any, other: Any) -> Any:
    """input == other."""
    return input == other


@elementwise(result=bool_, inplace=True, aliases=("not_equal",))
def ne(m: Any, input: Any, other: Any) -> Any:
    """input != other."""
    return input != other


@elementwise(result=bool_, inplace=True, aliases=("less",), kinds=(0, 1, 2))
def lt(m: Any, input: Any, other: Any) -> Any:
    """input < other."""
    return input < other


@elementwise(result=bool_, inplace=True, aliases=("less_equal",), kinds=(0, 1, 2))
def le(m: Any, input: Any, other: Any) -> Any:
    """input <= other."""
    return input <= other


@elementwise(result=bool_, inplace=True, aliases=("greater",), kinds=(0, 1, 2))
def gt(m: Any, input: Any, other: Any) -> Any:
    """input > other."""
    return input > other


@elementwise(result=bool_, inplace=True, aliases=("greater_equal",), kinds=(0, 1, 2))
def ge(m: Any, input: Any, other: Any) -> Any:
    """input >= other."""
    return input >= other


for _compare in (eq, ne, lt, le, gt, ge):
    PUBLIC["Tensor"][f"__{_compare.__name__}__"] = operator(_compare.op)
