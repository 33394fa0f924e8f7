"""The runner: its data model, the gate before the clock, the figures, what it writes, and the cases it comes with."""

import csv
import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import naiad
from naiad import bench
from naiad.bench import cases_products, runner_report
from naiad.bench.__main__ import main, select
from naiad.bench.cases import CASES, Case, Result, Roofline, Run, case, chosen, itemsize
from naiad.bench.cases_table import table_cases
from naiad.bench.runner import Runner, Settings, difference, shown
from naiad.bench.timing import interleaved

LIBRARIES = ("naiad", "numpy")


@pytest.fixture(autouse=True)
def own_cases():
    assert cases_products.define  # imported, so that the built-in cases are there
    before = dict(CASES)
    yield
    CASES.clear()
    CASES.update(before)


def double(**facts):
    given = {"inputs": lambda random, n: {"x": random.standard_normal(n)}, "axes": {"n": (1000,)}} | facts
    return case("test/double", **given)(lambda x: 2 * x)


def settings(**facts):
    return Settings(**{"libraries": LIBRARIES, "rounds": 2, "seconds": 1e-4, **facts})


# ---------------------------------------------------------------- the model
def test_points_are_the_product_of_the_axes_with_a_dtype():
    made = double(
        axes={"n": (1, 2), "dtype": ("float32", "float64")}, overrides={"cpu": {"n": (3,)}, "quick": {"n": (0,)}}
    )
    assert list(made.points("cuda")) == [{"dtype": d, "n": n} for d in ("float32", "float64") for n in (1, 2)]
    assert [p["n"] for p in made.points("cpu")] == [3, 3]
    assert [p["n"] for p in made.points("cpu", quick=True)] == [0, 0]
    assert list(double(axes={}).points("cpu")) == [{"dtype": "float32"}]
    assert made.family == "test"


def test_functions_get_what_they_name():
    given = {"x": 1, "n": 2, "dtype": "float32"}
    assert chosen(lambda x, dtype: 0, given) == {"x": 1, "dtype": "float32"}
    assert chosen(lambda **rest: 0, given) == given
    assert (itemsize("bfloat16"), itemsize("float64")) == (2, 8)


def test_providers_have_names_of_their_own_and_known_libraries():
    made = double()
    made.provider("naiad")(lambda m, x: x * 2)
    made.provider("naiad", "naiad, added")(lambda m, x: x + x)
    with pytest.raises(ValueError, match="has a provider 'naiad' already: give this one a name="):
        made.provider("naiad")
    with pytest.raises(ValueError, match="one of naiad, numpy, torch, cupy, not 'jax'"):
        made.provider("jax")
    with pytest.raises(ValueError, match="there is a case 'test/double' already"):
        CASES["test/double"].source = "elsewhere"
        double()


# ---------------------------------------------------------------- the gate and the clock
def test_only_what_is_right_is_timed():
    made = double()
    made.provider("naiad")(lambda m, x: x * 2)
    made.provider("naiad", "wrong")(lambda m, x: x * 2.001)
    made.provider("naiad", "another shape")(lambda m, x: x[:5])
    made.provider("naiad", "raises")(lambda m, x: x.nothing())
    made.provider("numpy")(lambda m, x: x * 2)
    made.provider("cupy")(lambda m, x: x * 2)
    results = {r.provider: r for r in Runner(settings(libraries=("naiad", "numpy", "cupy"))).run(made)}
    assert {name: r.status for name, r in results.items()} == {
        "naiad": "ok", "wrong": "wrong", "another shape": "wrong", "raises": "failed", "numpy": "ok", "cupy": "missing"
    }  # fmt: skip
    assert [len(r.seconds) for r in results.values()] == [2, 0, 0, 0, 2, 0]
    assert results["wrong"].error == pytest.approx(5e-4, rel=1e-2)
    assert results["wrong"].note == "differs from the reference by 0.0005 of its largest value; 3e-05 allowed"
    assert "AttributeError" in results["raises"].note
    assert results["cupy"].note
    assert results["naiad"].ratio == pytest.approx(results["naiad"].median / results["numpy"].median)


def test_the_reference_sees_rounded_inputs_and_gradients_can_be_asked_for():
    made = double(axes={"n": (100,), "dtype": ("bfloat16",)}, grads=("x",))
    made.provider("naiad")(lambda m, x: (2 * x * x).sum() and m.autograd.grad((x * x).sum(), [x])[0])
    (result,) = Runner(settings(timed=False)).run(made)
    assert (result.status, result.error) == ("not timed", 0.0)


