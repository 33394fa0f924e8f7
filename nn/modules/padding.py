"""Padding by a constant, by reflection, by the edge, and around the ends."""

from __future__ import annotations

from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules._args import ntuple
from naiad.nn.modules.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """``padding`` is one amount for every side, or one per side: last dimension first, left before right."""

    _dims: int
    _mode: str

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        self.padding = ntuple(padding, 2 * self._dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_Pad):
    _mode = "reflect"


class _ReplicationPadNd(_Pad):
    _mode = "replicate"


class _CircularPadNd(_Pad):
    _mode = "circular"


class _ConstantPadNd(_Pad):
    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_ConstantPadNd):
    """``value`` around the last dimension."""

    _dims = 1


class ConstantPad2d(_ConstantPadNd):
    """``value`` around the last two dimensions."""

    _dims = 2


class ConstantPad3d(_ConstantPadNd):
    """``value`` around the last three dimensions."""

    _dims = 3


class ZeroPad1d(_ZeroPadNd):
    """Zeros around the last dimension."""

    _dims = 1


class ZeroPad2d(_ZeroPadNd):
    """Zeros around the last two dimensions."""

    _dims = 2


class ZeroPad3d(_ZeroPadNd):
    """Zeros around the last three dimensions."""

    _dims = 3


class ReflectionPad1d(_ReflectionPadNd):
    """The last dimension mirrored at the edges."""

    _dims = 1


class ReflectionPad2d(_ReflectionPadNd):
    """The last two dimensions mirrored at the edges."""

    _dims = 2


class ReflectionPad3d(_ReflectionPadNd):
    """The last three dimensions mirrored at the edges."""

    _dims = 3


class ReplicationPad1d(_ReplicationPadNd):
    """The edges of the last dimension repeated."""

    _dims = 1


class ReplicationPad2d(_ReplicationPadNd):
    """The edges of the last two dimensions repeated."""

    _dims = 2


class ReplicationPad3d(_ReplicationPadNd):
    """The edges of the last three dimensions repeated."""

    _dims = 3


class CircularPad1d(_CircularPadNd):
    """The last dimension wrapped around."""

    _dims = 1


class CircularPad2d(_CircularPadNd):
    """The last two dimensions wrapped around."""

    _dims = 2


class CircularPad3d(_CircularPadNd):
    """The last three dimensions wrapped around."""

    _dims = 3
