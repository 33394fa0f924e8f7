"""Threads of matrix products and the determinism switch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import naiad


def test_threads_are_set_and_read() -> None:
    pytest.importorskip("threadpoolctl", reason="needs the examples extra: pip install 'naiad[examples]'")
    before = naiad.get_num_threads()
    naiad.set_num_threads(1)
    assert naiad.get_num_threads() == 1
    naiad.set_num_threads(before)
    assert naiad.get_num_threads() == before
    with pytest.raises(RuntimeError, match="expects a positive integer, but got 0"):
        naiad.set_num_threads(0)
    with pytest.raises(TypeError, match="expects an int, but got float"):
        naiad.set_num_threads(1.0)  # type: ignore[arg-type]


def test_missing_threadpoolctl_is_named() -> None:
    code = "import sys; sys.modules['threadpoolctl'] = None; import naiad; naiad.set_num_threads(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install threadpoolctl" in done.stderr and done.returncode == 1


def test_determinism_switch() -> None:
    assert not naiad.are_deterministic_algorithms_enabled()
    naiad.use_deterministic_algorithms(True)
    assert naiad.are_deterministic_algorithms_enabled()
    naiad.use_deterministic_algorithms(False)
