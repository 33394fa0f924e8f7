"""Checkpoints: PyTorch's own zip format, written atomically and read without running anything that a file brings."""

from naiad.serialization.files import get_unsafe_globals_in_checkpoint, load, save
from naiad.serialization.locations import default_restore_location
from naiad.serialization.safe_globals import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

__all__ = [
    "save",
    "load",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "default_restore_location",
]
