"""Mixed precision: `autocast`, and `GradScaler` for float16."""

from naiad.amp.autocast import autocast, is_autocast_available

autocast.__module__ = "naiad.amp"

__all__ = ["autocast", "is_autocast_available"]
