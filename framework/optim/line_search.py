"""A line search for the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """The function along the search direction at step length `t`: value, flat gradient, directional derivative."""

    t: float
    value: float
    grad: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points and their slopes is least, clipped to `bounds` (else to the two points).

    Nocedal and Wright, "Numerical Optimization", 2nd edition, equation 3.59. The middle of the bounds if the cubic has
    no minimum.
    """
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    if a.t != b.t:
        d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
        square = d1**2 - a.slope * b.slope
        left, right = (a, b) if a.t <= b.t else (b, a)
        if square >= 0:
            d2 = math.sqrt(square)
            width = right.slope - left.slope + 2 * d2
            if width != 0:
                best = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / width)
                return min(max(best, low), high)
    return (low + high) / 2.0


def strong_wolfe(
    evaluate: Callable[[float], tuple[float, Any, float]],
    start: Point,
    t: float,
    direction_size: float,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_iter: int = 25,
) -> tuple[Point, int]:
    """A step length that decreases the value enough (c1) and flattens the slope enough (c2).

    Nocedal and Wright, algorithms 3.5 (bracketing) and 3.6 (zoom), with the safeguards of minFunc.

    Args:
        evaluate: t -> (value, flat gradient, slope).
        start: the point at t = 0.
        t: the first step length to try.
        direction_size: the largest component of the direction, to know when a bracket is too small to matter.

    Returns: the point found (the best of the bracket if the iterations run out) and the number of evaluations.
    """
    search = _Search(evaluate, start, c1, c2)
    bracket, done, iterations = search.bracket(t, max_iter)
    if not done:
        bracket = search.zoom(bracket, iterations, max_iter, direction_size, tolerance_change)
    return bracket[0], search.evaluations


class _Search:
    def __init__(self, evaluate: Callable, start: Point, c1: float, c2: float) -> None:
        self._evaluate, self._start, self._c1, self._c2 = evaluate, start, c1, c2
        self.evaluations = 0

    def _at(self, t: float) -> Point:
        self.evaluations += 1
        return Point(t, *self._evaluate(t))

    def _too_high(self, point: Point) -> bool:
        start = self._start
        return point.value > start.value + self._c1 * point.t * start.slope

    def _flat(self, point: Point) -> bool:
        return abs(point.slope) <= -self._c2 * self._start.slope

    def bracket(self, t: float, max_iter: int) -> tuple[list[Point], bool, int]:
        """Walk outwards until an acceptable point lies between the last two; the lower of them comes first."""
        before, new = self._start, self._at(t)
        for iteration in range(max_iter):
            if self._too_high(new) or (iteration > 1 and new.value >= before.value):
                return _lower_first(before, new), False, iteration
            if self._flat(new):
                return [new], True, iteration
            if new.slope >= 0:
                return _lower_first(before, new), False, iteration
            reach = (new.t + 0.01 * (new.t - before.t), new.t * 10)
            before, new = new, self._at(cubic_minimum(before, new, reach))
        return _lower_first(self._start, new), False, max_iter

    def zoom(
        self, bracket: list[Point], iteration: int, max_iter: int, direction_size: float, tolerance_change: float
    ) -> list[Point]:
        """Narrow the bracket [lowest, other] until its lowest point is acceptable."""
        stalled = False
        ordered = sorted(bracket, key=lambda point: point.t)
        while iteration < max_iter and (ordered[1].t - ordered[0].t) * direction_size >= tolerance_change:
            t, stalled = _keep_inside(cubic_minimum(ordered[0], ordered[1]), ordered[0].t, ordered[1].t, stalled)
            low, other = bracket
            new = self._at(t)
            iteration += 1
            if self._too_high(new) or new.value >= low.value:
                bracket = _lower_first(low, new)
            elif self._flat(new):
                return [new, other]
            elif new.slope * (other.t - low.t) >= 0:
                bracket = [new, low]
            else:
                bracket = [new, other]
            ordered = sorted(bracket, key=lambda point: point.t)
        return bracket


def _lower_first(a: Point, b: Point) -> list[Point]:
    return [a, b] if a.value <= b.value else [b, a]


def _keep_inside(t: float, low: float, high: float, stalled: bool) -> tuple[float, bool]:
    """Move a point that is too near an end of the bracket inwards, if it is so for the second time in a row."""
    margin = 0.1 * (high - low)
    if min(high - t, t - low) >= margin:
        return t, False
    if stalled or t >= high or t <= low:
        return (high - margin if abs(t - high) < abs(t - low) else low + margin), False
    return t, True
