"""Every kernel compiles for NVIDIA GPUs that are not here, without spills and with the instructions it is written for.

By default for one; NAIAD_AOT=all compiles for six, and each maths function besides. With the version of
Triton that `aot_golden.json` names, what comes out is also what that file says; written anew by
``python tests/test_kernels/test_aot.py``.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("naiad.kernels.launch")
from naiad.bench import aot_spills
from naiad.bench.aot_spills import REASONS, SPILLS, excuse

ALL = os.environ.get("NAIAD_AOT") == "all"
ARCHITECTURES = (80, 86, 89, 90, 100, 120) if ALL else (90,)
MATMUL = {80: "mma.sync", 86: "mma.sync", 89: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}
SHARED = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}  # bytes that a program can have
GOLDEN = Path(__file__).with_name("aot_golden.json")
GOLDEN_ARCHITECTURES = (80, 90, 120)


def compiled_for(*architectures, thorough=False):
    """What `python -m naiad.kernels.aot` says, in a process without interpreter."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    options = ["--json", "-", *(["--thorough"] if thorough else []), "--arch", *map(str, architectures)]
    command = [sys.executable, "-m", "naiad.kernels.aot", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    # 1 says that something spills, which is a test of its own, or it is a traceback's.
    assert done.returncode in (0, 1) and done.stdout, done.stderr
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
        f"{e['case']}: {e['kernel']} for sm_{e['arch']}: {e['spilled']} bytes"
        for e in report["entries"]
        if e["spilled"] and excuse(SimpleNamespace(**e), report["triton"]) is None
    ]
    assert not spilling
    assert [e for e in report["entries"] if e["shared"] > SHARED[e["arch"]]] == []


def test_every_spill_on_the_list_is_one(report):
    version = ".".join(report["triton"].split(".")[:2])
    if version not in SPILLS:
        pytest.skip(f"the lists of spills are of Triton {' and '.join(SPILLS)}, this is {version}")
    most = {}
    for e in report["entries"]:
        found = e["case"], e["kernel"], e["arch"]
        most[found] = max(most.get(found, 0), e["spilled"])
    listed = {(*key, arch): size for key, of in SPILLS[version].items() for arch, size in of.items()}
    assert [(key, size) for key, size in listed.items() if key[2] in ARCHITECTURES and most.get(key) != size] == []
    assert {key for spills in SPILLS.values() for key in spills} == set(REASONS)


def test_versions_without_a_list_have_the_longer_of_all(monkeypatch):
    key = ("case", "kernel")
    monkeypatch.setattr(aot_spills, "SPILLS", {"3.6": {key: {80: 8}}, "3.9": {key: {80: 16, 90: 8}}})
    assert aot_spills.listed("3.7.1") == {key: {80: 16, 90: 8}}
    assert aot_spills.listed("3.6.0") == {key: {80: 8}}


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


NORMS = ("_normalize", "_normalize_grad", "_normalize_weight_grad")


def test_norms_move_sixteen_bytes_at_a_time(report):
    whole = [e for e in report["entries"] if e["kernel"] in NORMS and " norm " in e["case"]]
    assert {e["case"].split(" norm ")[0] for e in whole} >= {"layer", "batch", "group"}
    assert [(e["case"], e["kernel"], e["arch"], e["load"]) for e in whole if e["load"] < 16] == []
    forward = [e for e in whole if e["kernel"] != "_normalize_weight_grad"]
    assert [(e["case"], e["kernel"], e["arch"], e["store"]) for e in forward if e["store"] < 16] == []


@pytest.mark.parametrize(
    "case", ["matmul bfloat16", "matmul float16", "matmul bfloat16 transposed", "matmul float32", "attention"]
)
def test_products_run_on_tensor_cores(report, case):
    first = {e["arch"]: e for e in reversed(report["entries"]) if e["case"] == case}
    assert set(first) == set(ARCHITECTURES)
    for arch, entry in first.items():
        assert MATMUL[arch] in entry["has"], entry


@pytest.mark.parametrize("start", ["matmul", "linear", "attention"])
def test_hopper_multiplies_by_wgmma(report, start):
    found = [e for e in report["entries"] if e["case"].startswith(start) and e["arch"] == 90]
    products = [e for e in found if e["kernel"] == "_matmul" or e["kernel"].startswith("_attention_")]
    # Neither float64 nor whole numbers have a wgmma. In float32 with its three passes of tf32, and with dropout beside
    # a mask that learns, attention partly has tiles of 32 rows, which is what registers allow: tensor cores, but not
    # that instruction.
    narrow = {("attention float32", "_attention_bwd_kv"), ("attention dropout narrow", "_attention_bwd_kv")}
    others = ("matmul float64", "matmul int32", "attention biased float32", "attention dropout float32")
    without = [e for e in products if MATMUL[90] not in e["has"]]
    assert products and {(e["case"], e["kernel"]) for e in without if e["case"] not in others} <= narrow
    assert all("mma.sync" in e["has"] for e in without if e["case"] != "matmul int32")


def test_what_comes_out_is_what_came_out_before(report):
    golden = json.loads(GOLDEN.read_text())
    if report["triton"] != golden["triton"]:
        pytest.skip(f"the golden file is of Triton {golden['triton']}, this is {report['triton']}")
    now = by_key(report["entries"])
    for name, (registers, shared, load, store, *has) in golden["entries"].items():
        if int(name.rpartition("_")[2]) not in ARCHITECTURES:
            continue
        assert name in now, f"{name} is gone: write {GOLDEN.name} anew"
        entry = now[name]
        assert (entry["load"], entry["store"], entry["has"]) == (load, store, has), name
        assert entry["shared"] <= shared, f"{name} takes more shared memory"
        assert entry["registers"] <= registers + max(8, registers // 8), f"{name} takes more registers"


def test_a_second_run_reads_what_the_first_made(report):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = compiled_for(*ARCHITECTURES)["entries"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert {e["seconds"] for e in again} == {0.0}
    assert [{**e, "seconds": 0.0} for e in report["entries"]] == again
    # Seconds of work, which a busy machine does not make longer.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


if __name__ == "__main__":
    made = compiled_for(*GOLDEN_ARCHITECTURES)
    lines = {
        name: [e["registers"], e["shared"], e["load"], e["store"], *e["has"]]
        for name, e in by_key(made["entries"]).items()
    }
    text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in lines.items())
    GOLDEN.write_text(f'{{"triton": "{made["triton"]}", "entries": {{\n{text}\n}}}}\n')
