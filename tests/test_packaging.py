"""The wheel holds every module of the five folders under its name in naiad, the types, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import naiad

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"framework": "naiad", "kernels": "naiad/kernels", "autograd": "naiad/autograd"}
FOLDERS |= {"nn": "naiad/nn", "bench": "naiad/bench"}
SHIPPED = {".py", ".pyi", ".json", ".typed"}


def files_by_name_in_wheel() -> dict[str, Path]:
    """What the wheel must hold: its path there and the file it comes from."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder)
            if path.is_file() and (path.suffix in SHIPPED or path.name == "py.typed") and "results" not in inside.parts:
                found[f"{package}/{inside.as_posix()}"] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """A wheel built from a copy of the sources, so that no leftover of an earlier build slips in."""
    copy = tmp_path_factory.mktemp("sources")
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy)
    (copy / "bench" / "results").mkdir(exist_ok=True)
    (copy / "bench" / "results" / "figures.json").write_text("{}")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_every_module_and_nothing_else(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == set(files_by_name_in_wheel())


def test_wheel_holds_the_types_the_licence_and_the_extras(wheel):
    names = wheel.namelist()
    assert "naiad/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    about = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    needs = [line for line in about.splitlines() if line.startswith("Requires-Dist:")]
    base = {line.split()[1].split(">")[0] for line in needs if "extra ==" not in line}
    assert base == {"numpy", "ml_dtypes"}
    extras = {line.split()[1] for line in about.splitlines() if line.startswith("Provides-Extra:")}
    assert {"cpu", "cuda12", "cuda13", "examples", "test", "oracle", "dev"} == extras


def test_every_folder_of_modules_is_a_package():
    """A folder without ``__init__.py`` would be left out of the wheel without a word."""
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert sorted(str(path) for path in folders if not (path / "__init__.py").is_file()) == []


def test_version_is_the_same_everywhere():
    assert naiad.__version__ == metadata.version("naiad")
