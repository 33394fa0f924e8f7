"""What a cubin says of its kernels: the sizes of their parameters, read from the ELF file without any tool."""

from __future__ import annotations

import struct
from collections.abc import Iterator

KERNEL_PARAMETER = 0x17  # EIATTR_KPARAM_INFO: index, ordinal, offset, and the size in the upper bits of a word
SIZED = 4  # a record that is followed by so many bytes; others hold their value in place of the count
TABLE, ENTRY = 0x28, 0x3A  # where a 64-bit ELF header says where section headers lie, and how many there are


def sections(code: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of each section. Raises ValueError for bytes that are no 64-bit ELF file."""
    if code[:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", code, TABLE)
    size, count, names = struct.unpack_from("<HHH", code, ENTRY)
    headers = [struct.unpack_from("<IIQQQQ", code, table + size * i) for i in range(count)]
    first = headers[names][4]
    for name, kind, _, _, at, length in headers:
        start = first + name
        yield code[start : code.index(b"\0", start)].decode(), b"" if kind == 8 else code[at : at + length]


def parameters(code: bytes, kernel: str) -> list[int]:
    """Bytes of each parameter of a kernel, in order. Raises ValueError where the cubin does not have the kernel."""
    for name, contents in sections(code):
        if name == f".nv.info.{kernel}":
            return [size for _, size in sorted(_parameters(contents))]
    raise ValueError(f"the cubin says nothing of a kernel {kernel}")


def _parameters(info: bytes) -> Iterator[tuple[int, int]]:
    """(number, bytes) of each parameter that an .nv.info section describes."""
    at = 0
    while at + 4 <= len(info):
        form, attribute, value = struct.unpack_from("<BBH", info, at)
        at += 4
        if form != SIZED:
            continue
        if attribute == KERNEL_PARAMETER:
            _, number, _, packed = struct.unpack_from("<IHHI", info, at)
            yield number, packed >> 18
        at += value
