"""Triton kernels with their launch functions, one file per family; nothing here imports the rest of naiad.

Modules of this package import Triton at their top, so they are imported at first use and never by ``import naiad``.
With ``NAIAD_CUDA=interpret`` the kernels run in Triton's interpreter. Triton decides that once, when it is imported,
so this package, whose body runs before any of its modules, sets ``TRITON_INTERPRET``.
"""

import os
import sys

if __name__ != "naiad.kernels":
    raise ImportError(f"this folder is naiad.kernels, not {__name__!r}: pip install -e . and import naiad.kernels")


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter on host memory (the simulated cuda device)."""
    return os.environ.get("NAIAD_CUDA") == "interpret"


def _choose_interpreter() -> None:
    language = sys.modules.get("triton.language")
    if language is not None and not hasattr(language.sum, "rewriter"):
        raise RuntimeError(
            "NAIAD_CUDA=interpret: triton was imported before naiad's kernels and without its interpreter, which it "
            "cannot change any more. Set TRITON_INTERPRET=1 in the environment of the process"
        )
    os.environ["TRITON_INTERPRET"] = "1"


if interpreting():
    _choose_interpreter()
