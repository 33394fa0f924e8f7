"""Who may import whom: reads every import of the package with ``ast`` and holds it to the tiers.

kernels < (dtype, device, state) < autograd.record < core and ops < autograd < nn < services < naiad itself.
"""

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"framework": "naiad", "kernels": "naiad.kernels", "autograd": "naiad.autograd"}
FOLDERS |= {"nn": "naiad.nn", "bench": "naiad.bench"}

# tier -> the tiers it may import (itself always). "join" is naiad/__init__, through which user code sees everything.
MAY_IMPORT = {
    "kernels": set(),
    "base": set(),
    "record": {"base"},
    "core": {"base", "record"},
    "autograd": {"base", "record", "core"},
    "nn": {"base", "record", "core", "autograd", "join"},
    "services": {"base", "record", "core", "autograd", "nn", "join"},
    "bench": {"base", "record", "core", "autograd", "nn", "services", "kernels", "join"},
    "join": {"base", "record", "core", "autograd", "nn", "services", "bench", "kernels"},
}
BASE = {"naiad.core.dtype", "naiad.core.device", "naiad.core.state"}
BACKEND = "naiad.core.backend"
HEAVY = {"triton", "cupy", "cupyx", "numba", "pynvml"}
WITH_CUPY = "naiad.core.cupy_"  # modules of this prefix are CuPy's side of the core, loaded at first use
COMPARED_WITH = {"torch", "tensorflow", "jax"}


class Import(NamedTuple):
    """One import as it stands in a file: what is named, at which line, and whether it runs when the file does."""

    name: str
    line: int
    at_top: bool


def tier(module: str) -> str:
    """The tier that a module of naiad belongs to."""
    if module in BASE:
        return "base"
    if module == "naiad.autograd.record":
        return "record"
    first = module.split(".")[1] if "." in module else ""
    if first in {"core", "ops"}:
        return "core"
    if first in {"kernels", "autograd", "nn", "bench"}:
        return first
    return "services" if first else "join"


def module_name(path: Path) -> str:
    """``nn/modules/linear.py`` -> ``naiad.nn.modules.linear``; a package's __init__ has the package's name."""
    folder, *inside = path.relative_to(ROOT).with_suffix("").parts
    parts = [FOLDERS[folder], *inside]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    """Whether the dotted name is a module of naiad, and not a name inside one."""
    if name == "naiad":
        return True
    for folder, package in sorted(FOLDERS.items(), key=lambda pair: -len(pair[1])):
        if name == package or name.startswith(package + "."):
            stem = ROOT.joinpath(folder, *name.removeprefix(package).split("."))
            return stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()
    return False


def imports(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """Every import that runs, with relative ones resolved; ``naiad.optim`` touched as an attribute counts too."""
    package = module if is_package else module.rpartition(".")[0]

    def walk(node: ast.AST, at_top: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from walk(child, at_top)
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if is_module(inner) else base, node.lineno, at_top)
        elif isinstance(node, ast.Attribute) and is_module(touched := ast.unparse(node)):
            yield Import(touched, node.lineno, False)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_top and not inside)

    yield from walk(ast.parse(source), True)


