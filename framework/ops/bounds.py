"""Maxima, minima and clamping."""

from __future__ import annotations

from typing import Any

from naiad.core.elementwise import elementwise
from naiad.core.op import public
from naiad.core.tensor import Tensor
from naiad.ops.forms import inplace_form, into

ORDERED = (0, 1, 2)


@elementwise(kinds=ORDERED, inplace=False)
def maximum(m: Any, input: Any, other: Any) -> Any:
    """The larger of two; NaN if either is. A tie shares the gradient."""
    return m.maximum(input, other)


@elementwise(kinds=ORDERED, inplace=False)
def minimum(m: Any, input: Any, other: Any) -> Any:
    """The smaller of two; NaN if either is. A tie shares the gradient."""
    return m.minimum(input, other)


@elementwise(
    kinds=ORDERED,
    inplace=False,
    grad={
        "input": lambda m, g, input, other: m.where((input >= other) | m.isnan(other), g, 0),
        "other": lambda m, g, input, other: m.where((input >= other) | m.isnan(other), 0, g),
    },
)
def fmax(m: Any, input: Any, other: Any) -> Any:
    """The larger of two; a number rather than NaN."""
    return m.where(m.isnan(input), other, m.where(m.isnan(other), input, m.maximum(input, other)))


@elementwise(
    kinds=ORDERED,
    inplace=False,
    grad={
        "input": lambda m, g, input, other: m.where((input <= other) | m.isnan(other), g, 0),
        "other": lambda m, g, input, other: m.where((input <= other) | m.isnan(other), 0, g),
    },
)
def fmin(m: Any, input: Any, other: Any) -> Any:
    """The smaller of two; a number rather than NaN."""
    return m.where(m.isnan(input), other, m.where(m.isnan(other), input, m.minimum(input, other)))


# At a bound the gradient goes to the input, all of it.
@elementwise(
    namespaces=(),
    name="clamp",
    kinds=ORDERED,
    grad={
        "input": lambda m, g, input, min, max: m.where((input >= min) & (input <= max), g, 0),
        "min": lambda m, g, input, min, max: m.where((input < min) & (min < max), g, 0),
        "max": lambda m, g, input, min, max: m.where((input > max) | (max < min), g, 0),
    },
)
def clamp_op(m: Any, input: Any, min: Any, max: Any) -> Any:
    """min(max(input, min), max)."""
    return m.minimum(m.maximum(input, min), max)


@elementwise(
    kinds=ORDERED,
    samples=lambda s: [s.call(s(2, 3), 0.3), s.call(s(2, 3), s(3)), s.call(s.ints(3), 2)],
    grad={
        "input": lambda m, g, input, min: m.where(input >= min, g, 0),
        "min": lambda m, g, input, min: m.where(input < min, g, 0),
    },
)
def clamp_min(m: Any, input: Any, min: Any) -> Any:
    """max(input, min)."""
    return m.maximum(input, min)


@elementwise(
    kinds=ORDERED,
    samples=lambda s: [s.call(s(2, 3), 0.3), s.call(s(2, 3), s(3)), s.call(s.ints(3), 2)],
    grad={
        "input": lambda m, g, input, max: m.where(input <= max, g, 0),
        "max": lambda m, g, input, max: m.where(input > max, g, 0),
    },
)
def clamp_max(m: Any, input: Any, max: Any) -> Any:
    """min(input, max)."""
    return m.minimum(input, max)


@public(
    "naiad",
    "Tensor",
    aliases=("clip",),
    samples=lambda s: [
        s.call(s(3, 4), -1, 1),
        s.call(s(3, 4), min=0.2),
        s.call(s(3, 4), max=0.2),
        s.call(s(3, 4), s(4, high=0), s(3, 1, low=0)),
        s.call(s(3, 4), s(4), max=s(4)),
        s.call(s.ints(4), 1, 3),
        s.call(s.ints(4), 0.5, 3),
    ],
)
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """input between `min` and `max`, each a number, a tensor that broadcasts, or None. Where they cross, max wins."""
    if min is None:
        if max is None:
            raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
        result = clamp_max(input, max)
    elif max is None:
        result = clamp_min(input, min)
    elif min.__class__ is Tensor or max.__class__ is Tensor:
        result = clamp_op(input, min, max)
    else:  # numbers: two quick calls; the gradient is the same
        result = clamp_max(clamp_min(input, min), max)
    return into(result, out)


inplace_form(clamp, "clamp_", "clip_", namespaces=("Tensor", "naiad"))
