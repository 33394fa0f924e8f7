"""Utilities, loaded at first touch: `data` loads data, `checkpoint` saves memory, `hooks` holds hook handles."""

from __future__ import annotations

import importlib
from types import ModuleType

_SUBMODULES = ("checkpoint", "data", "hooks")


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"naiad.utils.{name}")
    raise AttributeError(f"module 'naiad.utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
