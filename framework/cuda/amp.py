"""Mixed precision on cuda under its older names: `naiad.amp` has the present ones."""

from naiad.amp.older import CudaAutocast as autocast
from naiad.amp.older import CudaGradScaler as GradScaler
from naiad.amp.older import cuda_custom_bwd as custom_bwd
from naiad.amp.older import cuda_custom_fwd as custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
