"""Do what the Dockerfile says without Docker, in clean virtual environments, and start what comes out.

Every instruction is carried out in order under a temporary folder that stands for the image's root: COPY copies, RUN
runs in bash with the environment's Python first on the PATH, ENV and ARG are set. Only what needs root (useradd) is
left out. Then the entry point is started as `docker run` would, with the commands that users are told.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS_ROOT = ("useradd",)


def instructions(text: str) -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(keyword.upper(), " ".join(rest.split())) for keyword, _, rest in found]


def expand(text: str, values: dict[str, str]) -> str:
    """The text with ${NAME} filled in. Raises KeyError for a name that is not set."""
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


class Stage:
    """One FROM and what follows it: a folder that stands for its root, and a virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.root, self.cwd = folder / "root", Path("/")
        self.bin = folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=True)
        self.root.mkdir(parents=True)
        kept = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k.startswith(("PIP_", "SSL_"))}
        own = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        self.environment = kept | own
        self.values: dict[str, str] = {}

    def place(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / str(self.cwd / path).lstrip("/")

    def copy(self, rest: str, stages: dict[str, "Stage"]) -> None:
        words = shlex.split(rest)
        options = [w for w in words if w.startswith("--")]
        *sources, target = [w for w in words if not w.startswith("--")]
        origin = next((stages[o.partition("=")[2]] for o in options if o.startswith("--from=")), None)
        to = self.place(target)
        for source in sources:
            path = origin.place(source) if origin else ROOT / source
            into = to / path.name if target.endswith("/") and path.is_file() else to
            into.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, into, ignore=shutil.ignore_patterns("__pycache__", "runs"), dirs_exist_ok=True)
            else:
                shutil.copy(path, into)

    def run(self, command: list[str], shown: str) -> subprocess.CompletedProcess[str]:
        print(f"+ {shown}", flush=True)
        where = self.place(".")
        where.mkdir(parents=True, exist_ok=True)
        return subprocess.run(command, cwd=where, env=self.environment, capture_output=True, text=True, timeout=1800)


def build(text: str, work: Path) -> tuple[Stage, list[str]]:
    """Carry the Dockerfile out. Returns its last stage and the entry point."""
    stages: dict[str, Stage] = {}
    values: dict[str, str] = {}
    stage: Stage | None = None
    entry: list[str] = []
    for keyword, rest in instructions(text):
        if keyword == "FROM":
            name = rest.partition(" AS ")[2] or f"stage{len(stages)}"
            stage = stages[name] = Stage(work / name)
        elif keyword == "ARG":
            name, _, value = rest.partition("=")
            (stage.values if stage else values)[name] = value
        elif stage is None:
            raise SystemExit(f"Dockerfile: {keyword} before FROM")
        elif keyword == "ENV":
            stage.environment |= dict(w.split("=", 1) for w in shlex.split(expand(rest, values | stage.values)))
        elif keyword == "WORKDIR":
            stage.cwd = Path(rest)
        elif keyword == "COPY":
            stage.copy(rest, stages)
        elif keyword == "RUN" and not rest.startswith(NEEDS_ROOT):
            command = expand(rest, values | stage.values)
            done = stage.run(["bash", "-euc", command], command)
            if done.returncode:
                raise SystemExit(f"{done.stdout}{done.stderr}\nRUN {command}\nended with {done.returncode}")
        elif keyword == "ENTRYPOINT":
            entry = [str(stage.place(w)) if w.startswith("/") else w for w in json.loads(rest)]
    assert stage is not None
    return stage, entry


def start(stage: Stage, entry: list[str], arguments: list[str], status: int, says: str) -> None:
    """`docker run IMAGE arguments`: must end with `status` and say something that matches."""
    done = stage.run([*entry, *arguments], f"docker run IMAGE {shlex.join(arguments)}")
    said = done.stdout + done.stderr
    if done.returncode != status or not re.search(says, said):
        raise SystemExit(f"{said}\nended with {done.returncode}, where {status} was expected, and {says!r} said")


def main() -> int:
    """Build and start; a GPU is used if there is one."""
    with tempfile.TemporaryDirectory(prefix="naiad-image-") as folder:
        stage, entry = build((ROOT / "Dockerfile").read_text(), Path(folder))
        gpu = Path("/dev/nvidia0").exists()
        start(stage, entry, [], 0 if gpu else 1, "test accuracy: " if gpu else "start it with `docker run --gpus all")
        start(stage, entry, ["bench", "--list"], 0, r"softmax/forward .*\(naiad, torch, numpy, cupy\)")
        quick = "--quick --rounds 1 --seconds 0.001 --device cpu".split()
        start(stage, entry, ["bench", "matmul", *quick], 0, r"matmul/square  dtype=float32 n=32\n    naiad ")
        train = "examples/train_digits.py --device cpu --steps 3 --batch 64".split()
        start(stage, entry, ["python", *train], 0, "")
        start(stage, entry, ["python", "-c", "import cupy, naiad, triton; print(naiad.__version__)"], 0, r"^\d+\.\d+")
        start(stage, entry, ["naiad-bench", "--list", "--device", "cpu"], 0, "softmax/forward")
        start(stage, entry, ["sh", "-c", "exit 7"], 7, "")
        start(stage, entry, ["no-such-command"], 127, "No such file")
    print("the image's install and entry-point commands work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
