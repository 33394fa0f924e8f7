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


def facts(made):
    """Operations and bytes by op; each op was called once."""
    assert len({call.op for call in made.ops}) == len(made.ops)
    return {call.op: (call.flops, sum(launch.bytes for launch in call.launches)) for call in made.ops}


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_are_counted(groups):
    """x (2, 4, 5, 6) with six kernels of 3 x 2, stride 2 by 1, padding 1 by 0: (2, 6, 3, 5)."""
    x = naiad.ones(2, 4, 5, 6, device="cuda", requires_grad=True)
    w = naiad.ones(6, 4 // groups, 3, 2, device="cuda", requires_grad=True)
    b = naiad.ones(6, device="cuda", requires_grad=True)
    g = naiad.ones(2, 6, 3, 5, device="cuda")
    with naiad.cuda.ledger() as made:
        y = naiad.nn.functional.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), groups=groups)
        y.backward(g)
    assert y.shape == g.shape
    x_bytes, w_bytes, b_bytes, y_bytes = 4 * 240, 4 * (6 * (4 // groups) * 6), 4 * 6, 4 * 180
    each = 2 * 180 * (4 // groups) * 6  # a multiplication and an addition per output, channel of its group and tap
    found = facts(made)
    assert found["conv"] == (each, x_bytes + w_bytes + b_bytes + y_bytes)
    assert found["conv_input_grad"] == (each, x_bytes + w_bytes + y_bytes)
    assert found["conv_weight_grad"] == (each, x_bytes + w_bytes + y_bytes)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_counted(causal, dropout):
    """Two batches, three heads, four queries and five keys, of 8 numbers; values of 6."""
    q, k, v = (naiad.ones(2, 3, n, e, device="cuda", requires_grad=True) for n, e in ((4, 8), (5, 8), (5, 6)))
    g = naiad.ones(2, 3, 4, 6, device="cuda")
    with naiad.cuda.ledger() as made:
        naiad.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal).backward(g)
    pairs = 2 * 3 * (1 + 2 + 3 + 4 if causal else 4 * 5)
    q_bytes, k_bytes, v_bytes, out_bytes, lse_bytes = (4 * 6 * n for n in (4 * 8, 5 * 8, 5 * 6, 4 * 6, 4))
    read = q_bytes + k_bytes + v_bytes
    found = {op.removesuffix("_dropout"): told for op, told in facts(made).items()}
    assert found["attention_op"] == (2 * pairs * (8 + 6), read + out_bytes + lse_bytes)
    backward = read + 2 * out_bytes + lse_bytes  # the gradient of the result, too
    assert found["attention_query_grad"] == (2 * pairs * (8 + 6 + 8), backward + q_bytes)
    # Scores, the weights' gradient, and a product for each of the two.
    assert found["attention_key_value_grad"] == (2 * pairs * (8 + 6 + 8 + 6), backward + k_bytes + v_bytes)


def test_attention_s_gradients_are_counted_one_by_one():
    q, k, v = (naiad.ones(2, 3, n, e, device="cuda", requires_grad=True) for n, e in ((4, 8), (5, 8), (5, 6)))
    g, pairs = naiad.ones(2, 3, 4, 6, device="cuda"), 2 * 3 * 4 * 5
    for wanted, name, numbers in ((k, "attention_key_grad", 8 + 6 + 8), (v, "attention_value_grad", 8 + 6)):
        out = naiad.nn.functional.scaled_dot_product_attention(q, k, v)
        with naiad.cuda.ledger() as made:
            naiad.autograd.grad(out, wanted, g)
        assert facts(made)[name][0] == 2 * pairs * numbers


def test_the_trace_file_is_in_chrome_s_format(tmp_path):
    """The keys that chrome://tracing and Perfetto read of complete events; launches lie within their op's time."""
    layer = naiad.nn.Linear(4, 3).cuda()
    with naiad.cuda.ledger() as made:
        layer(naiad.ones(2, 4, device="cuda")).relu().sum().backward()
    made.save(tmp_path / "step.json")
    with open(tmp_path / "step.json") as file:
        trace = json.load(file)
    assert set(trace) == {"traceEvents", "displayTimeUnit"} and trace["displayTimeUnit"] == "ns"
    ops, launches = ([e for e in trace["traceEvents"] if e["cat"] == kind] for kind in ("op", "launch"))
    assert len(ops) == len(made.ops) and len(launches) == len(made.launches)
    for event in ops + launches:
        assert event["ph"] == "X" and isinstance(event["name"], str) and isinstance(event["args"], dict)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event["ts"], float) and event["dur"] > 0
    for launch in launches:
        inside = [e for e in ops if e["ts"] <= launch["ts"] <= e["ts"] + e["dur"] and e["tid"] == launch["tid"]]
        assert launch["args"]["op"] in [e["name"] for e in inside]