def test_figures_follow_from_seconds_bytes_and_flops(monkeypatch):
    made = double(axes={"n": (1_000_000,)}, flops=lambda n: 5 * n)
    made.provider("naiad")(lambda m, x: x * 2)
    made.provider("numpy")(lambda m, x: x * 2)
    times = {"naiad": [0.004, 0.002, 0.001], "numpy": [0.001]}
    monkeypatch.setattr(Runner, "_time", lambda self, calls: {k: times[k] for k in calls})
    runner = Runner(settings())
    runner.roofline = Roofline(bandwidth=8e9, peaks={"float32": 1e12})
    ours, theirs = runner.run(made)
    assert (ours.bytes, ours.flops, ours.median) == (8_000_000, 5e6, 0.002)
    assert (ours.gigabytes_per_second, ours.teraflops) == (4.0, 0.0025)
    assert (ours.bound, ours.roofline, ours.ratio) == ("memory", 50.0, 2.0)
    assert (theirs.roofline, theirs.ratio) == (100.0, 0.5)
    runner.roofline.peaks["float32"] = 2e9
    assert runner.run(made)[0].bound == "compute"


def test_the_roofline_is_measured():
    found = Runner(settings(quick=True)).measure_roofline([double(axes={"dtype": ("float32", "int64")})])
    assert found.bandwidth > 1e6
    assert list(found.peaks) == ["float32"]
    assert found.by["copy"] in LIBRARIES


def test_interleaved_waits_for_the_device_before_each_look_at_the_clock():
    said = []
    interleaved({"a": lambda: said.append("call")}, 2, 1e-9, lambda: said.append("wait"))
    assert said[-3:] == ["wait", "call", "wait"]


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([np.nan, 2.0], [np.nan, 2.0], 0.0),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([-np.inf], [np.inf], np.inf),
        ([True, False], [True, True], 1.0),
        ([], [], 0.0),
    ],
)
def test_difference(got, expected, error):
    assert difference([np.array(got)], [np.array(expected)]) == pytest.approx(error)


# ---------------------------------------------------------------- the cases that come with it
def _all(kind, libraries):
    runner = Runner(Settings(kind, libraries, quick=True, timed=False))
    return [r for c in select([], [], "", False) for r in runner.run(c)]


def test_built_in_cases_are_right_on_the_cpu():
    libraries = [n for n in ("naiad", "numpy", "torch") if n != "torch" or _has("torch")]
    results = _all("cpu", libraries)
    assert {r.case for r in results} == set(CASES) and len(CASES) > 30
    assert {r.library for r in results} == set(libraries)
    wrong = [f"{r.case} {r.provider}: {r.status}: {r.note}" for r in results if r.status != "not timed"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for one")
def test_built_in_cases_are_right_on_cuda():
    wrong = [f"{r.case}: {r.note}" for r in _all("cuda", ["naiad"]) if r.status in ("wrong", "failed")]
    assert not wrong, "\n".join(wrong)


def test_cases_of_the_op_table_are_right():
    libraries = ["naiad", "torch"] if _has("torch") else ["naiad"]
    runner = Runner(Settings("cpu", libraries, quick=True, timed=False))
    found = table_cases()
    assert len(found) > 50
    wrong = [
        f"{r.case}: {r.provider}: {r.note}" for c in found for r in runner.run(c) if r.status in ("wrong", "failed")
    ]
    assert not wrong, "\n".join(wrong)


def _has(library):
    return find_spec(library) is not None


# ---------------------------------------------------------------- the command
USER_FILE = """
import numpy as np
import naiad
from naiad import bench, library

@bench.case("mine/half", axes={"n": (64, 128)}, inputs=lambda random, n: {"x": random.standard_normal(n)})
def half(x):
    return x / 2

half.provider("naiad")(lambda m, x: x * FACTOR)
half.provider("numpy")(lambda m, x: x / 2)

@library.op("mine::third", rule=lambda x, by: x, samples=lambda s: [s.call(s(8)), s.call(s(2, 2), by=4.0)])
def third(x, *, by=3.0):
    return x / np.asarray(by, x.dtype)
"""


@pytest.fixture
def user_file(tmp_path):
    def write(factor):
        path = tmp_path / "mine.py"
        path.write_text(USER_FILE.replace("FACTOR", factor))
        return str(path)

    yield write
    for user_op in naiad.library.registered():
        if user_op.name == "mine::third":
            naiad.library.remove(user_op.name)


OPTIONS = ["--device", "cpu", "--rounds", "1", "--seconds", "0.0001", "--provider", "naiad,numpy", "--quick"]


def test_a_users_file_runs_and_writes_json_and_csv(user_file, tmp_path, capsys):
    files = ["--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv")]
    assert main([user_file("0.5"), *OPTIONS, *files]) == 0
    printed = capsys.readouterr().out
    assert "mine/half  dtype=float32 n=128" in printed
    assert "roofline, measured now: copy" in printed
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["schema"] == 1
    assert [r["case"] for r in found["results"]] == ["mine/half"] * 4 + ["mine::third"] * 4
    assert {r["status"] for r in found["results"]} == {"ok"}
    assert found["facts"]["libraries"]["naiad"] == naiad.__version__
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert rows[0]["point"] == "dtype=float32 n=64"
    assert float(rows[0]["median"]) == pytest.approx(found["results"][0]["median"])


