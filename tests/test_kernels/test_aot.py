"""Every kernel compiles for NVIDIA GPUs that are not here, without spills and with the instructions it is written for.

By default three architectures; NAIAD_AOT=all compiles for six, and each maths function besides.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("naiad.kernels.launch")
ALL = os.environ.get("NAIAD_AOT") == "all"
ARCHITECTURES = (80, 86, 89, 90, 100, 120) if ALL else (80, 90, 120)
VECTORS = {"ld.global.v4", "st.global.v4"}
MATMUL = {80: "mma.sync", 86: "mma.sync", 89: "mma.sync", 90: "wgmma", 100: "tcgen05.mma", 120: "mma.sync"}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def compiled(request):
    """What `aot_cases.py` printed for an architecture."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    script = Path(__file__).with_name("aot_cases.py")
    options = ["--thorough"] if ALL and request.param == 90 else []
    command = [sys.executable, str(script), str(request.param), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout)


def test_kernels_fit_their_registers(compiled):
    _, report = compiled
    spilling = {name for name, kernels in report.items() if any(k["local"] for k in kernels)}
    # The argument reduction of sin and cos keeps a table on the stack; these bodies hold thirty values at a time.
    assert {name for name in spilling if not name.startswith("every")} == set()
    assert all(k["shared"] <= 101376 for kernels in report.values() for k in kernels)


@pytest.mark.parametrize("name", ["silu float32", "silu bfloat16", "axpy float16", "copy float32 bfloat16", "softmax"])
def test_contiguous_operands_move_sixteen_bytes_at_a_time(compiled, name):
    _, report = compiled
    assert set(report[name][0]["has"]) >= VECTORS


@pytest.mark.parametrize("name", ["matmul bfloat16", "matmul float16", "matmul bfloat16 transposed"])
def test_halves_multiply_on_tensor_cores(compiled, name):
    arch, report = compiled
    assert MATMUL[arch] in report[name][0]["has"]


def test_float32_multiplies_on_tensor_cores_too(compiled):
    arch, report = compiled
    assert MATMUL[arch] in report["matmul float32"][0]["has"]
