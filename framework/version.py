"""Versions: of naiad, and of what it was built against, which is nothing: kernels are compiled where they run."""

from __future__ import annotations

from naiad import __version__

cuda: str | None = None
hip: str | None = None
xpu: str | None = None
rocm: str | None = None
git_version: str | None = None
debug = False

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "rocm", "xpu"]
