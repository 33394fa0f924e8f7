"""The runner: ``naiad-bench`` or ``python -m naiad.bench``. Cases against their references, then against the clock."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from naiad.bench.cases import CASES, Case, Result, Run
from naiad.bench.runner import Runner, Settings, shown
from naiad.bench.runner_libraries import KINDS

BUILT_IN = ("naiad.bench.cases_ops", "naiad.bench.cases_products")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("naiad-bench", description=__doc__)
    made.add_argument(
        "what",
        nargs="*",
        metavar="NAME|FILE.py",
        help="cases whose name contains it, or files that define cases and ops",
    )
    made.add_argument("--list", action="store_true", help="name the cases and their points, and run nothing")
    made.add_argument("--filter", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    made.add_argument("--table", action="store_true", help="also every elementwise entry of the op table")
    made.add_argument("--provider", default=",".join(KINDS), metavar="A,B", help="libraries (default %(default)s)")
    made.add_argument("--dtype", default="", metavar="A,B", help="only these dtypes")
    made.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: a GPU if there is one")
    made.add_argument(
        "--rounds", type=int, default=7, help="rounds, of which the median is taken (default %(default)s)"
    )
    made.add_argument("--seconds", type=float, default=0.02, help="per provider and round (default %(default)s)")
    made.add_argument("--quick", action="store_true", help="tiny sizes: shows that all is right, not how fast it is")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    made.add_argument("--csv", type=Path, metavar="FILE", help="write one line per result")
    made.add_argument(
        "--static", nargs="?", const="90", metavar="ARCH", help="no timing: compile the kernels for sm_ARCH and report"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run it. Returns 0, or 1 where a provider of naiad was wrong or failed, or 2 for a command that makes no sense."""
    command = parser()
    options = command.parse_args(arguments)
    if options.static is not None:
        return static_report(options.static)
    wanted = [n for n in options.provider.split(",") if n]
    strange = [n for n in wanted if n not in KINDS]
    if strange:
        command.error(f"--provider {','.join(strange)}: there are {', '.join(KINDS)}")
    if options.rounds < 1 or not options.seconds > 0:
        command.error("--rounds must be at least 1 and --seconds above 0")
    for path in (options.json, options.csv):
        if path is not None and not path.absolute().parent.is_dir():
            command.error(f"{path}: there is no folder {path.absolute().parent}")
    files = [w for w in options.what if w.endswith(".py")]
    names = [w for w in options.what if not w.endswith(".py")]
    for file in files:
        if not Path(file).is_file():
            command.error(f"there is no file {file}")
    cases = select(files, names, options.filter, options.table)
    if not cases:
        command.error("no such case; --list names them")
    device, timed = pick_device(command, options.device)
    dtypes = [d for d in options.dtype.split(",") if d]
    settings = Settings(device, wanted, dtypes, options.rounds, options.seconds, options.quick or not timed, timed)
    if options.list:
        for case in cases:
            points = [shown(p) for p in case.points(device, settings.quick)]
            print(f"{case.name:32} {' | '.join(points)}   ({', '.join(p.name for p in case.providers)})")
        return 0
    return run(cases, settings, options.json, options.csv)


def select(files: list[str], names: list[str], text: str, table: bool) -> list[Case]:
    """The cases asked for: a file's own and those of its ops, or the built-in ones; then those with the names."""
    from naiad.bench.cases_table import library_cases, table_cases

    if files:
        before = set(CASES)
        for file in files:
            load(Path(file))
        found = [c for name, c in CASES.items() if name not in before] + library_cases()
    else:
        for module in BUILT_IN:
            importlib.import_module(module)
        found = [*CASES.values(), *library_cases()]
    if table or any(n.startswith("table/") for n in [*names, text]):
        found += table_cases()
    return [c for c in found if text in c.name and (not names or any(n in c.name for n in names))]


def load(path: Path) -> None:
    """Run a user's file, which registers cases and ops."""
    name = f"naiad_bench_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.absolute().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.absolute().parent))


def pick_device(command: argparse.ArgumentParser, asked: str) -> tuple[str, bool]:
    """The device, and whether its times mean anything."""
    from naiad import cuda
    from naiad.core import backend

    if asked == "cpu":
        return "cpu", True
    real = cuda.is_available() and not backend.simulated()
    if asked == "auto":
        return ("cuda" if real else "cpu"), True
    if not cuda.is_available():
        command.error(f"--device cuda: {backend.why_no_cuda()}")
    return "cuda", real


def run(cases: list[Case], settings: Settings, json: Path | None = None, csv: Path | None = None) -> int:
    """Run cases and print as they come."""
    from naiad.bench import runner_report as report

    runner = Runner(settings)
    found = Run(report.facts(settings.device, runner.libraries, settings.timed), runner.roofline, [])
    if settings.timed:
        runner.measure_roofline(cases)
    else:
        print("note: the cuda device is simulated here: results are checked, at small sizes, and nothing is timed")
    print(*report.heading(found), sep="\n")
    reasons = [why for why in runner.missing.values() if why]
    if reasons:
        print("not here:", "; ".join(reasons))
    print()
    for case in cases:
        results = runner.run(case)
        found.results += results
        lines = report.table([r for r in results if not (r.status == "missing" and runner.missing[r.library])])
        if lines:
            print(*lines, sep="\n", flush=True)
    if settings.timed:
        print(f"\n{report.LEGEND}")
        if settings.device == "cpu":
            print("No GPU was timed. `naiad-bench --static 90` compiles the kernels for one and reports on them.")
    if json is not None:
        json.write_text(report.to_json(found))
    if csv is not None:
        report.write_csv(found, csv)
    return verdict(found.results)


def verdict(results: list[Result]) -> int:
    """1 where something of naiad is wrong or failed; the rest is told in the table."""
    bad = [r for r in results if r.library == "naiad" and r.status in ("wrong", "failed")]
    if bad:
        print(f"\n{len(bad)} of naiad's results are wrong or failed, the first: {bad[0].case}: {bad[0].note}")
    return 1 if bad else 0


def static_report(arch: str) -> int:
    """What the kernels compile to, without a GPU: registers, spills, shared memory, tensor-core instructions."""
    if importlib.util.find_spec("triton") is None:
        print("naiad-bench --static: triton is not installed: pip install 'naiad[cuda12]'", file=sys.stderr)
        return 2
    if not hasattr(importlib.import_module("naiad.kernels.aot"), "main"):
        print("naiad-bench --static: naiad.kernels.aot has no report in this version", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "naiad.kernels.aot", "--report", "--arch", arch.removeprefix("sm_")]
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