def complaint(module: str, found: Import) -> str | None:
    """Why this import breaks the layering, or None."""
    mine, root = tier(module), found.name.split(".")[0]
    if root in COMPARED_WITH and mine != "bench":
        return "other frameworks are imported in tests and bench only"
    if found.name.startswith(WITH_CUPY) and found.at_top and not module.startswith(WITH_CUPY):
        return "it is imported at first use, inside a function"
    if root in HEAVY and found.at_top and mine != "kernels" and not (root == "cupy" and module.startswith(WITH_CUPY)):
        return f"{root} is imported at first use, inside a function"
    if root in FOLDERS:
        return "this is a folder of the repository; import it by its name in naiad"
    if root != "naiad":
        return None
    theirs = tier(found.name)
    if theirs == mine or theirs in MAY_IMPORT[mine]:
        return None
    if module == BACKEND and theirs == "kernels":
        return "kernels are imported at first use, inside a function" if found.at_top else None
    return f"{mine} may import {', '.join(sorted(MAY_IMPORT[mine])) or 'nothing of naiad'}, not {theirs}"


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_every_import_keeps_to_its_tier():
    wrong = []
    for path in sources():
        module = module_name(path)
        for found in imports(path.read_text(), module, path.name == "__init__.py"):
            if why := complaint(module, found):
                wrong.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.name}: {why}")
    assert not wrong, "\n" + "\n".join(dict.fromkeys(wrong))


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_programs_import_naiad_by_its_name(folder):
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for found in imports(path.read_text(), path.stem, False)
        if found.name.split(".")[0] in FOLDERS
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("naiad.kernels.softmax", "import naiad"),
        ("naiad.kernels.softmax", "def f():\n    from naiad.core import dtype"),
        ("naiad.autograd.record", "from ..core.tensor import Tensor"),
        ("naiad.core.tensor", "from naiad.autograd import engine"),
        ("naiad.core.tensor", "def f():\n    from ..autograd.engine import backward"),
        ("naiad.core.tensor", "from naiad import nn"),
        ("naiad.core.backend", "from naiad.kernels import launch"),
        ("naiad.core.dispatch", "def f():\n    import naiad.kernels"),
        ("naiad.ops.unary", "import triton"),
        ("naiad.core.cupy_memory", "import triton"),
        ("naiad.core.backend", "from naiad.core.cupy_memory import pool"),
        ("naiad.autograd.engine", "from naiad.nn import Module"),
        ("naiad.nn.modules.linear", "import torch"),
        ("naiad.nn.modules.linear", "def f():\n    import torch.nn.functional"),
        ("naiad.nn.modules.linear", "import naiad\nx = naiad.serialization"),
        ("naiad.optim.adam", "try:\n    import numba\nexcept ImportError:\n    numba = None"),
        ("naiad.optim.adam", "from nn import Module"),
    ],
)
def test_what_breaks_the_layering_is_found(module, line, monkeypatch):
    known = {"naiad", "naiad.nn", "naiad.serialization", "naiad.core.dtype", "naiad.autograd.engine"}
    monkeypatch.setitem(imports.__globals__, "is_module", known.__contains__)
    assert any(complaint(module, found) for found in imports(line, module, False))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("naiad.kernels.softmax", "import triton\nfrom . import launcher\nfrom .launcher import launch"),
        ("naiad.core.tensor", "from ..autograd.record import Node\nfrom naiad.ops import unary"),
        ("naiad.core.backend", "def f():\n    from naiad.kernels import softmax"),
        ("naiad.core.storage", "def f():\n    import cupy"),
        ("naiad.core.cupy_interop", "import cupy\nfrom naiad.core.cupy_memory import pool"),
        ("naiad.core.tensor", "if TYPE_CHECKING:\n    from naiad.autograd.engine import Node"),
        ("naiad.nn.modules.linear", "import naiad\nfrom naiad import Tensor\nfrom .. import functional as F"),
        ("naiad.optim.adam", "import naiad\nfrom naiad.nn import Parameter\nx = naiad.zeros"),
        ("naiad.bench.step", "import torch"),
    ],
)
def test_what_the_layering_allows_passes(module, line):
    assert [complaint(module, found) for found in imports(line, module, False) if complaint(module, found)] == []


def run(code: str, cwd: Path | str = "/", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_is_quick(tmp_path):
    """`python -c "import naiad"` takes under 0.3 s, the interpreter and NumPy included.

    Seconds of processor time, since other tests run beside; the best of six, the first of which compiles.
    """
    taken = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("import naiad", PYTHONPYCACHEPREFIX=str(tmp_path), OPENBLAS_NUM_THREADS="1")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
    assert min(taken) < 0.3


def test_import_leaves_heavy_packages_alone_and_reaches_everything():
    code = """
import sys, naiad
heavy = {"numba", "triton", "cupy", "torch", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, f"import naiad loaded {sorted(heavy)}"
names = ["utils.data.DataLoader", "optim.lr_scheduler.CosineAnnealingLR", "optim.AdamW", "nn.Linear"]
names += ["nn.functional.relu", "nn.init.kaiming_uniform_", "autograd.Function", "cuda.is_available"]
for name in names:
    thing = naiad
    for part in name.split("."):
        thing = getattr(thing, part)
    assert callable(thing), name
heavy = {"numba", "triton", "cupy", "torch", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, f"touching {names} loaded {sorted(heavy)}"
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_folder_refuses_another_name(folder):
    """From the repository's root ``import nn`` would load a second copy of every class."""
    done = run(f"import {folder}", cwd=ROOT)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert FOLDERS[folder] in done.stderr


def test_the_name_of_the_package_works_from_the_root():
    done = run("import naiad.nn, naiad.autograd; print(naiad.nn.__name__)", cwd=ROOT)
    assert done.stdout == "naiad.nn\n", done.stderr
