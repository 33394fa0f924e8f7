"""Compiling every kernel ahead of time, with no GPU present: `python -m naiad.kernels.aot [--report] [--arch 90 ...]`.

One representative launch per kernel and dtype class is recorded and compiled for each architecture, into the cache that
the launcher reads; what came out is printed: registers, bytes of registers that did not fit (spills) and of tables that
the program itself keeps in local memory, shared memory, the widest loads and stores, and which tensor-core and
bulk-copy instructions there are. A second run reads it from the cache.

The launches come from a module that this package does not know, because it stands below the op table: `--cases` names
it. It has `CASES` and `THOROUGH`, dicts from a name to a function that launches, and may have `excuse(entry, triton)`,
which gives the reason for letting a spill pass.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import triton

from naiad.kernels import compiler, cubin_cache, interpreting
from naiad.kernels.launch import recording

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
CASES = "naiad.bench.aot_cases"
TENSOR = ("wgmma.mma_async", "tcgen05.mma", "mma.sync", "cp.async.bulk", "cp.async.cg")
TABLE = re.compile(r"\.local\s+\.align\s+\d+\s+\.b8\s+\w+\[(\d+)\]")
ACCESS = re.compile(r"\b(ld|st)\.global[\w.:]*?(?:\.v(\d))?\.[bfus](\d+)")


@dataclass(frozen=True)
class Entry:
    """What came out for one launch of a case.

    local: bytes of local memory per thread; spilled: those of them that registers had no room for, the rest being
    tables. load, store: bytes of the widest access to global memory.
    """

    case: str
    kernel: str
    arch: int
    registers: int
    local: int
    spilled: int
    shared: int
    load: int
    store: int
    has: tuple[str, ...]
    seconds: float


# ---------------------------------------------------------------- compiling
def facts(made: Any) -> dict[str, Any]:
    """What a kernel that Triton compiled uses, and which instructions it is made of."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    used = {k: int(v) for k, v in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", shown)}
    ptx = made.asm["ptx"]
    local, tables = used["STACK"] + used["LOCAL"], sum(-(-int(size) // 8) * 8 for size in TABLE.findall(ptx))
    widest = {"ld": 0, "st": 0}
    for kind, count, bits in ACCESS.findall(ptx):
        widest[kind] = max(widest[kind], int(count or 1) * int(bits) // 8)
    return {
        "registers": used["REG"],
        "local": local,
        "spilled": max(local - tables, 0),
        "shared": made.metadata.shared,
        "load": widest["ld"],
        "store": widest["st"],
        "has": [name for name in TENSOR if name in ptx],
    }


@cache
def _recorded(module: str, case: str) -> tuple[tuple, ...]:
    """The launches of a case."""
    cases = import_module(module)
    with recording() as launches:
        ({**cases.CASES, **cases.THOROUGH})[case]()
    return tuple(launches)


@cache
def _specialized(module: str, case: str, number: int) -> tuple[Any, compiler.Specialization, tuple]:
    kernel, _, args, constexprs, options = _recorded(module, case)[number]
    return kernel, compiler.specialize(kernel, args, constexprs), tuple(options.values())


def _name(module: str, case: str, number: int, arch: int) -> str:
    """The key of a launch's machine code."""
    return compiler.key_of(*_specialized(module, case, number), arch)


def _compile(module: str, case: str, number: int, arch: int) -> tuple[dict[str, Any], float]:
    """A launch's facts, compiled if need be, and the seconds that it took. Runs in worker processes too."""
    start = time.perf_counter()
    made = compiler.compiled(*_specialized(module, case, number), arch, facts)
    return made.facts["extra"], time.perf_counter() - start


def compile_all(
    names: Sequence[str],
    architectures: Sequence[int] = ARCHITECTURES,
    module: str = CASES,
    jobs: int | None = None,
    told: Callable[[str], None] | None = None,
) -> list[Entry]:
    """Compile cases for architectures, those that the cache does not have in `jobs` processes (default: one a core)."""
    wanted = [(case, i, arch) for case in names for i in range(len(_recorded(module, case))) for arch in architectures]
    done: dict[tuple[str, int, int], tuple[dict, float]] = {}
    missing: dict[str, tuple[str, int, int]] = {}  # launches that compile to the same are compiled once
    for item in wanted:
        key = _name(module, *item)
        kept = cubin_cache.facts(key)
        if kept is not None and "extra" in kept:
            done[item] = kept["extra"], 0.0
        else:
            missing.setdefault(key, item)
    for item, result in _in_processes(module, list(missing.values()), jobs):
        done[item] = result
        if told is not None:
            told(f"{item[0]} for sm_{item[2]}: {result[1]:.1f} s ({len(done)} of {len(wanted)})")
    entries = []
    for item in wanted:
        found, seconds = done[item] if item in done else (done[missing[_name(module, *item)]][0], 0.0)
        case, number, arch = item
        kernel = _recorded(module, case)[number][0].__name__
        entries.append(Entry(case, kernel, arch, seconds=round(seconds, 3), **{**found, "has": tuple(found["has"])}))
    return entries


def _in_processes(module: str, items: list[tuple[str, int, int]], jobs: int | None) -> Iterator[tuple]:
    jobs = min(jobs or os.cpu_count() or 1, len(items))
    if jobs <= 1:
        for item in items:
            yield item, _compile(module, *item)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {item: pool.submit(_compile, module, *item) for item in items}
        for item, future in running.items():
            yield item, future.result()


# ---------------------------------------------------------------- telling
def table(entries: Sequence[Entry]) -> str:
    """One line per launch and architecture."""
    columns = f"{'sm':>4}{'regs':>6}{'spill':>7}{'table':>7}{'shared':>8}{'ld':>4}{'st':>4}"
    lines = [f"{'case':<34}{'kernel':<26}{columns}  instructions"]
    for e in entries:
        memory = f"{e.spilled:>7}{e.local - e.spilled:>7}{e.shared:>8}{e.load:>4}{e.store:>4}"
        lines.append(f"{e.case[:33]:<34}{e.kernel[:25]:<26}{e.arch:>4}{e.registers:>6}{memory}  {' '.join(e.has)}")
    return "\n".join(lines)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m naiad.kernels.aot", description=__doc__.split("\n\n")[0])
    parser.add_argument("--report", action="store_true", help="print a line per kernel and architecture")
    parser.add_argument(
        "--arch", type=int, nargs="+", default=list(ARCHITECTURES), help="as 80 or 90; default: all six"
    )
    parser.add_argument("--json", metavar="FILE", help="write what came out; - for the standard output")
    parser.add_argument("--case", action="append", metavar="TEXT", help="only cases whose name has this in it")
    parser.add_argument("--thorough", action="store_true", help="also the cases that take long to compile")
    parser.add_argument("--cases", default=CASES, metavar="MODULE", help="where the launches are")
    parser.add_argument("--jobs", type=int, help="processes that compile; default: one a core")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 1 where a kernel spills and nothing excuses it."""
    given = _arguments(arguments)
    if interpreting() or os.environ.get("TRITON_INTERPRET") == "1":
        print("NAIAD_CUDA=interpret and TRITON_INTERPRET=1 leave nothing to compile: unset them", file=sys.stderr)
        return 2
    start = time.perf_counter()
    cases = import_module(given.cases)
    names = [*cases.CASES, *(cases.THOROUGH if given.thorough else ())]
    if given.case:
        names = [name for name in names if any(text in name for text in given.case)]
    with cubin_cache.alone():
        entries = compile_all(names, given.arch, given.cases, given.jobs, None if given.json == "-" else print)
    made = json.dumps({"triton": triton.__version__, "entries": [asdict(e) for e in entries]}, indent=1)
    excuse = getattr(cases, "excuse", lambda entry, version: None)
    spilling = [(e, excuse(e, triton.__version__)) for e in entries if e.spilled]
    status = int(any(why is None for _, why in spilling))
    if given.json == "-":
        print(made)
        return status
    if given.json:
        Path(given.json).write_text(made + "\n")
    if given.report:
        print(table(entries))
    fresh = sum(1 for e in entries if e.seconds)
    print(
        f"{len(entries)} kernels for {', '.join(f'sm_{a}' for a in given.arch)} with Triton {triton.__version__}: "
        f"{fresh} compiled, {len(entries) - fresh} from {cubin_cache.folder()}, {len(spilling)} spill; "
        f"{time.perf_counter() - start:.1f} s"
    )
    for e, why in spilling:
        print(f"  {e.case}: {e.kernel} for sm_{e.arch} spills {e.spilled} bytes: {why or 'NOT ON THE LIST'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
