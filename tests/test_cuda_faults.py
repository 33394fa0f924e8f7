"""Faults put in at the seams where memory is asked for, bytes are copied and kernels start: what is said, what is left.

The step under test is a small network's: convolution, norm, dropout, attention, cross entropy, clipping, AdamW.
"""

import gc
import re

import numpy as np
import pytest

import naiad
from naiad import cuda, nn
from naiad.core import backend

pytestmark = pytest.mark.skipif(not backend.simulated(), reason="needs the simulated device: NAIAD_CUDA=interpret")
F = nn.functional


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x))).transpose(1, 2)
        x = F.scaled_dot_product_attention(x, x, x)
        return self.head(F.dropout(x, 0.2).mean(1))


class Training:
    """Steps that can be taken again from the same place."""

    def __init__(self):
        naiad.manual_seed(1)
        self.model = Net().cuda()
        self.optimizer = naiad.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.x, self.y = naiad.randn(3, 2, 5).cuda(), naiad.tensor([0, 1, 2]).cuda()
        self.step()
        self.began = {name: value.cpu() for name, value in self.model.state_dict().items()}
        self.loss = self.step()

    def step(self):
        naiad.manual_seed(2)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def works(self):
        """Take the second step again: the loss must be what it was."""
        self.model.load_state_dict(self.began)
        np.testing.assert_allclose(self.step(), self.loss, rtol=1e-6)

    def live(self, wanted=None):
        """Bytes in live tensors between steps; what is more than wanted may be in cycles, and is looked for there."""
        self.optimizer.zero_grad()
        if cuda.memory_allocated() != wanted:
            gc.collect()
        return cuda.memory_allocated()


@pytest.fixture(scope="module")
def training():
    return Training()


@pytest.fixture
def full(monkeypatch):
    """Makes the device full from the nth allocation on; gives the counts of what was asked and freed since."""
    pool = backend.pool(0)
    allocate, release = pool.allocate, pool.release_cached

    def begin(nth):
        counts = {"asked": 0, "freed": 0}

        def limited(nbytes):
            counts["asked"] += 1
            if counts["asked"] >= nth:
                raise MemoryError
            return allocate(nbytes)

        def freed():
            counts["freed"] += 1
            release()

        monkeypatch.setattr(pool, "allocate", limited)
        monkeypatch.setattr(pool, "release_cached", freed)
        return counts

    yield begin


def test_fifty_times_out_of_memory_and_nothing_leaks(training, full, monkeypatch):
    live = training.live()
    with pytest.MonkeyPatch.context() as patch:  # how many allocations does a step make?
        pool, asked = backend.pool(0), []
        allocate = pool.allocate
        patch.setattr(pool, "allocate", lambda nbytes: asked.append(nbytes) or allocate(nbytes))
        training.step()
    for nth in (1 + i % len(asked) for i in range(50)):
        retries, failures = pool.retries, pool.failures
        counts = full(nth)
        with pytest.raises(cuda.OutOfMemoryError) as error:
            training.step()
        monkeypatch.undo()
        assert counts == {"asked": nth + 1, "freed": 1}, "asked once more, after the cache was freed once"
        assert (pool.retries, pool.failures) == (retries + 1, failures + 1)
        said = str(error.value)
        assert re.search(r"Tried to allocate .* \((\d+) bytes\) on cuda:0, which has 8.00 GiB", said)
        assert re.search(r"\((\d+) bytes\) are in live tensors and .* are cached", said)
        assert "Delete tensors that are not needed" in said and "smaller batches" in said
        del error
        assert training.live(live) == live, nth
    training.works()
    assert training.live(live) == live


def test_what_is_live_and_cached_is_told_as_it_is(training, full):
    training.live()
    cuda.empty_cache()
    held, gone = naiad.empty(1 << 18, device="cuda"), naiad.empty(1 << 19, device="cuda")
    del gone
    live = cuda.memory_allocated()
    assert cuda.memory_reserved() - live == 2 << 20
    full(1)
    with pytest.raises(cuda.OutOfMemoryError, match=rf"Tried to allocate 3.00 MiB \({3 << 20} bytes\)") as error:
        naiad.empty(3 << 18, device="cuda")
    assert f"({live} bytes) are in live tensors and 0 bytes are cached" in str(error.value)  # it was given back
    assert held.numel() == 1 << 18 and cuda.memory_reserved() == live


def fault(*_, **__):
    raise RuntimeError("cudaErrorUnknown: unknown error")


def test_a_failing_copy_to_the_device(training, monkeypatch):
    live = training.live()
    for _ in range(5):
        monkeypatch.setattr(backend, "host_view", fault)
        with pytest.raises(
            RuntimeError,
            match=r"copying 24 bytes \(float32 of shape \[2, 3\]\) from the host to cuda:0 failed: cudaErrorUnknown",
        ):
            naiad.ones(2, 3).cuda()
        with pytest.raises(RuntimeError, match=r"copying \d+ bytes \(int64 of shape .*\) from the host to cuda:0"):
            training.step()  # the table of addresses that the optimizer sends
        monkeypatch.undo()
        assert training.live(live) == live
    training.works()


def test_a_failing_copy_from_the_device(training, monkeypatch):
    live = training.live()
    for _ in range(5):
        monkeypatch.setattr(backend, "host_view", fault)
        with pytest.raises(RuntimeError, match=r"copying 24 bytes \(.*\) from cuda:0 to the host failed") as error:
            naiad.ones(2, 3, device="cuda").cpu()
        monkeypatch.undo()
        assert "naiad.cuda.ledger()" in str(error.value) and "NAIAD_CUDA=interpret" in str(error.value)
        del error
        assert training.live(live) == live
    training.works()


def test_a_failing_launch_anywhere_in_a_step(training, monkeypatch):
    from naiad.kernels import interpreter

    live, run, names = training.live(), interpreter.run, []

    def counted(kernel, *rest):
        names.append(kernel.__name__)
        return run(kernel, *rest)

    monkeypatch.setattr(interpreter, "run", counted)
    training.step()
    monkeypatch.undo()
    for nth in range(0, len(names), 5):
        made = []

        def failing(kernel, *rest, made=made, nth=nth):
            made.append(kernel.__name__)
            if len(made) > nth:
                raise ValueError("injected")
            return run(kernel, *rest)

        monkeypatch.setattr(interpreter, "run", failing)
        with pytest.raises(RuntimeError, match=rf"^{names[nth]}: .*injected"):
            training.step()
        monkeypatch.undo()
        assert training.live(live) == live, names[nth]
    training.works()


def test_a_write_that_does_not_start_leaves_the_tensor_as_it_was(monkeypatch):
    from naiad.kernels import interpreter

    x = naiad.ones(3, device="cuda")
    monkeypatch.setattr(interpreter, "run", fault)
    with pytest.raises(RuntimeError, match="cudaErrorUnknown"):
        x.add_(1)
    monkeypatch.undo()
    assert x._version[0] == 0 and x.tolist() == [1, 1, 1]
    assert x.add_(1).tolist() == [2, 2, 2]
