"""Names for how a tensor lies in memory: memory formats, and layouts."""

from __future__ import annotations


class memory_format:
    """An order of elements in memory. Instances are singletons."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"naiad.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class layout:
    """How elements are stored: strided is the one layout there is."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"naiad.{self.name}"

    def __reduce__(self) -> str:
        return self.name


memory_format.__module__ = layout.__module__ = "naiad"

strided = layout("strided")

contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
FORMATS = (contiguous_format, preserve_format, channels_last, channels_last_3d)