def test_a_wrong_result_is_told_and_ends_with_1(user_file, capsys):
    assert main([user_file("0.6"), *OPTIONS, "--filter", "half"]) == 1
    printed = capsys.readouterr().out
    assert "wrong: differs from the reference by 0.2 of its largest value" in printed
    assert "2 of naiad's results are wrong or failed, the first: mine/half" in printed


def test_list_filter_and_names(capsys):
    assert main(["--list", "--device", "cpu", "--filter", "softmax"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["softmax/forward", "softmax/forward and gradient"]
    assert "dtype=float32 shape=2048x1024" in lines[0]
    assert main(["table/naiad.exp", "--list", "--device", "cpu"]) == 0
    assert "table/naiad.exp " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing like this"], "no such case; --list names them"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["--provider", "naiad,jax"], "--provider jax: there are naiad, numpy, torch, cupy"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--json", "/nowhere/at/all.json"], "there is no folder /nowhere/at"),
    ],
)
def test_commands_that_make_no_sense(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_cuda_is_asked_for_where_there_is_none(monkeypatch, capsys):
    monkeypatch.setenv("NAIAD_CUDA", "")
    monkeypatch.setattr(naiad.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["softmax", "--device", "cuda"])
    assert "--device cuda: cuda is not available" in capsys.readouterr().err


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for one")
def test_on_the_simulated_device_results_are_checked_and_nothing_is_timed(user_file, capsys):
    assert main([user_file("0.5"), "--device", "cuda", "--provider", "naiad,numpy", "--filter", "half"]) == 0
    printed = capsys.readouterr().out
    assert "note: the cuda device is simulated here" in printed
    assert "not timed: simulated: right, but its time means nothing" in printed
    assert "not here: numpy is for the cpu" in printed


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for one")
def test_the_kernel_of_the_examples_is_right_and_can_be_timed(capsys):
    pytest.importorskip("triton", reason="needs triton: pip install 'naiad[test]'")
    example = str(Path(__file__).parents[1] / "examples" / "my_kernel.py")
    try:
        assert main([example, "--device", "cuda", "--provider", "naiad"]) == 0
        assert capsys.readouterr().out.count("not timed: simulated: right") == 3
        assert main([example, *OPTIONS]) == 0
        assert "mine::scale_add_relu  dtype=float32 call=check 0: 4x5, 4x5, alpha=2.0" in capsys.readouterr().out
        assert "kernel = body, 3 samples" in str(naiad.library.check("mine::scale_add_relu"))
    finally:
        naiad.library.remove("mine::scale_add_relu")


def test_the_static_report_is_made_by_the_compiler_and_not_in_the_interpreter(monkeypatch):
    pytest.importorskip("triton", reason="needs triton: pip install 'naiad[test]'")
    ran = []
    done = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda command, env, check: ran.append((command, env)) or done)
    assert main(["--static", "sm_100"]) == 3
    ((command, environment),) = ran
    assert command[1:] == ["-m", "naiad.kernels.aot", "--report", "--arch", "100"]
    assert not {"NAIAD_CUDA", "TRITON_INTERPRET"} & set(environment)


# ---------------------------------------------------------------- the report
class Nvml:
    """A driver that knows a few things."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    closed = 0

    def __init__(self, fails=False):
        self.fails = fails

    def nvmlInit(self):
        if self.fails:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self):
        self.closed += 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return b"A GPU"

    def nvmlDeviceGetClockInfo(self, handle, which):
        return 1000 * which

    def __getattr__(self, name):
        def unknown(*args):
            raise self.NVMLError("Not Supported")

        return unknown


def test_gpu_facts():
    nvml = Nvml()
    facts = runner_report.gpu_facts(0, nvml)
    assert (facts["name"], facts["sm_mhz"], facts["memory_mhz"]) == ("A GPU", 1000, 2000)
    assert facts["not told"]["power_watts"] == "Not Supported"
    assert nvml.closed == 1
    assert runner_report.gpu_facts(0, Nvml(fails=True)) == {"note": "no NVML facts: Driver Not Loaded"}


def test_table_and_json_of_odd_results():
    odd = Result("a/b", "a", {"shape": (2, 3)}, "naiad", "naiad", "cpu", "wrong", "differs", error=float("inf"))
    assert runner_report.table([odd]) == ["a/b  shape=2x3", "    naiad    wrong: differs"]
    assert json.loads(runner_report.to_json(Run({}, Roofline(), [odd])))["results"][0]["error"] == "inf"
    assert runner_report.duration(2.5e-6) == "2.5 us"
    assert runner_report.duration(3e-10) == "0.3 ns"
    assert shown({"n": 3, "shape": (1, 2)}) == "n=3 shape=1x2"


def test_the_public_names():
    assert bench.case is case
    assert bench.Case is Case
    assert bench.run(["--list", "--device", "cpu", "softmax"]) == 0
