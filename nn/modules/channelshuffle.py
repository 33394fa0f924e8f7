"""Channels of groups interleaved."""

from __future__ import annotations

from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules.module import Module

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """The C channels of (N, C, ...), seen as (groups, C / groups), transposed."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
