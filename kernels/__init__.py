"""Triton kernels with their launch functions, one file per family; nothing here imports the rest of naiad.

Modules of this package import Triton at their top, so they are imported at first use and never by ``import naiad``.
"""

if __name__ != "naiad.kernels":
    raise ImportError(f"this folder is naiad.kernels, not {__name__!r}: pip install -e . and import naiad.kernels")
