"""`make gpu` where there is no GPU: the same motions on the CPU, and what it does with parts that fail or hang."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import naiad
from naiad.bench import figures, training

ROOT = Path(__file__).resolve().parents[1]


def load():
    spec = importlib.util.spec_from_file_location("gpu_command", ROOT / ".ci" / "gpu.py")
    module = sys.modules["gpu_command"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


command = load()


@pytest.fixture
def here(monkeypatch):
    """The command with this interpreter, which has naiad, in place of an environment of its own."""
    monkeypatch.setattr(command, "environment", lambda: sys.executable)


def test_a_dry_run_writes_what_a_real_one_does(tmp_path, capsys):
    assert command.main(["--dry", "--only", "facts", "--only", "bench: softmax", "--out", str(tmp_path)]) == 0
    assert "2 of 2 parts passed" in capsys.readouterr().out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["libraries"]["naiad"] == naiad.__version__ and "triton" in facts["versions"]
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert {r["case"] for r in rows} == {"softmax/forward", "softmax/forward and gradient"}
    assert all(r["naiad"] for r in rows)
    assert (tmp_path / "softmax.csv").read_text().count("\n") > len(rows)
    assert (tmp_path / "roofline.svg").read_text().count("<rect") == 1 + len(rows)
    assert "softmax/forward and gradient" in (tmp_path / "README.md").read_text()
    # Its own environment imports this checkout, with nothing installed.
    assert (ROOT / "build/gpu-source/naiad/nn").resolve() == ROOT / "nn"


def test_failing_and_hanging_parts_do_not_stop_the_others(tmp_path, capsys, monkeypatch, here):
    made = [
        command.Part("bad", ["-c", "print('before'); raise SystemExit('broken')"]),
        command.Part("endless", ["-c", "import time; print('on and on', flush=True); time.sleep(60)"]),
        command.Part("good", ["-c", "print('done')"], output="good.txt"),
    ]
    run = command.run
    monkeypatch.setattr(command, "parts", lambda out, dry: made)
    monkeypatch.setattr(
        command, "run", lambda part, python, out, limit: run(part, python, out, 3 if part.name != "good" else 30)
    )
    assert command.main(["--dry", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "1 of 3 parts passed" in told and "not passed: bad, endless" in told
    outcomes = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert [o["status"] for o in outcomes] == ["failed", "out of time", "ok"]
    assert [o["last"] for o in outcomes] == ["broken", "KeyboardInterrupt", "done"]
    assert "on and on" in (tmp_path / "logs/endless.txt").read_text()


def test_what_the_time_does_not_reach_comes_when_it_is_resumed(tmp_path, capsys, monkeypatch, here):
    made = [command.Part(name, ["-c", f"open({str(tmp_path / name)!r}, 'a').write('.')"]) for name in ("one", "two")]
    monkeypatch.setattr(command, "parts", lambda out, dry: made)
    assert command.main(["--dry", "--only", "one", "--out", str(tmp_path)]) == 0
    assert command.main(["--dry", "--resume", "--budget", "1", "--out", str(tmp_path)]) == 1
    assert "not passed: two" in capsys.readouterr().out
    assert command.main(["--dry", "--resume", "--out", str(tmp_path)]) == 0
    outcomes = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert [(o["name"], o["status"]) for o in outcomes] == [("one", "ok"), ("two", "ok")]
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == [".", "."]


def test_the_first_steps_hold_on_the_simulated_device():
    done = subprocess.run(
        [sys.executable, ".ci/gpu_first.py", "--dry"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one add" in done.stdout and "17 of 17 steps held" in done.stdout


def test_a_lost_context_costs_one_step(tmp_path):
    script = tmp_path / "steps.py"
    text = (ROOT / ".ci/gpu_first.py").read_text()
    added = """
STEPS.clear()
@step
def dies():
    global lives
    lives = lambda: False
    raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")
@step
def ends():
    os._exit(7)
@step
def works():
    return "as ever"
