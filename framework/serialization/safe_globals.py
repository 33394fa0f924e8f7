"""The classes and functions that a program has declared safe to be named by the files it loads."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

# Names in these modules are refused even when a program has listed them: they reach the operating system.
BLOCKED_MODULES = frozenset({"sys", "os", "posix", "nt"})

_Entry = Callable | tuple[Callable, str]
_listed: list[_Entry] = []


def add_safe_globals(safe_globals: list[_Entry]) -> None:
    """Let ``load(weights_only=True)`` call these classes and functions where a file names them.

    An entry is the object, or a tuple of it and the path (``"module.name"``) under which files name it.
    """
    for entry in safe_globals:
        path_of(entry)
        if entry not in _listed:
            _listed.append(entry)


def get_safe_globals() -> list[_Entry]:
    """What has been added and not cleared."""
    return list(_listed)


def clear_safe_globals() -> None:
    """Forget all that has been added."""
    _listed.clear()


class safe_globals:
    """A context in which these classes and functions are safe, as with `add_safe_globals`."""

    def __init__(self, safe_globals: list[_Entry]) -> None:
        self._entries = safe_globals
        self._added: list[_Entry] = []

    def __enter__(self) -> None:
        # What was listed before stays listed after.
        self._added = [entry for entry in self._entries if entry not in _listed]
        add_safe_globals(self._added)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for entry in self._added:
            if entry in _listed:
                _listed.remove(entry)


def path_of(entry: _Entry) -> tuple[str, Any]:
    """The path under which files name an entry, and the object."""
    if not isinstance(entry, tuple):
        return f"{entry.__module__}.{entry.__qualname__}", entry
    if len(entry) != 2:
        raise ValueError(
            f"Expected tuple of length 2 (global, str of callable full path), but got tuple of length: {len(entry)}"
        )
    if type(entry[1]) is not str:
        raise TypeError(f"Expected second item in tuple to be str of callable full path, but got: {type(entry[1])}")
    return entry[1], entry[0]


def listed_globals() -> dict[str, Any]:
    """The listed objects by path."""
    return dict(path_of(entry) for entry in _listed)
