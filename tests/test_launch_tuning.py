"""Measuring tiles on the stub driver, where the clock is played: what is measured, kept, read again and told."""

import json

import pytest
from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401 - fixtures

HEAD = """
from naiad.kernels import matmul, tuning
matmul.CANDIDATES["float32"] = ((32, 32, 32, 4, 3), (64, 64, 32, 4, 3), (128, 128, 32, 8, 3))
asked = []

def seconds(call):  # the fewer programs, the quicker
    asked.append(call())
    return float(stub.last().grid[0])

tuning.seconds = seconds
a, b = naiad.ones(256, 256).cuda(), naiad.ones(256, 256).cuda()

def programs():
    a @ b
    return stub.last().grid[0]
"""


def test_the_quickest_is_kept_for_all_processes(run, tmp_path):  # noqa: F811
    kept = {"NAIAD_CACHE_DIR": str(tmp_path)}
    untuned = HEAD + "assert programs() == 8; assert not asked and not tuning.own_table().exists()"
    run(untuned, **kept)
    run(
        HEAD
        + """
with naiad.cuda.ledger() as seen:
    assert programs() == 4
assert [x.kernel for x in seen.launches] == ["_matmul"], "measuring is not the op's work"
found, = tuning.measurements
assert found.problem == "matmul float32 256x256x256" and found.best == (128, 128, 32, 8, 3)
assert found.rule == (128, 64, 32, 8, 3) and len(found.seconds) == 4 and not found.refused
assert len(asked) == 4 * tuning.ROUNDS
for _ in range(4):
    assert programs() == 4
assert len(asked) == 4 * tuning.ROUNDS
naiad.ones(200, 256).cuda() @ b  # sizes count by powers of two
assert len(asked) == 4 * tuning.ROUNDS
""",
        NAIAD_AUTOTUNE="1",
        **kept,
    )
    table = json.loads((tmp_path / "tuned.json").read_text())
    assert table == {"Stub GPU": {"matmul float32 256x256x256": [128, 128, 32, 8, 3]}}
    run(HEAD + "assert programs() == 4 and not asked", **kept)


def test_what_does_not_run_is_left_out(run, tmp_path):  # noqa: F811
    kept = {"NAIAD_CACHE_DIR": str(tmp_path)}
    run(
        HEAD
        + """
matmul.CANDIDATES["float32"] = ((128, 128, 128, 8, 5), (64, 64, 32, 4, 3))
assert programs() == 8
found, = tuning.measurements
assert found.best == found.rule
assert "bytes of shared memory" in found.refused[128, 128, 128, 8, 5]
""",
        NAIAD_AUTOTUNE="1",
        **kept,
    )


def test_a_damaged_table_is_told(run, tmp_path):  # noqa: F811
    (tmp_path / "tuned.json").write_text("{")
    script = (
        HEAD
        + """
try:
    a @ b
except ValueError as error:
    print(error)
"""
    )
    assert "is no table of tile sizes" in run(script, NAIAD_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("family", ["matmul", "conv", "attention"])
def test_the_program(run, tmp_path, family):  # noqa: F811
    output = tmp_path / "shipped.json"
    script = f"""
from naiad.bench import tune
from naiad.kernels import attention_tiles, conv, matmul, tuning
tuning.seconds = lambda call: float(stub.last().grid[0])
tuning.ROUNDS = 1
matmul.CANDIDATES = {{"bfloat16": ((64, 64, 64, 4, 3),)}}
conv.TILES = {{"": ((64, 64, 64, 4, 3), (64, 32, 32, 4, 3))}}
attention_tiles.HALVES = dict.fromkeys(attention_tiles.HALVES, ((16, 16, 4, 1), (32, 16, 4, 2)))
tune.SQUARES, tune.LAYERS, tune.IMAGES = (32,), [(32, 16, 64)], ((2, 3, 4, 8, 3, 1),)
tune.HEADS = ((2, 2, 40, 16, True),)
assert tune.main([{family!r}, "--dtype", "bfloat16", "--output", {str(output)!r}]) == 0
"""
    said = run(script, NAIAD_CACHE_DIR=str(tmp_path))
    table = json.loads(output.read_text())["sm_90"]
    assert all(problem.startswith(family) and "bfloat16" in problem for problem in table)
    assert len(table) == len(said.splitlines()) - 2 >= 3
    assert json.loads((tmp_path / "tuned.json").read_text()) == {"Stub GPU": table}


def test_without_a_gpu(capsys):
    from naiad.bench import tune

    assert tune.main([]) == 1
    assert "takes a real GPU" in capsys.readouterr().err
