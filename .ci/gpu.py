"""Everything that a host with a real GPU can tell, in one go: `make gpu`. Writes bench/results/<date>-<gpu>/.

Installs nothing: it takes a Python with NumPy, ml_dtypes, CuPy, Triton, pytest and hypothesis, and for the comparison
PyTorch. An environment made beside the sources sees what this interpreter has, and this checkout as naiad. Each part is
a process of its own, limited to ten minutes; one that fails, hangs or takes the GPU's context with it leaves the others
alone. What says most comes first, and what is known is written after each part. `--budget 500` begins nothing that
would not be over after 500 seconds in all; `--resume` goes on with the parts that have not passed yet. The exit status
is 0 where all parts passed, 1 where one did not, 2 where there is no GPU or a package is missing. `--dry` goes through
the same motions on the CPU and the simulated device, at sizes that say nothing, and writes to build/gpu-dry.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
import venv
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600  # seconds for a part
GRACE = 20  # seconds that a part has for its last words once it is asked to end
LEAST = 15  # a part is not begun with less
NEEDS = "numpy ml_dtypes triton pytest hypothesis".split()
FAMILIES = "matmul attention elementwise softmax norm reduce conv loss copy pool index sort".split()
FIRST = ("matmul", "attention", "elementwise")  # the families that come before the tests
KERNELS = "tests/test_kernels"
OPS = "tests/test_ops_cuda.py"
DEVICES = (
    "test_amp.py test_amp_dtypes.py test_amp_grad_scaler.py test_cuda_fills.py test_cuda_maths.py test_cuda_monitor.py "
    "test_cuda_order.py test_cuda_random.py test_cuda_scatter.py test_library.py test_nn_cuda.py test_ops_indexing.py "
    "test_ops_linear_activation.py test_random.py test_training_curves.py"
).split()
ASK = """
import json, naiad
from naiad.core import backend
real = naiad.cuda.is_available() and not backend.simulated()
print(json.dumps([naiad.cuda.get_device_name(0) if real else None, None if real else backend.why_no_cuda()]))
"""
FACTS = """
import json, sys
from naiad.bench.runner_libraries import KINDS
from naiad.bench.runner_report import facts
device = sys.argv[1]
libraries = {n: k(device) for n, k in KINDS.items() if not k.missing(device)}
found = facts(device, libraries, True)
import importlib.metadata as about
names = "numpy ml_dtypes triton torch cupy-cuda12x cupy-cuda13x nvidia-ml-py pytest pytest-xdist matplotlib".split()
versions = {}
for name in names:
    try:
        versions[name] = about.version(name)
    except about.PackageNotFoundError:
        versions[name] = None
print(json.dumps(found | {"versions": versions}, indent=1, default=str))
"""


@dataclass
class Part:
    """One process: its command after the interpreter, its environment, and where its output goes."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    output: str = ""  # a file for its standard output, beside the log
    told: bool = False  # whether that is shown as well


@dataclass
class Outcome:
    name: str
    status: str  # "ok", "failed", "out of time" or "not begun"
    code: int | None
    seconds: float
    last: str  # the last line that it printed


