"""`python -m naiad.info`, and the reasons why cuda is not available, one by one."""

import json
import os
import subprocess
import sys

import pytest

from naiad.core.diagnosis import Facts, shown, why_not

GOOD = dict(driver=12040, cupy="14.2.0", runtime=12090, triton="3.9.0", devices=1, capability=(9, 0))


def test_a_machine_with_everything_has_cuda():
    assert why_not(Facts(**GOOD)) is None
    assert why_not(Facts(**{**GOOD, "driver": 13000})) is None  # a newer driver serves an older CUDA


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"driver": None}, "no NVIDIA driver was found .*NAIAD_CUDA=interpret"),
        ({"driver": 11040}, r"driver is too old: it serves CUDA 11.4 and naiad needs 12.0. Update the driver"),
        ({"cupy": None}, r"CuPy is not installed, .*: pip install 'naiad\[cuda12\]'"),
        ({"cupy": None, "driver": 13010}, r"pip install 'naiad\[cuda13\]'"),
        ({"cupy": None, "problem": "importing CuPy failed: no libfoo"}, r"no libfoo. Reinstall it: pip install"),
        (
            {"runtime": 13000},
            r"CuPy 14.2.0 is made for CUDA 13, and the driver serves only CUDA 12.4: pip uninstall -y cupy-cuda13x && "
            r"pip install 'naiad\[cuda12\]', or update the driver",
        ),
        ({"triton": None}, r"Triton is not installed, .*: pip install 'naiad\[cuda12\]'"),
        ({"problem": "cudaErrorUnknown"}, "CuPy cannot use the GPU: cudaErrorUnknown"),
        ({"devices": 0}, "no GPU is visible: see `nvidia-smi`, .* CUDA_VISIBLE_DEVICES"),
        ({"capability": (6, 1)}, "compute capability 6.1 and Triton's kernels need 7.5"),
    ],
)
def test_what_is_missing_is_named_with_the_way_out(change, says):
    import re

    reason = why_not(Facts(**{**GOOD, **change}))
    assert reason is not None and re.search(says, reason), reason


def test_versions_as_people_write_them():
    assert [shown(v) for v in (12040, 13000, 11080)] == ["12.4", "13.0", "11.8"]


def info(*options, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    command = [sys.executable, "-W", "error", "-m", "naiad.info", *options]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_without_a_gpu_says_why():
    found = json.loads(info("--json", CUDA_VISIBLE_DEVICES=""))
    assert not found["cuda"]["available"] and found["cuda"]["why"].startswith("cuda is not available: ")
    assert found["packages"]["numpy"] and found["devices"] == []
    assert found["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    told = info(CUDA_VISIBLE_DEVICES="")
    assert "numpy" in told and found["cuda"]["why"] in told


def test_the_command_on_the_simulated_device():
    told = info(NAIAD_CUDA="interpret")
    assert "simulated, by NAIAD_CUDA=interpret" in told
    assert "cuda:1" in told and "naiad simulated device 1" in told