"""
    script.write_text(text.replace('if __name__ == "__main__":', added + '\nif __name__ == "__main__":'))
    done = subprocess.run([sys.executable, str(script), "--dry"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["FAILED", "FAILED", "ok", "1"]
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in lines[0] and "ended with 7" in done.stdout and "1 of 3" in lines[-1]


def test_packages_that_are_missing_are_named(capsys, monkeypatch):
    monkeypatch.setattr(command, "NEEDS", ["numpy", "no_such_package"])
    assert command.main(["--dry"]) == 2
    assert f"{sys.executable} lacks no_such_package: take another Python" in capsys.readouterr().err


def test_without_a_gpu_it_says_why(capsys, monkeypatch, here):
    monkeypatch.setattr(command, "missing", lambda dry: [])
    monkeypatch.setattr(command, "gpu", lambda python: (None, "no NVIDIA driver was found"))
    assert command.main([]) == 2
    assert "there is no GPU to run on: no NVIDIA driver was found" in capsys.readouterr().err


def test_every_part_has_what_it_names(tmp_path):
    for dry in (True, False):
        for part in command.parts(tmp_path, dry):
            files = [w for w in part.command if w.startswith(("tests/", "examples/"))]
            assert [f for f in files if not (ROOT / f).exists()] == []
    families = {p.name.removeprefix("bench: ") for p in command.parts(tmp_path, True) if p.name.startswith("bench: ")}
    from naiad.bench.__main__ import select
    from naiad.bench.cases import CASES

    before = dict(CASES)
    try:
        assert {c.family for c in select([], [], "", False) if c.source != "library"} - {"launch"} <= families
    finally:
        CASES.clear()
        CASES.update(before)


def test_ratios_are_to_torch_at_its_best():
    def result(library, provider, median, status="ok"):
        facts = {"family": "f", "case": "f/c", "point": {"n": 4, "shape": [2, 3]}, "roofline": 50.0, "note": ""}
        return facts | {"library": library, "provider": provider, "median": median, "status": status}

    (row,) = command.rows([result("naiad", "naiad", 3.0), result("torch", "a", 4.0), result("torch", "b", 2.0)])
    assert (row["naiad"], row["torch"], row["ratio"], row["point"]) == (3.0, 2.0, 1.5, "n=4 shape=2x3")
    (row,) = command.rows([result("naiad", "naiad", None, "wrong")])
    assert (row["ratio"], row["status"]) == (None, "wrong")
    picture = figures.bars("a < b", [("x & y", 5.0)], "%", 2.0, 4.0)
    assert "a &lt; b" in picture and "x &amp; y" in picture and ">5.00%<" in picture


def test_steps_of_gpu_training_run_anywhere():
    tiny = dict(width=16, blocks=1, heads=2, context=8, batch=2, tokens=20)
    for half in (False, True):
        training.gpt_step(naiad, half=half, **tiny)()
    step = training.optimizer_step(naiad, width=8, blocks=2)
    parameters = step.__self__.param_groups[0]["params"]
    before = parameters[0].clone()
    step()
    assert len(parameters) == 12 and not naiad.equal(before, parameters[0])


def test_a_lost_context_ends_the_process_and_no_more(tmp_path):
    (tmp_path / "conftest.py").write_text(f"""
import runpy
import state
LostContext = runpy.run_path({str(ROOT / "tests" / "conftest.py")!r})["LostContext"]

def pytest_configure(config):
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        watch = LostContext(config)
        watch.lives = lambda: not state.lost
        config.pluginmanager.register(watch)
""")
    (tmp_path / "state.py").write_text("lost = False\n")
    (tmp_path / "test_it.py").write_text("""
import pytest
import state

@pytest.mark.parametrize("n", range(6))
def test_it(n):
    state.lost = n == 2
    assert n not in (1, 2)
""")
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "--rootdir", "."]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    alone = run(command, env=environment)
    assert "context was lost in" in alone.stdout and "2 failed, 1 passed" in alone.stdout, alone.stdout
    workers = run([*command, "-n", "1"], env=environment)
    assert "3 failed, 4 passed" in workers.stdout, workers.stdout  # one of them twice: it fails, and its worker dies
