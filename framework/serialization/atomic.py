"""Files that are replaced whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when the block ends without an exception.

    The bytes go to a new file in the same folder, reach the disk (fsync), and only then get the name, in one step;
    the folder is synced after that. Whoever opens `path` sees the old file or the new one, also after a crash.
    A process that is killed may leave a file ``.NAME.XXXXXXXX.tmp`` behind. A replaced file keeps its permissions
    (and its owner, where the process may set it); a new one gets those that ``open`` would give. Links are followed.
    What is not a regular file (a device, a pipe) is opened and written directly.
    """
    target = os.path.realpath(path)
    old = _existing(target)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise RuntimeError(f"{os.fspath(path)} is a directory: name a file in it")
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(target, "wb") as file:
            yield file
        return
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist. Make it first: os.makedirs({folder!r})")
    # Many file systems limit a name to 255 bytes, so a long one is cut.
    temporary = os.path.join(folder, f".{name[:60]}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                _like(descriptor, old)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _existing(target: str) -> os.stat_result | None:
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


def _like(descriptor: int, old: os.stat_result) -> None:
    if not hasattr(os, "fchmod"):
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        # Only a privileged process may give files away; as anyone else the new file is our own.
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: str) -> None:
    """Make the new name durable; where folders cannot be opened (Windows) the system does it by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the file itself is synced and in its place.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
