"""The handle that a `register_*_hook` call returns: of modules and of optimizers alike."""

from naiad.nn.modules._hooks import RemovableHandle

__all__ = ["RemovableHandle"]
