"""`inference_mode`, and the tensors that are made under it.

Such a tensor keeps no count of writes, so that nothing recorded may use it: its version cell is `UNTRACKED`, which
refuses to be read outside of the mode. Reading the cell is what saving for backward and writing in place begin with, so
that neither needs a check of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naiad.core.state import GradMode, State, current, replace


class _Untracked(list):
    """The version cell of all inference tensors."""

    def __getitem__(self, place: Any) -> Any:
        if place == 0 and current().inference is None:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward, nor updated in place outside of inference_mode, "
                "which this one was made under. Make a clone() for a normal tensor, or use no_grad() in its place"
            )
        return list.__getitem__(self, place)


UNTRACKED = _Untracked((0, None))


def is_inference(tensor: Any) -> bool:
    """Whether a tensor was made under `inference_mode`."""
    return tensor._version is UNTRACKED


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
        replace(State(not self._mode, now.modes, UNTRACKED if self._mode else None))
        return self

    def _again(self) -> inference_mode:
        return inference_mode(self._mode)

    __call__: Callable = GradMode.__call__


inference_mode.__module__ = "naiad"
