"""`save` to a path replaces the file whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys

import pytest

import naiad
from naiad import serialization

# Forks a child that saves one state after the other to the same path, kills it at a random moment, and looks at the
# file. Importing once and forking often is what makes many kills affordable.
KILLS = """
import os, random, signal, sys, time
import numpy as np
import naiad
from naiad import serialization

path, kills = sys.argv[1], int(sys.argv[2])
r = random.Random(0)

def state(number):
    return {"number": number, "weights": [naiad.full((1 << 16,), float(number)) for _ in range(8)]}

serialization.save(state(0), path)
last, replaced = 0, 0
for kill in range(kills):
    child = os.fork()
    if child == 0:
        number = last
        while True:
            number += 1
            serialization.save(state(number), path)
    time.sleep(r.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    read = serialization.load(path)
    assert read["number"] >= last, (read["number"], last)
    assert all((w == read["number"]).all() for w in read["weights"]) and len(read["weights"]) == 8
    replaced += read["number"] > last
    last = read["number"]
left = [name for name in os.listdir(os.path.dirname(path)) if name.endswith(".tmp")]
print(kills, replaced, len(left), last)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_killed_save_leaves_a_whole_file(tmp_path):
    kills = int(os.environ.get("NAIAD_TEST_KILLS", "25"))
    command = [sys.executable, "-c", KILLS, str(tmp_path / "model.pt"), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    killed, replaced, interrupted, _ = map(int, done.stdout.split())
    # Some kills hit between two files, some in the middle of one, or this test would show nothing.
    assert killed == kills and replaced > 0 and interrupted > 0, done.stdout


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not me")


def names(folder):
    return sorted(os.listdir(folder))


def test_what_cannot_be_pickled_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    serialization.save([1], path)
    with pytest.raises(TypeError, match="not me"):
        serialization.save([2, Unpicklable()], path)
    assert serialization.load(path) == [1] and names(tmp_path) == ["model.pt"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    serialization.save([1], path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        serialization.save([2], path)
    assert serialization.load(path) == [1] and names(tmp_path) == ["model.pt"]


def test_the_data_is_synced_before_it_gets_the_name(tmp_path, monkeypatch):
    path, order = tmp_path / "model.pt", []
    sync, replace = os.fsync, os.replace

    def log_sync(descriptor):
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def log_replace(source, target):
        order.append("replace")
        assert os.path.dirname(source) == os.path.dirname(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", log_sync)
    monkeypatch.setattr(os, "replace", log_replace)
    serialization.save([1], path)
    assert order == ["file", "replace", "folder"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_open(tmp_path, umask):
    before = os.umask(umask)
    try:
        serialization.save([1], tmp_path / "ours.pt")
        open(tmp_path / "plain", "wb").close()
    finally:
        os.umask(before)
    assert (tmp_path / "ours.pt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_replaced_file_keeps_its_permissions_and_links_are_followed(tmp_path):
    path, link = tmp_path / "model.pt", tmp_path / "latest.pt"
    serialization.save([1], path)
    path.chmod(0o640)
    link.symlink_to("model.pt")
    serialization.save([2], link)
    assert link.is_symlink() and serialization.load(path) == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and names(tmp_path) == ["latest.pt", "model.pt"]


def test_a_file_without_permission_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    serialization.save([1], path)
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write anything, so it must be pretended
    with pytest.raises(PermissionError, match=r"model\.pt"):
        serialization.save([2], path)
    assert serialization.load(path) == [1]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"Parent directory .*nowhere does not exist"):
        serialization.save([1], tmp_path / "nowhere" / "model.pt")
    with pytest.raises(RuntimeError, match="is a directory"):
        serialization.save([1], tmp_path)


def test_devices_and_long_names(tmp_path):
    serialization.save(naiad.zeros(3), os.devnull)
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)
    path = tmp_path / ("n" * 250 + ".pt")
    serialization.save([1], path)
    assert serialization.load(path) == [1]


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    serialization.save([1], "model.pt")
    assert serialization.load("model.pt") == [1]