# ---------------------------------------------------------------- the environment
def environment() -> Path:
    """A Python that imports this checkout as naiad and all that the present one has."""
    folder, tree = ROOT / "build" / "gpu-venv", ROOT / "build" / "gpu-source"
    runpy.run_path(str(ROOT / ".ci" / "typing_tree.py"))["main"](tree)
    if not (folder / "bin" / "python").exists():
        venv.create(folder, system_site_packages=True, with_pip=False, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    kept = [p for p in sys.path if p and Path(p).is_dir() and Path(p).name in ("site-packages", "dist-packages")]
    kept += [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).is_dir()]
    # Our own tree goes first: an installed naiad may be another one.
    lines = [f"import sys; sys.path.insert(0, {str(tree)!r})"]
    lines += [f"import site; site.addsitedir({path!r})" for path in kept]
    (packages / "naiad-source.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin" / "python"


def missing(dry: bool) -> list[str]:
    """The packages that this interpreter lacks for naiad and its tests."""
    return [name for name in [*NEEDS, *(() if dry else ("cupy",))] if importlib.util.find_spec(name) is None]


def gpu(python: Path) -> tuple[str | None, str]:
    """(name of the GPU, "") or (None, why there is none)."""
    done = subprocess.run([python, "-c", ASK], env=clean(), capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    name, why = json.loads(done.stdout.splitlines()[-1])
    return name, why or ""


def clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET", "PYTHONPATH")}


# ---------------------------------------------------------------- the parts
def parts(out: Path, dry: bool) -> list[Part]:
    """All parts, in the order of what one most wants to know."""
    device = "cpu" if dry else "cuda"
    simulated = {"NAIAD_CUDA": "interpret"} if dry else {}
    few = ["--quick", "--rounds", "1", "--seconds", "0.001"] if dry else []
    some = ["-k", "relu or embedding"] if dry else []
    cores = min(len(os.sched_getaffinity(0)), 16)  # each has a context on the GPU
    workers = ["-n", str(cores)] if importlib.util.find_spec("xdist") and not dry else []
    # The host's versions of PyTorch and NumPy may warn of what ours do not: no reason to fail there.
    check = [
        "-m",
        "pytest",
        "-q",
        "-W",
        "default",
        "--maxfail",
        "100",
        *workers,
        "-m",
        "gpu or not gpu" if not dry else "not gpu",
    ]

    def tests(name: str, *files: str) -> Part:
        report = out / f"tests-{name}.xml"
        return Part(f"tests: {name}", [*check, f"--junitxml={report}", *some, *files], simulated)

    def bench(family: str) -> Part:
        files = ["--json", str(out / f"{family}.json"), "--csv", str(out / f"{family}.csv")]
        return Part(
            f"bench: {family}", ["-m", "naiad.bench", "--filter", f"{family}/", "--device", device, *few, *files]
        )

    short = ["--steps", "2", "--batch", "8"] if dry else []
    steps = ["--rounds", "1", "--seconds", "0.001", "--filter", "GPT, batch"] if dry else []
    digits = ["examples/train_digits.py", "--device", device, "--out", str(out / "digits"), *short]
    training = ["-m", "naiad.bench.training", "--device", device, "--json", str(out / "training.json"), *steps]
    tune = ["-m", "naiad.bench.tune", "--dtype", "bfloat16", "--output", str(out / "tuned.json")]
    return [
        Part("first", [".ci/gpu_first.py", *(["--dry"] if dry else [])], output="first.txt", told=True),
        Part("facts", ["-c", FACTS, device], output="facts.json"),
        *(bench(family) for family in FIRST),
        tests("kernels", KERNELS),
        Part("digits", digits),
        Part("bench: training", training, output="training.txt"),
        tests("ops", OPS),
        *(bench(family) for family in FAMILIES if family not in FIRST),
        Part("bench: launch", ["-m", "naiad.bench.launch"], output="launch.txt"),
        tests("devices", *(f"tests/{name}" for name in DEVICES if (ROOT / "tests" / name).is_file())),
        Part("info", ["-m", "naiad.info"], output="info.txt"),
        *([] if dry else [Part("tune", tune, output="tune.txt")]),  # last: what is found changes the others' figures
    ]


def run(part: Part, python: Path, out: Path, limit: float = LIMIT) -> Outcome:
    """Run a part to its end or its limit; what it says goes to logs/NAME.txt.

    Shortly before the limit it is interrupted, as by Ctrl-C, so that tests tell what they have found.
    """
    (out / "logs").mkdir(parents=True, exist_ok=True)
    log = out / "logs" / (re.sub(r"\W+", "-", part.name) + ".txt")
    start = time.monotonic()
    log.write_text("")
    with log.open("a") as errors, (out / part.output).open("w") if part.output else log.open("a") as output:
        process = subprocess.Popen(
            [str(python), *part.command], cwd=ROOT, env=clean() | part.environment, stdout=output, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(max(limit - GRACE, limit / 2))
        except subprocess.TimeoutExpired:
            code = None
            process.send_signal(signal.SIGINT)
            try:
                process.wait(min(GRACE, limit / 2))
            except subprocess.TimeoutExpired:
                pass  # it is killed below
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and what it may have left behind
            except ProcessLookupError:
                pass
            process.wait()
    seconds = round(time.monotonic() - start, 1)
    files = [log, *([out / part.output] if part.output else [])]
    told = "".join(file.read_text(errors="replace") for file in files).strip()
    status = "ok" if code == 0 else "out of time" if code is None else "failed"
    return Outcome(part.name, status, code, seconds, told.splitlines()[-1][:200] if told else "")


# ---------------------------------------------------------------- the results
def collect(out: Path) -> list[dict]:
    """All results of the runner's files in one list."""
    return [r for name in FAMILIES if (out / f"{name}.json").is_file() for r in _read(out / f"{name}.json")["results"]]


def finished(out: Path) -> list[Outcome]:
    """The parts that have passed, by what an earlier run wrote."""
    if not (out / "summary.json").is_file():
        return []
    return [Outcome(**o) for o in _read(out / "summary.json")["parts"] if o["status"] == "ok"]


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def rows(results: list[dict]) -> list[dict]:
    """naiad beside PyTorch: one row per case and point; ratio is naiad's time over PyTorch's."""
    found: dict[tuple, dict[str, dict]] = {}
    for r in results:
        point = " ".join(f"{k}={'x'.join(map(str, v)) if isinstance(v, list) else v}" for k, v in r["point"].items())
        libraries = found.setdefault((r["family"], r["case"], point), {})
        best = libraries.get(r["library"])
        if best is None or (r["median"] and (not best["median"] or r["median"] < best["median"])):
            libraries[r["library"]] = r
    made = []
    for (family, case, point), libraries in found.items():
        ours, theirs = libraries.get("naiad"), libraries.get("torch")
        times = [r["median"] if r else None for r in (ours, theirs)]
        made.append(
            {
                "family": family,
                "case": case,
                "point": point,
                "naiad": times[0],
                "torch": times[1],
                "ratio": times[0] / times[1] if times[0] and times[1] else None,
                "roofline": ours["roofline"] if ours else None,
                "status": ours["status"] if ours else "missing",
                "note": ours["note"] if ours else "",
            }
        )
    return made


def write(out: Path, made: list[dict], outcomes: list[Outcome], name: str, dry: bool) -> None:
    """families.csv, two plots, summary.json, and README.md for people."""
    with (out / "families.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]) if made else ["family"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    figures = runpy.run_path(str(ROOT / "bench" / "figures.py"))
    ratios = [(f"{r['case']} {r['point']}", r["ratio"]) for r in made if r["ratio"]]
    limits = [(f"{r['case']} {r['point']}", r["roofline"]) for r in made if r["roofline"]]
    note = " (dry run: figures mean nothing)" if dry else ""
    if ratios:
        title = f"naiad's time over PyTorch's, {name}{note}"
        (out / "ratio.svg").write_text(figures["bars"](title, ratios, "", 1.0, 3.0))
    if limits:
        title = f"naiad, % of what the measured copy or matmul allows, {name}{note}"
        (out / "roofline.svg").write_text(figures["bars"](title, limits, "%", 100.0, 120.0))
    (out / "summary.json").write_text(
        json.dumps({"gpu": name, "dry": dry, "parts": [asdict(o) for o in outcomes], "rows": made}, indent=1) + "\n"
    )
    lines = [f"# {name}, {date.today()}{note}", "", "| part | outcome | seconds | its last line |", "|---|---|---|---|"]
    for o in outcomes:
        shown = o.last.replace("|", "\\|")
        lines.append(f"| {o.name} | {o.status} | {o.seconds} | {shown} |")
    lines += ["", "| case | point | naiad, µs | torch, µs | ratio | % of roofline |", "|---|---|---|---|---|---|"]
    for r in made:
        times = [f"{1e6 * t:.1f}" if t else "-" for t in (r["naiad"], r["torch"])]
        ratio = f"{r['ratio']:.2f}" if r["ratio"] else f"{r['status']} {r['note']}".strip().replace("|", "\\|")[:80]
        limit = f"{r['roofline']:.0f}" if r["roofline"] else "-"
        lines.append(f"| {r['case']} | {r['point']} | {times[0]} | {times[1]} | {ratio} | {limit} |")
    (out / "README.md").write_text("\n".join(lines) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--dry", action="store_true", help="go through the motions without a GPU")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="only parts whose name has it (repeat for more)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where results go; default bench/results/<date>-<gpu>"
    )
    parser.add_argument("--budget", type=float, metavar="SECONDS", default=float("inf"), help="for all parts together")
    parser.add_argument("--resume", action="store_true", help="leave out the parts that passed before, by the folder")
    given = parser.parse_args(arguments)
    end = time.monotonic() + given.budget
    if lacking := missing(given.dry):
        print(
            f"make gpu: {sys.executable} lacks {', '.join(lacking)}: take another Python (make gpu PYTHON=...), or "
            "install them there",
            file=sys.stderr,
        )
        return 2
    python = environment()
    name, why = ("dry run", "") if given.dry else gpu(python)
    if name is None:
        print(
            f"make gpu: there is no GPU to run on: {why}\n`python -m naiad.info` says more; `make gpu ARGS=--dry` goes "
            "through the motions without one",
            file=sys.stderr,
        )
        return 2
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix("nvidia ")).strip("-")
    out = given.out or (ROOT / "build" / "gpu-dry" if given.dry else ROOT / "bench/results" / f"{date.today()}-{slug}")
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    wanted = [p for p in parts(out, given.dry) if not given.only or any(text in p.name for text in given.only)]
    if not wanted:
        parser.error(f"no part has {' or '.join(given.only)} in its name")
    before = {o.name: o for o in finished(out)} if given.resume else {}
    outcomes = [before[part.name] for part in wanted if part.name in before]
    for part in [part for part in wanted if part.name not in before]:
        print(f"{part.name:<20}", end=" ", flush=True)
        left = end - time.monotonic()
        if left < LEAST:
            outcomes.append(Outcome(part.name, "not begun", None, 0.0, "--resume goes on here"))
        else:
            outcomes.append(run(part, python, out, min(LIMIT, left)))
        done = outcomes[-1]
        print(f"{done.status:<12}{done.seconds:7.1f} s  {done.last[:90]}", flush=True)
        if part.told and done.code is not None:
            print((out / part.output).read_text(), end="", flush=True)
        write(out, rows(collect(out)), outcomes, name, given.dry)  # what is there is kept, whatever comes
    bad = [o.name for o in outcomes if o.status != "ok"]
    print(f"\n{len(outcomes) - len(bad)} of {len(outcomes)} parts passed; results in {out}")
    if bad:
        print(f"not passed: {', '.join(bad)}; what they said is in {out / 'logs'}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
