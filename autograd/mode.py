"""Grad modes under the names of `torch.autograd`."""

from naiad.core.inference import inference_mode
from naiad.core.state import enable_grad, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
