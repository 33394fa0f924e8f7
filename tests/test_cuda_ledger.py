"""naiad.cuda.ledger(): what ran, for which op, and how much it moved and computed."""

import json
import threading

import pytest

import naiad

pytestmark = pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, real or simulated")


def test_launches_know_their_op_shapes_and_bytes():
    x, w = naiad.ones(8, 16, device="cuda"), naiad.ones(16, 4, device="cuda")
    with naiad.cuda.ledger() as made:
        y = x @ w
        z = y * 2.0
        z[:, :1] + y
    assert made.kernels == ["_matmul", "_mul", "_add"]
    assert [call.op for call in made.ops] == [launch.op for launch in made.launches]
    product, scaled, summed = made.ops
    assert product.flops == 2 * 8 * 16 * 4 and product.shapes == ((8, 16), (16, 4))
    assert scaled.flops == 32 and scaled.launches[0].bytes == 2 * 32 * 4
    assert summed.launches[0].bytes == (32 + 8 + 32) * 4  # a broadcast operand counts once
    assert made.flops == 1024 + 32 + 32
    assert scaled.launches[0].dtypes == ("float32", "float32") and scaled.launches[0].grid[1:] == (1, 1)
    x + 1
    assert len(made.launches) == 3


def test_the_backward_pass_is_seen_and_views_are_left_out():
    w = naiad.ones(4, 4, device="cuda", requires_grad=True)
    with naiad.cuda.ledger() as made:
        (w.t() * 3.0).sum().backward()
    assert w.grad is not None
    assert not any(call.op in ("t", "transpose") for call in made.ops)
    assert all(launch.op for launch in made.launches) and len(made.launches) >= 3


def test_the_cpu_makes_no_launches():
    with naiad.cuda.ledger() as made:
        naiad.ones(3) + 1
    assert made.launches == [] and made.ops == []


def test_another_thread_s_launches_are_there_without_an_op():
    x = naiad.ones(4, device="cuda")
    with naiad.cuda.ledger() as made:
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
    assert [launch.op for launch in made.launches] == [None]
    assert "(no op)" in made.table()


def test_the_table_and_the_trace_file(tmp_path):
    x = naiad.ones(4, 4, device="cuda")
    with naiad.cuda.ledger() as made:
        x + x
        x + x
    line = next(line for line in made.table().splitlines() if line.startswith("add"))
    assert line.split() == ["add", "2", "2", "256", "32"]  # x is one array, read once
    made.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [e["name"] for e in events] == ["add", "add", "_add", "_add"]
    assert all(e["ph"] == "X" and e["ts"] >= 0 and e["dur"] > 0 for e in events)
    assert events[2]["args"]["op"] == "add" and events[2]["args"]["bytes"] == 128


def test_an_error_inside_closes_the_ledger():
    x = naiad.ones(2, device="cuda")
    with pytest.raises(ValueError), naiad.cuda.ledger() as made:
        raise ValueError
    x + 1
    assert made.launches == []
