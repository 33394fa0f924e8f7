"""`inference_mode`, and the tensors that are made under it.

Such a tensor keeps no count of writes, so that nothing recorded may use it: its version cell is an `Untracked`, which
refuses to be read outside of the mode. Reading the cell is what saving for backward and writing in place begin with, so
that neither needs a check of its own, and code outside of the mode pays nothing. Inside, ops pass through `MARKER`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from naiad.core.state import GradMode, State, current, replace

_UNWRITTEN = (0, None)


class Untracked(list):
    """The version cell of an inference tensor."""

    def __getitem__(self, place: Any) -> Any:
        if place == 0 and not current().inference:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward, nor updated in place outside of inference_mode, "
                "which this one was made under. Make a clone() for a normal tensor, or use no_grad() in its place"
            )
        return list.__getitem__(self, place)


def is_inference(tensor: Any) -> bool:
    """Whether a tensor was made under `inference_mode`."""
    return tensor._version.__class__ is Untracked


def marked(result: Any) -> Any:
    """A new tensor, or a tuple of them, as made under `inference_mode`."""
    if result.__class__ is tuple:
        return tuple(map(marked, result))
    result._version = Untracked(_UNWRITTEN)
    return result


def in_mode(tensor: Any) -> Any:
    """What a function that runs no op has made, marked if the mode is on."""
    return marked(tensor) if current().inference else tensor


class _Marker:
    """The innermost interpreter of ops while the mode is on: marks what they make. Views share their base's cell."""

    rank = -1

    def process(self, op: Any, xs: Sequence, attrs: dict | None) -> Any:
        if op.quick is not None and not attrs:
            return marked(op.quick(*xs))
        result = op.run(INFERENCE, xs, attrs)
        return result if op.view or op.writes else marked(result)


MARKER = _Marker()
INFERENCE = State(False, (), True)  # what the op itself runs under


class inference_mode(GradMode):
    """As ``no_grad``, for code whose results never take part in a recorded computation.

    Tensors made inside cannot be saved for backward afterwards, nor be written in place: RuntimeError.
    ``inference_mode(False)`` turns it off and grad mode on.
    """

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if callable(mode):
            made.__init__()  # type: ignore[misc]
            return made(mode)
        return made

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._mode = bool(mode)

    def __enter__(self) -> inference_mode:
        now = current()
        self._before.append(now)
        others = tuple(m for m in now.modes if m is not MARKER)
        replace(State(not self._mode, (MARKER, *others) if self._mode else others, self._mode))
        return self

    def _again(self) -> inference_mode:
        return inference_mode(self._mode)

    __call__: Callable = GradMode.__call__


inference_mode.__module__ = "naiad"
