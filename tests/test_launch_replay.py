"""What an op launches again for a geometry that it has met is what it launched the first time, at other addresses."""

from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401 - fixtures

HEAD = """
from naiad.core import replay
F = naiad.nn.functional

def launches(call, *operands):
    before = stub.launches()
    made = call(*operands)
    outs = made if isinstance(made, tuple) else (made,)
    known = {("operand", i): t.data_ptr() for i, t in enumerate(operands)}
    known |= {("out", i): t.data_ptr() for i, t in enumerate(outs)}
    sizes = {key: t.untyped_storage().nbytes() for key, t in zip(known, (*operands, *outs))}

    def named(value):
        for key, start in known.items():
            if start <= value < start + max(sizes[key], 1):
                return (*key, value - start)
        return "working memory" if value > 1 << 40 else value

    count = stub.launches() - before
    found = [stub.last(back) for back in reversed(range(count))]
    return [(x.name, x.grid, x.block, x.shared, [named(v) for v in x.values]) for x in found]

def check(call, *shapes, dtype=naiad.float32):
    def operands():
        return [s if isinstance(s, naiad.Tensor) else naiad.ones(*s, dtype=dtype).cuda() for s in shapes]
    keep = operands()
    first = launches(call, *keep)
    assert first == launches(call, *operands())  # written down
    plans = [p for p in replay._plans.values() if callable(p)]
    assert plans, "nothing was written down"
    general, calls = naiad.core.backend._general, []
    naiad.core.backend._general = lambda *args: calls.append(args) or general(*args)
    try:
        again = launches(call, *operands())
    finally:
        naiad.core.backend._general = general
    assert not calls, calls
    assert again == first, (first, again)
    replay.forget()
"""


def test_launches_come_again(run):  # noqa: F811
    run(
        HEAD
        + """
check(lambda a, b: a @ b, (16, 32), (32, 8))
check(lambda a, b: a @ b.t(), (4, 16, 32), (8, 32))
check(lambda x: x.sum(), (5, 7))
check(lambda x: x.sum(0), (300, 7))
check(lambda x: naiad.softmax(x, 1), (5, 7))
check(lambda x: naiad.softmax(x.t(), 1), (5, 7))
check(lambda x: F.layer_norm(x, (8,)), (4, 8))
check(lambda x: x.sum(), (64, 40000))  # in two launches, with memory between them
check(lambda x: x.to(naiad.bfloat16), (4, 8))
check(lambda a, b: a @ b, (64, 64), (64, 64), dtype=naiad.bfloat16)
"""
    )


def test_operands_that_share_memory_keep_their_places(run):  # noqa: F811
    run(
        HEAD
        + """
whole = naiad.ones(8, 8, 3).cuda()
def parts(x):
    return x[..., 0] @ x[..., 1]
check(parts, (8, 8, 3))
a = naiad.ones(8, 8).cuda()
for _ in range(3):
    a @ a
b = naiad.ones(8, 8).cuda()
first = launches(lambda a, b: a @ b, a, b)
assert [v[1] for v in first[0][4] if isinstance(v, tuple) and v[0] == "operand"][:2] == [0, 1], first
"""
    )


def test_both_devices_and_gradients(run):  # noqa: F811
    run(
        HEAD
        + """
w = naiad.ones(8, 8).cuda().requires_grad_()
for device in (0, 0, 0, 1, 1):
    x = naiad.ones(4, 8).cuda(device)
    y = x.sum(1)
    assert y.device.index == device and stub.last().values[0] == y.data_ptr()
for _ in range(4):
    before = stub.launches()
    (naiad.ones(4, 8).cuda() @ w).sum().backward()
    assert w.grad.shape == (8, 8)
    w.grad = None
with naiad.cuda.ledger() as made:
    x @ x.t()
assert made.kernels == ["_matmul"]
"""
    )


def test_a_call_that_looks_at_values_is_never_written_down(run):  # noqa: F811
    run(
        HEAD
        + """
index = naiad.tensor([0, 2, 1]).cuda()
for _ in range(3):
    try:
        F.one_hot(index)
    except (NotImplementedError, RuntimeError):
        break
assert not any(callable(p) for k, p in replay._plans.items() if k[0].name == "one_hot")
"""
    )


def test_complex_operands(run):  # noqa: F811
    """Real kernels serve them in several launches, of parts at every other place, which come again as well."""
    run(
        HEAD
        + """
for dtype in (naiad.complex64, naiad.complex128):
    check(lambda a, b: a @ b, (16, 32), (32, 8), dtype=dtype)
    check(lambda x: x.sum(0), (300, 7), dtype=dtype)
    check(lambda x: x.prod(1), (5, 7), dtype=dtype)
    check(lambda x: x.t().clone(), (5, 7), dtype=dtype)
    check(lambda x, i: x.index_select(0, i), (5, 7), naiad.tensor([0, 2]).cuda(), dtype=dtype)
    check(lambda x: x.any(1), (5, 7), dtype=dtype)
    x = naiad.ones(6, 4, dtype=dtype).cuda()
    size = x.element_size() // 2
    for view in (x, x.t(), x[1:, 2:]):
        made = [launches(lambda a: a * a.conj(), view) for _ in range(4)]
        assert len(made[0]) == 2 and made[1:] == made[:-1], made
    last = launches(lambda a: a.imag.clone(), x)
    assert last[0][4][1] == ("operand", 0, size), last
    for _ in range(3):
        x * (2 - 3j)
        sent = stub.last()
        values = sent.floats if size == 4 else sent.doubles
        assert values[2:4] == [2.0, -3.0], sent
"""
    )
