"""Logic on truth values and on bits, with the operators & | ^ ~ << >>."""

from __future__ import annotations

from typing import Any

from naiad.core.dtype import bool as bool_
from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC
from naiad.ops.arithmetic import operator

BITS = (0, 1)
_TRUTHS: dict[str, Any] = dict(
    samples=lambda s: [s.call(s.bools(4), s.bools(4)), s.call(s.ints(4, high=2), s.fixed([0.0, 0.5, 1.0, 0.0]))]
)
_BITS: dict[str, Any] = dict(
    samples=lambda s: [s.call(s.ints(5, low=-8, high=8), s.ints(5, high=8)), s.call(s.bools(2, 3), s.bools(3))]
)
_SHIFTS: dict[str, Any] = dict(
    samples=lambda s: [s.call(s.ints(5, low=-8, high=8), s.ints(5, high=8)), s.call(s.ints(3), 2)]
)


@elementwise(result=bool_, inplace=True, **_TRUTHS)
def logical_and(m: Any, input: Any, other: Any) -> Any:
    """Whether both are nonzero."""
    return (input != 0) & (other != 0)


@elementwise(result=bool_, inplace=True, **_TRUTHS)
def logical_or(m: Any, input: Any, other: Any) -> Any:
    """Whether either is nonzero."""
    return (input != 0) | (other != 0)


@elementwise(result=bool_, inplace=True, **_TRUTHS)
def logical_xor(m: Any, input: Any, other: Any) -> Any:
    """Whether exactly one is nonzero."""
    return (input != 0) ^ (other != 0)


@elementwise(result=bool_, inplace=True, samples=lambda s: [s.call(s.bools(4)), s.call(s.ints(4, high=2))])
def logical_not(m: Any, input: Any) -> Any:
    """Whether it is zero."""
    return input == 0


@elementwise(kinds=BITS, **_BITS)
def bitwise_and(m: Any, input: Any, other: Any) -> Any:
    """The bits that both have."""
    return input & other


@elementwise(kinds=BITS, **_BITS)
def bitwise_or(m: Any, input: Any, other: Any) -> Any:
    """The bits that either has."""
    return input | other


@elementwise(kinds=BITS, **_BITS)
def bitwise_xor(m: Any, input: Any, other: Any) -> Any:
    """The bits that one of them has."""
    return input ^ other


@elementwise(kinds=BITS, samples=lambda s: [s.call(s.ints(5, low=-8)), s.call(s.bools(5))])
def bitwise_not(m: Any, input: Any) -> Any:
    """All bits turned round."""
    return ~input


@elementwise(kinds=(1,), **_SHIFTS)
def bitwise_left_shift(m: Any, input: Any, other: Any) -> Any:
    """The bits moved up; 0 where `other` is no less than the width."""
    return input << other


@elementwise(kinds=(1,), **_SHIFTS)
def bitwise_right_shift(m: Any, input: Any, other: Any) -> Any:
    """The bits moved down; the sign stays."""
    return input >> other


_METHODS = PUBLIC["Tensor"]
for _sign, _entry in (
    ("and", bitwise_and),
    ("or", bitwise_or),
    ("xor", bitwise_xor),
    ("lshift", bitwise_left_shift),
    ("rshift", bitwise_right_shift),
):
    _METHODS[f"__{_sign}__"] = operator(_entry.op)
    _METHODS[f"__r{_sign}__"] = operator(_entry.op, reflected=True)
    _METHODS[f"__i{_sign}__"] = _METHODS[_entry.__name__ + "_"]
_METHODS["__invert__"] = bitwise_not
