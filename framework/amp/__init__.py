"""Mixed precision: `autocast`, and `GradScaler` for float16."""

from naiad.amp.autocast_mode import autocast, is_autocast_available
from naiad.amp.custom import custom_bwd, custom_fwd
from naiad.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
