"""Warnings that point at the line of the user's which led to them."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn, as from the first caller that is not naiad itself."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "naiad":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level + 1)
