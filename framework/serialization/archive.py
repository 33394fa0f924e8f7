"""The zip archive that PyTorch calls a checkpoint, read with suspicion.

Only stored (uncompressed) records are read, only where the directory and the record agree, and never more bytes than
the file has, so that a small file cannot ask for much memory. Nothing is extracted to disk.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

_MAX_VERSION = 10
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class Archive:
    """The records of one checkpoint. `source` names the file in errors.

    Raises RuntimeError for what is not a checkpoint of PyTorch's zip format, EOFError for an empty file.
    """

    def __init__(self, file: BinaryIO, source: str) -> None:
        self.source = source
        self._file = file
        self._start = file.tell()
        self._size = file.seek(0, 2)
        _check_beginning(self, file, self._start)
        try:
            entries = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, OverflowError, ValueError, struct.error) as error:
            raise self.error(f"failed reading zip archive: {error}. The file is damaged or incomplete") from error
        self._entries = self._checked(entries)
        self.prefix = self._find_prefix()
        if "constants.pkl" in self or any(name.startswith("code/") for name in self.names()):
            raise self.error(
                "this is a TorchScript archive, which holds a program and not only data. Load it with "
                "torch.jit.load in PyTorch and save its state_dict()"
            )
        self._check_version()

    def error(self, message: str) -> RuntimeError:
        """An error that names the file."""
        return RuntimeError(f"naiad.load: {self.source}: {message}")

    def names(self) -> list[str]:
        """Names of the records, without the archive's own folder."""
        cut = len(self.prefix) + 1
        return [name[cut:] for name in self._entries if name.startswith(self.prefix + "/")]

    def __contains__(self, name: str) -> bool:
        return f"{self.prefix}/{name}" in self._entries

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._size - self._start

    def read(self, name: str) -> np.ndarray:
        """A record's bytes as a fresh, writable uint8 ndarray. Raises RuntimeError if the checksum does not fit."""
        start, size = self.locate(name)
        data = np.empty(size, np.uint8)
        self._file.seek(start)
        self._fill(data, name)
        if zlib.crc32(data.data) != self._entries[f"{self.prefix}/{name}"].CRC:
            raise self.error(f"record {name!r} has a wrong checksum: the file is damaged")
        return data

    def locate(self, name: str) -> tuple[int, int]:
        """Where in the file a record's data starts, and how many bytes it has."""
        info = self._entries.get(f"{self.prefix}/{name}")
        if info is None:
            raise self.error(f"record {name!r} is not in the archive")
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise self.error(f"record {name!r} has no header where the directory says: the file is damaged")
        name_size, extra_size = struct.unpack("<HH", header[26:])
        if self._file.read(name_size).decode("utf-8", "replace") != info.orig_filename:
            raise self.error(f"record {name!r} has another name in its own header: the file is damaged")
        start = info.header_offset + 30 + name_size + extra_size
        if start + info.file_size > self._size:
            raise self.error(f"record {name!r} says it has {info.file_size} bytes, past the end of the file")
        return start, info.file_size

    def _fill(self, data: np.ndarray, name: str) -> None:
        view = data.data
        into = getattr(self._file, "readinto", None)
        while len(view):
            if into is not None:
                count = into(view[: 1 << 26])
            else:
                chunk = self._file.read(min(len(view), 1 << 24))
                count = len(chunk)
                view[:count] = chunk
            if not count:
                raise self.error(f"record {name!r} ends {len(view)} bytes early: the file is incomplete")
            view = view[count:]

    def _checked(self, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for info in entries:
            name = info.orig_filename
            parts = name.split("/")
            if "\\" in name or "\0" in name or ":" in parts[0] or parts[0] == "" or ".." in parts or "." in parts:
                raise self.error(f"the archive has a record with the path {name!r}, which no checkpoint has")
            if name in found:
                raise self.error(f"the archive has two records named {name!r}")
            if info.flag_bits & 0x1 or info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise self.error(
                    f"record {name!r} is compressed or encrypted; a checkpoint's records are stored as they are. "
                    "If you packed the file again, pack it with zip -0"
                )
            found[name] = info
        if sum(info.file_size for info in entries) > self.size:
            raise self.error("the records say they have more bytes than the file: the file is damaged")
        if not entries or min(info.header_offset for info in entries) != self._start:
            raise self.error("failed reading zip archive: its records do not begin where the file begins")
        return found

    def _find_prefix(self) -> str:
        found = [name[: -len("/data.pkl")] for name in self._entries if name.endswith("/data.pkl")]
        found = [prefix for prefix in found if "/" not in prefix]
        if len(found) != 1:
            told = "no record 'data.pkl'" if not found else "more than one record 'data.pkl'"
            raise self.error(f"the zip archive has {told}: it is not a checkpoint")
        return found[0]

    def _check_version(self) -> None:
        name = "version" if "version" in self else ".data/version"
        version = bytes(self.read(name)).strip()
        if not version.isdigit() or len(version) > 9 or not 1 <= int(version) <= _MAX_VERSION:
            told = version[:20].decode("ascii", "replace")
            raise self.error(f"format version {told!r}; versions 1 to {_MAX_VERSION} can be read")


def _check_beginning(archive: Archive, file: BinaryIO, start: int) -> None:
    """Raise the error that fits where a file is not a zip archive, or an empty one."""
    file.seek(start)
    beginning: Any = file.read(265)
    if not isinstance(beginning, bytes):
        raise TypeError(f"naiad.load: {archive.source}: expected a file opened in binary mode ('rb')")
    if not beginning:
        raise EOFError(f"naiad.load: {archive.source}: ran out of input: the file is empty")
    file.seek(start)
    if beginning[:4] == b"PK\x03\x04":
        return
    if beginning.startswith(_LEGACY) or beginning[257:262] == b"ustar":
        raise archive.error(
            "the file has a format from before PyTorch 1.6. Load it in PyTorch and save it again with torch.save, "
            "which writes the zip format by default"
        )
    raise archive.error("the file is not a zip archive, so not a checkpoint (or its beginning is damaged)")
