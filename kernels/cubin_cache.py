"""Compiled kernels on disk, found by what they were made from.

An entry is two files named by a key: `KEY.cubin` and `KEY.json`, whose facts include the cubin's checksum. Both are
written under another name and moved into place, the JSON last, so that a reader finds a whole entry or none; one that
is damaged counts as none. NAIAD_CACHE_DIR names the folder, by default `naiad` in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMAT = 4  # part of every key: raise it when the meaning of the facts changes, or how kernels are compiled


def folder() -> Path:
    """Where compiled kernels are kept."""
    named = os.environ.get("NAIAD_CACHE_DIR")
    root = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "naiad"
    return root / "cubin"


def key(*parts: Any) -> str:
    """A name for what `parts` describe; their `repr` must say all that matters."""
    return hashlib.sha256(repr((FORMAT, *parts)).encode()).hexdigest()[:40]


def facts(name: str) -> dict[str, Any] | None:
    """The facts of an entry; None where there is none."""
    try:
        found = json.loads((folder() / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def load(name: str) -> tuple[bytes, dict[str, Any]] | None:
    """(cubin, facts) of an entry; None where there is none, or a damaged one."""
    found = facts(name)
    try:
        cubin = (folder() / f"{name}.cubin").read_bytes()
    except OSError:
        return None
    if found is None or hashlib.sha256(cubin).hexdigest() != found.get("sha256"):
        return None
    return cubin, found


def save(name: str, cubin: bytes, about: dict[str, Any]) -> None:
    """Keep an entry. A folder that cannot be written is told once, and then compiled kernels live in memory only."""
    about = {**about, "sha256": hashlib.sha256(cubin).hexdigest()}
    try:
        place = folder()
        place.mkdir(parents=True, exist_ok=True)
        replace(place / f"{name}.cubin", cubin)
        replace(place / f"{name}.json", json.dumps(about, indent=1).encode())
    except OSError as error:
        tell(f"compiled kernels cannot be kept in {folder()} ({error}): set NAIAD_CACHE_DIR to a writable folder")


@contextmanager
def alone() -> Iterator[None]:
    """Keep other processes that compile much from doing the same work at the same time."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        lock = os.open(folder() / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)  # which gives the lock up


def replace(path: Path, data: bytes) -> None:
    """Give a file other contents, whole: no reader sees a part of them."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


_told: set[str] = set()


def tell(what: str) -> None:
    """Warn once."""
    if what not in _told:
        _told.add(what)
        warnings.warn(what, RuntimeWarning, stacklevel=2)
