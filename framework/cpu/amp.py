"""Mixed precision on the cpu under its older names: `naiad.amp` has the present ones."""

from naiad.amp.older import CpuAutocast as autocast
from naiad.amp.older import CpuGradScaler as GradScaler

__all__ = ["GradScaler", "autocast"]
