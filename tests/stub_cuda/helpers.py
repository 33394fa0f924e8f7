"""Reading what the stub driver library remembers."""

import ctypes
import struct
from typing import NamedTuple

PARAMETERS = 256


class _Launch(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 512),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared", ctypes.c_uint32),
        ("stream", ctypes.c_uint64),
        ("count", ctypes.c_int),
        ("value", ctypes.c_uint64 * PARAMETERS),
        ("attributes", ctypes.c_int),
    ]


class Launch(NamedTuple):
    """One launch; `values` are the parameters' bytes as whole numbers."""

    name: str
    grid: tuple
    block: tuple
    shared: int
    stream: int
    values: list
    attributes: int = 0  # how many: clusters, cooperative launches and the like

    @property
    def floats(self):
        return [struct.unpack("<fI", struct.pack("<Q", v))[0] for v in self.values]

    @property
    def doubles(self):
        return [struct.unpack("<d", struct.pack("<Q", v))[0] for v in self.values]


class Stub:
    def __init__(self, library):
        self.library = library
        library.stub_launch.restype = ctypes.POINTER(_Launch)
        library.stub_launches.restype = library.stub_loads.restype = ctypes.c_long

    def last(self, back=0):
        """The last launch, or the one so many before it."""
        x = self.library.stub_launch(ctypes.c_long(back)).contents
        return Launch(
            x.name.decode(), tuple(x.grid), tuple(x.block), x.shared, x.stream, list(x.value[: x.count]), x.attributes
        )

    def launches(self):
        """How many launches there have been."""
        return self.library.stub_launches()

    def loads(self):
        """How many modules have been loaded."""
        return self.library.stub_loads()

    def fail(self, function, code):
        """Let the next call of a function of the driver fail."""
        self.library.stub_fail(function.encode(), code)
