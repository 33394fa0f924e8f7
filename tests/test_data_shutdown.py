"""DataLoader workers at the end of the program: each case is a program of its own, whose stderr must be clean."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

PATIENCE = 30.0

PROGRAM = """
import os, signal, sys, time
import naiad
from naiad.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __getitem__(self, i):
        time.sleep({pause})
        return naiad.full((20_000,), float(i))
    def __len__(self):
        return 1000

def main():
    loader = DataLoader(Numbers(), num_workers=2, persistent_workers={persistent})
    iterator = iter(loader)
    next(iterator)
    print(*iterator._pool.pids, flush=True)
{body}

if __name__ == "__main__":
    main()
"""


def start(tmp_path, body, pause=0.0, persistent=False):
    path = tmp_path / "program.py"
    text = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "), pause=pause, persistent=persistent)
    path.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_gone(pids):
    deadline = time.monotonic() + PATIENCE
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(running(pid) for pid in pids)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("return", 0, ""),
        ("globals()['kept'] = iterator, loader", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("globals()['kept'] = iterator\nraise ValueError('in the program')", 1, "ValueError: in the program"),
    ],
)
def test_the_program_ends(tmp_path, body, code, words, persistent):
    process = start(tmp_path, body, persistent=persistent)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert (words in err and err.count("Traceback") == 1) if words else err == ""
    assert all_gone([int(pid) for pid in out.split()])


def test_ctrl_c(tmp_path):
    """Ctrl-C reaches the whole process group: one KeyboardInterrupt, the parent's, and no worker stays."""
    process = start(tmp_path, "for _ in iterator: pass", pause=0.05)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")
    assert all_gone(pids)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_parent(tmp_path, sig):
    process = start(tmp_path, "for _ in iterator: pass", pause=0.05)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.send_signal(sig)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -sig and all_gone(pids)
