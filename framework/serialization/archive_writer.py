"""The zip archive that PyTorch calls a checkpoint, written front to back.

Records are stored, not compressed, and their data starts at multiples of 64 bytes, so that a reader can map them into
memory. Sizes and checksums follow the data in descriptors, as in PyTorch's files, so nothing is ever sought: a pipe
or a socket will do as the target.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from typing import Any

ALIGNMENT = 64
_ELSEWHERE = 0xFFFFFFFF  # in a 32-bit field: the value is in the 64-bit field
_LIMIT = _ELSEWHERE  # sizes and offsets from here on need 64 bits
_UTF8 = 0x800
_DESCRIPTOR = 0x8
_CHUNK = 1 << 26  # the kernel takes less than 2 GiB per write


class ArchiveWriter:
    """Writes records through `write`, all of them under the folder `prefix`, then the directory in `close`."""

    def __init__(self, write: Callable[[Any], int | None], prefix: str) -> None:
        self._write, self._prefix = write, prefix
        self._position = 0
        self._directory: list[tuple[bytes, int, int, int, int]] = []

    def record(self, name: str, data: Any) -> None:
        """Add one record; data is anything that holds contiguous bytes."""
        view = memoryview(data).cast("B")
        path = f"{self._prefix}/{name}".encode()
        start, size, crc = self._position, len(view), zlib.crc32(view)
        wide = start >= _LIMIT or size >= _LIMIT
        flags = _UTF8 | (_DESCRIPTOR if size else 0)
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if wide else b""
        fixed = 30 + len(path) + len(extra) + 4
        padding = -(start + fixed) % ALIGNMENT
        extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding
        told = _ELSEWHERE if wide else 0
        self._put(
            struct.pack(
                "<IHHHHHIIIHH", 0x04034B50, 45 if wide else 0, flags, 0, 0, 0, 0, told, told, len(path), len(extra)
            )
        )
        self._put(path + extra)
        self._put(view)
        if size:
            self._put(struct.pack("<IIQQ" if wide else "<IIII", 0x08074B50, crc, size, size))
        self._directory.append((path, flags, crc, size, start))

    def close(self) -> None:
        """Write the record that identifies the contents, then the directory."""
        digest = hashlib.sha256(b"".join(path + struct.pack("<I", crc) for path, _, crc, _, _ in self._directory))
        self.record(".data/serialization_id", f"{int(digest.hexdigest(), 16) % 10**40:040d}".encode())
        start = self._position
        for entry in self._directory:
            self._put(_directory_entry(*entry))
        size, count = self._position - start, len(self._directory)
        if start >= _LIMIT or size >= _LIMIT or count >= 0xFFFF:
            end = self._position
            self._put(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, start))
            self._put(struct.pack("<IIQI", 0x07064B50, 0, end, 1))
        count = min(count, 0xFFFF)
        self._put(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, _narrow(size), _narrow(start), 0))

    def _put(self, data: Any) -> None:
        view = memoryview(data)
        self._position += len(view)
        while len(view):
            written = self._write(view[:_CHUNK])
            view = view[len(view[:_CHUNK]) if written is None else written :]


def _directory_entry(path: bytes, flags: int, crc: int, size: int, start: int) -> bytes:
    wide = [value for value in (size, size, start) if value >= _LIMIT]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = 45 if wide else 0
    sizes = (_narrow(size), _narrow(size), len(path), len(extra))
    fields = (version, version, flags, 0, 0, 0, crc, *sizes, 0, 0, 0, 0, _narrow(start))
    return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, *fields) + path + extra


def _narrow(value: int) -> int:
    """What a 32-bit field says of a value."""
    return value if value < _LIMIT else _ELSEWHERE
