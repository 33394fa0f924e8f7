"""Every kernel compiles for NVIDIA GPUs that are not here, without spills and with the instructions it is written for.

By default three architectures; NAIAD_AOT=all compiles for six, and each maths function besides. With the version of
Triton that `aot_golden.json` names, what comes out is also what that file says; written anew by
``python tests/test_kernels/test_aot.py``.
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
MATMUL = {80: "mma.sync", 86: "mma.sync", 89: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}
SHARED = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}  # bytes that a program can have
# (case, kernel) -> bytes of local memory that are let pass, and why. All are a few values kept aside for the length of
# a loop, where a smaller tile costs more than they do.
SPILLS = {
    ("attention", "_attention_bwd_kv"): 48,  # two accumulators of 128 columns beside the scores
    ("attention narrow", "_attention_bwd_kv"): 8,
    ("attention biased", "_attention_bwd_q"): 8,
    ("conv2d float64", "_conv"): 16,  # float64 tiles take twice the registers
    ("along columns", None): 8,  # scans of many columns side by side
}
GOLDEN = Path(__file__).with_name("aot_golden.json")
GOLDEN_ARCHITECTURES = (80, 90, 120)


def compiled_for(*architectures, thorough=False):
    """What `python -m naiad.kernels.aot` says, in a process without interpreter."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    options = ["--json", "-", *(["--thorough"] if thorough else []), "--arch", *map(str, architectures)]
    command = [sys.executable, "-m", "naiad.kernels.aot", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def key(entry, number):
    return f"{entry['case']} | {entry['kernel']} | {number} | sm_{entry['arch']}"


def by_key(entries):
    """Entries under their case, kernel, place among the case's launches of it, and architecture."""
    found = {}
    for entry in entries:
        number = 0
        while key(entry, number) in found:
            number += 1
        found[key(entry, number)] = entry
    return found


@pytest.fixture(scope="module")
def report():
    return compiled_for(*ARCHITECTURES)


def test_kernels_fit_their_registers(report):
    spilling = [
        f"{e['case']}: {e['kernel']} for sm_{e['arch']}: {e['local']} bytes"
        for e in report["entries"]
        if e["local"] > SPILLS.get((e["case"], e["kernel"]), SPILLS.get((e["case"], None), 0))
    ]
    assert not spilling
    assert [e for e in report["entries"] if e["shared"] > SHARED[e["arch"]]] == []


@pytest.mark.skipif(not ALL, reason="each maths function for all types takes a minute: NAIAD_AOT=all")
def test_every_maths_function_compiles():
    report = compiled_for(90, thorough=True)
    # The argument reduction of sin and cos keeps a table on the stack; these bodies hold thirty values at a time.
    # So do the integer ones of 64 bits. None of them is a body that anybody would write.
    allowed = {f"every function {d}" for d in ("float32", "float64")} | {"every integer function int64"}
    table = 40  # bytes of it
    over = {e["case"] for e in report["entries"] if e["local"] > (table if e["case"].startswith("complex") else 0)}
    assert over <= allowed
    assert any(e["case"] == "every integer function int8" for e in report["entries"])


@pytest.mark.parametrize("case", ["silu float32", "silu bfloat16", "axpy float16", "copy float32 bfloat16", "softmax"])
def test_contiguous_operands_move_sixteen_bytes_at_a_time(report, case):
    found = [e for e in report["entries"] if e["case"] == case]
    assert len(found) == len(ARCHITECTURES)
    assert all(e["load"] >= 16 and e["store"] >= 16 for e in found), found


@pytest.mark.parametrize(
    "case", ["matmul bfloat16", "matmul float16", "matmul bfloat16 transposed", "matmul float32", "attention"]
)
def test_products_run_on_tensor_cores(report, case):
    first = {e["arch"]: e for e in reversed(report["entries"]) if e["case"] == case}
    assert set(first) == set(ARCHITECTURES)
    for arch, entry in first.items():
        assert MATMUL[arch] in entry["has"], entry


def test_what_comes_out_is_what_came_out_before(report):
    golden = json.loads(GOLDEN.read_text())
    if report["triton"] != golden["triton"]:
        pytest.skip(f"the golden file is of Triton {golden['triton']}, this is {report['triton']}")
    now = by_key(report["entries"])
    for name, (registers, shared, load, store, *has) in golden["entries"].items():
        assert name in now, f"{name} is gone: write {GOLDEN.name} anew"
        entry = now[name]
        assert (entry["load"], entry["store"], entry["has"]) == (load, store, has), name
        assert entry["shared"] <= shared, f"{name} takes more shared memory"
        assert entry["registers"] <= registers + max(8, registers // 8), f"{name} takes more registers"


def test_a_second_run_reads_what_the_first_made():
    before = compiled_for(90)["entries"]
    assert before == compiled_for(90)["entries"]
    assert {e["seconds"] for e in before} == {0.0}


if __name__ == "__main__":
    made = compiled_for(*GOLDEN_ARCHITECTURES)
    lines = {
        name: [e["registers"], e["shared"], e["load"], e["store"], *e["has"]]
        for name, e in by_key(made["entries"]).items()
    }
    text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in lines.items())
    GOLDEN.write_text(f'{{"triton": "{made["triton"]}", "entries": {{\n{text}\n}}}}\n')
