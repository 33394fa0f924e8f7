"""The checked-in ``*.pyi`` files say what the op table has today."""

import importlib.util
from pathlib import Path

import pytest

from naiad import Tensor

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def make_stubs():
    spec = importlib.util.spec_from_file_location("make_stubs", ROOT / ".ci" / "make_stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stubs_are_up_to_date(make_stubs):
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in make_stubs.stubs().items()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, f"run `make stubs` and commit {', '.join(stale)}"


def test_every_stub_is_a_generated_one(make_stubs):
    """A stub that nothing writes would go stale without a word."""
    folders = ("framework", "kernels", "autograd", "nn", "bench")
    present = {path for folder in folders for path in (ROOT / folder).rglob("*.pyi")}
    assert present == set(make_stubs.stubs())


def test_a_signature_is_written_with_its_types_and_defaults(make_stubs):
    def clamp(input: Tensor, low: "float | None" = None, *, device=None) -> tuple[Tensor, int]:
        """Between two bounds.

        More about it.
        """

    stub = make_stubs.Stub()
    stub.define("clamp", clamp)
    assert stub.lines == [
        "def clamp(input: Tensor, low: _float | None = None, *, device: _device | _str | _int | None = None)"
        " -> tuple[Tensor, _int]:",
        '    """Between two bounds."""',
    ]
    assert "from builtins import float as _float" in stub.imports
    assert "from naiad.core.tensor import Tensor" in stub.imports
