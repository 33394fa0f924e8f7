"""Utilities: `naiad.utils.data` loads data, `naiad.utils.hooks` holds hook handles. Loaded at first touch."""

from __future__ import annotations

import importlib
from types import ModuleType

_SUBMODULES = ("data", "hooks")


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"naiad.utils.{name}")
    raise AttributeError(f"module 'naiad.utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
