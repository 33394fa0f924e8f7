"""Training steps of the examples on the cuda device: all of it in kernels, and in no more of them than PyTorch needs.

PyTorch's number is that of the calls which reach its dispatcher in one eager step, views and allocations left out, of
the same program on the CPU. What it would do otherwise on a GPU is asked of it: the updates and the clipping of many
tensors at once, dropout as one op, attention as one op, and counters of steps, which stay on the CPU, are not counted.
"""

from collections import Counter

import pytest
from example_steps import STEPS, load

import naiad
from naiad.core import backend
from naiad.core.dispatch import apply
from naiad.core.primitive import View
from naiad.core.state import mode

pytestmark = pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device, real or simulated")
NO_KERNEL = {  # of those that are no views: allocations, and what ends up on the host
    *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "detach", "lift_fresh"),
    *("_unsafe_view", "_local_scalar_dense", "_record_function_enter_new", "_record_function_exit"),
}
UPDATES = {"_adam", "_square_sums", "_scale"}  # launched by optimizers and clipping, for many tensors at once


def in_pytorch(program, monkeypatch, as_on_gpu):
    """Kernels that one step takes in PyTorch, by name."""
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        made = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function._schema.name.split("::")[1]
            steps = name.startswith("_foreach") and all(t.dim() == 0 for t in args[0])
            if not (function.is_view or name in NO_KERNEL or steps):
                self.made[name] += 1
            return function(*args, **(kwargs or {}))

    module = load(program, "torch", monkeypatch)
    step = STEPS[program](module, torch.device("cpu"), foreach=True)
    if as_on_gpu:
        functional, flash = torch.nn.functional, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

        def dropout(x, p=0.5, training=True, inplace=False):
            return torch.native_dropout(x, p, True)[0] if training else x

        def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **_):
            return flash(q, k, v, 0.0, is_causal)[0]

        monkeypatch.setattr(functional, "dropout", dropout)
        monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    step()
    with Calls() as calls:
        step()
    return calls.made


class EveryOp:
    """A mode that notes the ops which are called with or make cuda tensors."""

    rank = 5  # below the ledger

    def __init__(self):
        self.seen = []

    def process(self, op, xs, attrs):
        result = apply(op, xs, attrs)
        outs = result if isinstance(result, tuple) else (result,)
        if any(isinstance(t, naiad.Tensor) and t.is_cuda and t.numel() for t in (*xs, *outs)):
            self.seen.append(op)
        return result


@pytest.fixture(scope="module", params=STEPS)
def in_naiad(request):
    """A program's name, and of one step of it: the ledger, all ops on the device, copies between host and device."""
    with pytest.MonkeyPatch.context() as patch:
        step = STEPS[request.param](load(request.param, "naiad", patch), naiad.device("cuda"))
        step()
        before, every = backend.transfers.count, EveryOp()
        with naiad.cuda.ledger() as made, mode(every):
            step()
    return request.param, made, every.seen, backend.transfers.count - before


@pytest.mark.parametrize("as_on_gpu", [False, True], ids=["as dispatched", "as on a GPU"])
def test_a_step_takes_no_more_launches_than_in_pytorch(in_naiad, as_on_gpu, monkeypatch):
    program, made, _, _ = in_naiad
    ours, theirs = len(made.launches), in_pytorch(program, monkeypatch, as_on_gpu)
    print(f"{program}: {ours} launches, {theirs.total()} in PyTorch")
    assert ours <= theirs.total(), f"{ours} > {theirs.total()}\n{made.table()}\n{theirs}"


def test_a_step_is_all_in_kernels(in_naiad):
    """Every op but views launches kernels, none of them is a vendor library's, and nothing is computed on the host."""
    program, made, seen, copied = in_naiad
    called = Counter(op.name for op in seen if not (op.view or isinstance(op, View)))
    launched = Counter(call.op for call in made.ops)
    assert called and called - launched == Counter()
    assert not [op.name for op in seen if getattr(getattr(op, "op", op), "vendor", None)]
    kinds = {type(getattr(op, "op", op)).__name__ for op in seen}
    assert {"Elementwise", "Primitive"} <= kinds
    assert {"linear", "flat_matmul", "sum_dims", "add" if program != "train_digits.py" else "relu"} <= launched.keys()
    updates = [launch.kernel for launch in made.launches if launch.op is None]
    assert set(updates) <= UPDATES | {"_reduce"}
    # Between host and device go the tables of addresses that an update of many tensors reads, and nothing else.
    assert copied == sum(kernel in UPDATES for kernel in updates), updates
