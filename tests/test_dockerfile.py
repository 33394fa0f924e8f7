"""The Dockerfile without Docker: that it holds together, and what its entry point does on hosts of every kind.

CI carries the same file out in clean environments (`.ci/docker_check.py`).
"""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text()


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check, entry = load("docker_check"), load("docker_entry")
LINES = check.instructions(TEXT)
LAST = max(i for i, (keyword, _) in enumerate(LINES) if keyword == "FROM")
FINAL = LINES[LAST:]


def of(keyword, lines=None):
    return [rest for k, rest in lines or LINES if k == keyword]


# ---------------------------------------------------------------- the file
def test_sources_of_copies_are_in_the_repository():
    named = [w for rest in of("COPY") if "--from=" not in rest for w in shlex.split(rest)[:-1]]
    assert named
    missing = [w for w in named if not (ROOT / w).exists()]
    assert not missing
    assert not [w for w in named if w.startswith("/") or ".." in w]


def test_every_folder_of_the_package_is_copied_for_the_wheel():
    setup = (ROOT / "setup.py").read_text()
    folders = set(re.findall(r'"naiad[.\w]*": "(\w+)"', setup))
    copied = {w for rest in of("COPY") if "--from=" not in rest for w in shlex.split(rest)[:-1]}
    assert len(folders) == 5
    assert folders | {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= copied


def test_stages_copied_from_exist():
    names = {rest.partition(" AS ")[2] for rest in of("FROM")}
    assert set(re.findall(r"--from=(\S+)", TEXT)) <= names


def test_the_container_does_not_run_as_root():
    users = of("USER", FINAL)
    assert users, "no USER: the container would run as root"
    assert users[-1] not in ("root", "0")
    assert any(rest.startswith("useradd ") and rest.endswith(users[-1]) for rest in of("RUN", FINAL))
    assert [k for k, _ in FINAL].index("USER") > max(i for i, (k, _) in enumerate(FINAL) if k in ("RUN", "COPY"))


def test_images_and_packages_come_from_where_everybody_gets_them():
    for rest in of("FROM"):
        image = rest.split()[0]
        assert re.fullmatch(r"python:\$\{PYTHON\}-slim", image), f"{image}: the plain official image, by its short name"
    assert not re.findall(r"https?://|--index-url|--extra-index|trusted-host", TEXT)
    assert ":latest" not in TEXT


def test_packages_are_wheels_and_leave_no_cache():
    installs = [c for rest in of("RUN") for c in re.split(r"&&|;", rest) if "pip install" in c or "pip wheel" in c]
    assert len(installs) == 3
    for command in installs:
        assert "--no-cache-dir" in command
        assert "--only-binary :all:" in command or "--no-deps" in command


def test_a_changed_source_does_not_install_the_dependencies_again():
    order = [rest for k, rest in FINAL if k in ("RUN", "COPY")]
    needs = next(i for i, rest in enumerate(order) if "--requirement requirements.txt" in rest)
    before = " ".join(rest for rest in order[:needs] if not rest.startswith("useradd"))
    assert before == "pyproject.toml .ci/requirements.py ./"


def test_entry_point_is_a_list_and_its_file_is_there():
    (point,) = (json.loads(rest) for rest in of("ENTRYPOINT", FINAL))
    assert point[0] == "python"
    assert (ROOT / ".ci" / Path(point[1]).name).is_file()
    assert Path(point[1]).parent == Path(of("WORKDIR", FINAL)[-1])


def test_the_gpu_is_asked_for_and_cuda_is_one_of_the_extras():
    environment = " ".join(of("ENV", FINAL))
    assert "NVIDIA_VISIBLE_DEVICES=all" in environment
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment
    assert dict(rest.split("=") for rest in of("ARG", FINAL))["CUDA"] in entry.NEEDS


def test_instructions_joins_lines_and_drops_comments():
    assert check.instructions("# x\nRUN a \\\n    && b\n\ncopy c d\n") == [("RUN", "a && b"), ("COPY", "c d")]
    assert check.expand("a${B}c", {"B": "-"}) == "a-c"
    with pytest.raises(KeyError):
        check.expand("${B}", {})


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_requirements_are_those_of_the_project(extra):
    command = [sys.executable, ROOT / ".ci" / "requirements.py", extra, "examples"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert any(line.startswith("numpy>=") for line in lines)
    assert any(line.startswith(f"cupy-{extra}x") for line in lines)
    assert {"matplotlib", "tqdm", "nvidia-ml-py"} <= set(lines)


def test_requirements_refuses_an_unknown_extra():
    command = [sys.executable, ROOT / ".ci" / "requirements.py", "cuda11"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no extra cuda11; there are cpu, cuda12" in done.stderr


# ---------------------------------------------------------------- the entry point
class Driver:
    """A CUDA driver library of a version, with so many GPUs."""

    def __init__(self, version=13000, gpus=1, init=0):
        self.version, self.gpus, self.init = version, gpus, init

    def __call__(self, name):
        assert name == "libcuda.so.1"
        return self

    def cuInit(self, flags):
        return self.init

    def cuDriverGetVersion(self, place):
        place._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, place):
        place._obj.value = self.gpus
        return 0


def no_driver(name):
    raise OSError(name)


@pytest.mark.parametrize(
    ("cuda", "driver", "said"),
    [
        ("12", no_driver, "there is no GPU in this container: start it with `docker run --gpus all ...`"),
        ("12", Driver(11080), "too old: it supports CUDA 11.8, this image needs 12.0. Update the driver to 525.60"),
        (
            "13",
            Driver(12080),
            "supports CUDA 12.8, this image needs 13.0. .* or build the image with --build-arg CUDA=12",
        ),
        ("12", Driver(init=100), "shows no GPU: start the container with `docker run --gpus all"),
        ("12", Driver(gpus=0), "shows no GPU"),
        ("12", Driver(init=999), "does not start: cuInit gives error 999. Does `nvidia-smi` work"),
    ],
)
def test_why_there_is_no_gpu(cuda, driver, said):
    assert re.search(said, entry.trouble(cuda, driver))


def test_a_gpu_is_no_trouble():
    assert entry.trouble("12", Driver(12000)) is None
    assert entry.trouble("13", Driver(13000, gpus=8)) is None


def test_what_is_run():
    python = sys.executable
    assert entry.command([], None) == (
        [python, str(ROOT / ".ci" / "examples" / "train_digits.py"), "--device", "cuda"],
        None,
    )
    run, note = entry.command([], "no GPU")
    assert run is None
    assert note.startswith("naiad: no GPU.\nnaiad: to train on the CPU instead: docker run IMAGE python ")
    assert entry.command(["bench", "--list"], None) == ([python, "-m", "naiad.bench", "--list"], None)
    run, note = entry.command(["bench"], "no GPU")
    assert run == [python, "-m", "naiad.bench"]
    assert note.endswith("so this measures the CPU")
    assert entry.command(["ls", "-l"], None) == (["ls", "-l"], None)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [(["sh", "-c", "exit 7"], 7, ""), (["no-such-thing"], 127, "no-such-thing: No such")],
)
def test_other_commands_are_run_as_they_are(arguments, status, said):
    command = [sys.executable, ROOT / ".ci" / "docker_entry.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]})
    assert done.returncode == status
    assert said in done.stderr
