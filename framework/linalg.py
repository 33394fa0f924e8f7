"""Linear algebra under PyTorch's names: what the op table publishes as `linalg`."""

from naiad.core.guard import guarded
from naiad.core.op import PUBLIC

globals().update(guarded(PUBLIC["linalg"]))

__all__ = [*sorted(PUBLIC["linalg"])]
