"""The DataLoader with worker processes: what arrives, how workers fail, and that nothing stays behind."""

import gc
import os
import random
import signal
import threading
import time
from pickle import PicklingError

import numpy as np
import pytest

import naiad
from naiad.utils import data
from naiad.utils.data import DataLoader, get_worker_info

PATIENCE = 20.0  # seconds that a loaded machine may need for what takes a fraction of one


class Numbers(data.Dataset):
    """0 ... n-1, as float32 arrays of `size` elements if that is given."""

    def __init__(self, n, size=0):
        self.n, self.size = n, size

    def __getitem__(self, i):
        return np.full(self.size, i, dtype=np.float32) if self.size else i

    def __len__(self):
        return self.n


class Calls(Numbers):
    """Calls `function(i)` for each sample, and returns what it returns."""

    def __init__(self, n, function):
        super().__init__(n)
        self.function = function

    def __getitem__(self, i):
        return self.function(i)


class Shard(data.IterableDataset):
    """0 ... n-1, each worker its share (or, with `whole`, everything)."""

    def __init__(self, n, whole=False):
        self.n, self.whole = n, whole

    def __iter__(self):
        info = get_worker_info()
        if info is None or self.whole:
            return iter(range(self.n))
        return iter(range(info.id, self.n, info.num_workers))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def gone(pids):
    """Whether all these processes end within a while."""
    deadline = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pids_of(iterator):
    return iterator._pool.pids


def values(loader):
    return [batch.tolist() for batch in loader]


def flat(loader):
    return [value for batch in loader for value in batch.tolist()]


# --- what arrives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 50_000])
@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_content(workers, size):
    here = values(DataLoader(Numbers(23, size), 4))
    assert values(DataLoader(Numbers(23, size), 4, num_workers=workers)) == here


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method):
    loader = DataLoader(Numbers(10, 20_000), 4, num_workers=1, multiprocessing_context=method)
    assert [batch[:, 0].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("n", [3, 40_000])
def test_nested_batches_of_every_kind(n):
    """Small ones travel in the message, large ones in shared memory; both are writable."""
    x = naiad.arange(2 * n).to(naiad.float32)

    def sample(i):
        return {
            "half": x.to(naiad.bfloat16),
            "strided": x.reshape(n, 2).t(),
            "list": [x, "text", None],
            "array": x.numpy(),
            "empty": naiad.zeros(0, 3),
            "scalar": naiad.tensor(2.5),
            "complex": naiad.ones(2, dtype=naiad.complex64),
            "leaf": naiad.ones(2, requires_grad=True),
        }

    loader = DataLoader(Calls(3, sample), batch_size=None, collate_fn=lambda s: s, num_workers=1)
    for got in loader:
        want = sample(0)
        assert list(got) == list(want)
        for key in ("half", "strided", "empty", "scalar", "complex", "leaf"):
            assert got[key].dtype is want[key].dtype and got[key].shape == want[key].shape
            assert bool((got[key] == want[key]).all())
        assert got["leaf"].requires_grad and not got["half"].requires_grad
        assert got["list"][1:] == ["text", None] and (got["array"] == want["array"]).all()
        got["list"][0].add_(1)
        got["array"][0] = 9
        assert got["list"][0][0].item() == 1


def test_workers_know_who_they_are():
    def who(i):
        info = get_worker_info()
        return [info.id, info.num_workers, info.seed, len(info.dataset)]

    rows = []
    for batch in DataLoader(Calls(4, who), 2, num_workers=2):
        rows += zip(*[column.tolist() for column in batch], strict=True)
    assert [r[0] for r in rows] == [0, 0, 1, 1] and all(r[1] == 2 and r[3] == 4 for r in rows)
    assert rows[2][2] == rows[0][2] + 1
    assert get_worker_info() is None


def test_seeds():
    """Every worker has streams of its own, repeatable from `manual_seed`."""

    def draw(i):
        return [random.random(), float(np.random.random()), naiad.rand(()).item()]

    runs = []
    for _ in range(2):
        naiad.manual_seed(11)
        runs.append(list(DataLoader(Calls(2, draw), batch_size=None, collate_fn=tuple, num_workers=2)))
    assert runs[0] == runs[1] and not set(runs[0][0]) & set(runs[0][1])
    naiad.manual_seed(12)
    assert list(DataLoader(Calls(2, draw), batch_size=None, collate_fn=tuple, num_workers=2)) != runs[0]


def test_worker_init_fn():
    def init(worker_id):
        os.environ["NAIAD_TEST_WORKER"] = f"worker {worker_id}"

    loader = DataLoader(Calls(4, lambda i: os.environ["NAIAD_TEST_WORKER"]), 2, num_workers=2, worker_init_fn=init)
    assert list(loader) == [["worker 0", "worker 0"], ["worker 1", "worker 1"]]


def test_streams_are_shared_out():
    assert sorted(flat(DataLoader(Shard(11), 2, num_workers=2))) == list(range(11))
    twice = sorted(flat(DataLoader(Shard(5, whole=True), 2, num_workers=2)))
    assert twice == sorted([*range(5), *range(5)])
    assert values(DataLoader(Shard(5), 2, drop_last=True, num_workers=2)) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("in_order", [True, False])
def test_in_order_or_as_they_come(in_order, tmp_path):
    """Sample 0 waits until the other worker has fetched sample 3, or until another sample has come out."""
    go = tmp_path / "go"

    def slow_first(i):
        if i == 3 and in_order:
            go.touch()
        while i == 0 and not go.exists():
            time.sleep(0.01)
        return i

    iterator = iter(DataLoader(Calls(6, slow_first), num_workers=2, in_order=in_order))
    got = flat([next(iterator)])
    go.touch()
    got += flat(iterator)
    assert sorted(got) == [0, 1, 2, 3, 4, 5] and (got[0] == 0) == in_order


def test_prefetching_is_bounded(tmp_path):
    def note(i):
        (tmp_path / str(i)).touch()
        return i

    iterator = iter(DataLoader(Calls(50, note), num_workers=2, prefetch_factor=3))
    next(iterator)
    deadline = time.monotonic() + PATIENCE
    while len(os.listdir(tmp_path)) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(os.listdir(tmp_path)) == 7  # one taken, 2 · 3 ahead


# --- persistent workers ---------------------------------------------------------------------------------------------


def test_persistent_workers_stay():
    loader = DataLoader(Calls(6, lambda i: os.getpid()), 1, num_workers=2, persistent_workers=True)
    assert values(loader) == values(loader)
    pids = pids_of(iter(loader))
    del loader
    gc.collect()
    assert gone(pids)
    fresh = DataLoader(Calls(6, lambda i: os.getpid()), 1, num_workers=2)
    assert set(flat(fresh)).isdisjoint(flat(fresh))


def test_a_pass_given_up_leaves_nothing_behind():
    loader = DataLoader(Numbers(20, 10), 2, num_workers=2, persistent_workers=True)
    for _ in range(3):
        for i, batch in enumerate(loader):
            assert batch[0, 0].item() == 2 * i
            if i == 3:
                break
    assert len(values(loader)) == 10
    stream = DataLoader(Shard(6), 2, num_workers=2, persistent_workers=True)
    assert values(stream) == values(stream) == [[0, 2], [1, 3], [4], [5]]


# --- failures -------------------------------------------------------------------------------------------------------


class Picky(Exception):
    def __init__(self, code, place):
        super().__init__(code, place)


@pytest.mark.parametrize("error", [ValueError("bad sample"), KeyError("no key"), IndexError(3), StopIteration(4)])
def test_exception_of_a_worker(error):
    def fail(i):
        if i == 2:
            raise error
        return i

    iterator = iter(DataLoader(Calls(4, fail), num_workers=2))
    assert next(iterator).item() == 0 and next(iterator).item() == 1
    with pytest.raises(type(error)) as caught:
        next(iterator)
    text = str(caught.value)
    assert text.startswith(f"Caught {type(error).__name__} in DataLoader worker process 0.\nOriginal Traceback")
    assert "in fail\n    raise error\n" in text and str(error.args[0]) in text
    assert next(iterator).item() == 3  # the others go on


def test_exceptions_that_cannot_be_remade():
    class Local(Exception):
        pass

    for error in (Picky(1, 2), Local("hidden")):
        with pytest.raises(RuntimeError, match=f"Caught {type(error).__name__} in DataLoader worker process 0"):
            list(DataLoader(Calls(2, lambda i, error=error: raise_(error)), num_workers=1))


def raise_(error):
    raise error


def test_failing_init_and_iter():
    with pytest.raises(OSError, match="Caught OSError in DataLoader worker process 0"):
        list(DataLoader(Numbers(2), num_workers=1, worker_init_fn=lambda i: raise_(OSError("no disk"))))

    class Broken(data.IterableDataset):
        def __iter__(self):
            raise ZeroDivisionError("in iter")

    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(DataLoader(Broken(), num_workers=1))


def test_batches_that_cannot_travel():
    with pytest.raises((AttributeError, PicklingError), match="must be picklable: this batch is not"):
        list(DataLoader(Calls(2, lambda i: i), num_workers=1, collate_fn=lambda b: lambda: b))
    with pytest.raises(RuntimeError, match=r"call \.detach\(\)"):
        list(DataLoader(Calls(2, lambda i: naiad.ones(2, requires_grad=True) * 2), None, num_workers=1))


@pytest.mark.parametrize(
    ("die", "fate"),
    [(lambda: os._exit(3), "exited with code 3"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL")],
)
def test_a_worker_that_dies(die, fate):
    def maybe(i):
        if i == 5:
            die()
        return i

    iterator = iter(DataLoader(Calls(8, maybe), num_workers=2))
    pids = pids_of(iterator)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"\(pid\(s\) {pids[1]}\) exited unexpectedly: .*{fate}"):
        list(iterator)
    assert time.monotonic() - start < PATIENCE and gone(pids)
    with pytest.raises(StopIteration):
        next(iterator)


def test_nothing_comes_after_a_worker_died_though_it_had_arrived():
    iterator = iter(DataLoader(Calls(8, lambda i: i), num_workers=2))
    while len(iterator._arrived) < 4:
        iterator._receive()
    os.kill(pids_of(iterator)[0], signal.SIGKILL)
    assert gone(pids_of(iterator)[:1])
    with pytest.raises(RuntimeError, match="SIGKILL"):
        list(iterator)  # batches are there, but a worker cannot be asked for more
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_persistent_worker_that_died_is_replaced():
    loader = DataLoader(Numbers(4), num_workers=1, persistent_workers=True)
    (pid,) = pids_of(iter(loader))
    os.kill(pid, signal.SIGKILL)
    assert gone([pid])
    with pytest.raises(RuntimeError, match="SIGKILL"):
        list(loader)
    assert values(loader) == [[0], [1], [2], [3]]


def test_timeout():
    iterator = iter(DataLoader(Calls(2, lambda i: time.sleep(0.8) or i), num_workers=1, timeout=0.2))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.2 seconds"):
        next(iterator)


def test_needs_importable_names_to_spawn():
    loader = DataLoader(Calls(2, lambda i: i), num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(Exception, match="<lambda>") as caught:
        iter(loader)
    assert "importable by name" in "".join(caught.value.__notes__)


# --- nothing stays behind -------------------------------------------------------------------------------------------


def test_early_break_and_exceptions_end_the_workers():
    loader = DataLoader(Numbers(1000, 1000), num_workers=2)
    iterator = iter(loader)
    pids = pids_of(iterator)
    next(iterator)
    del iterator
    assert gone(pids)

    def body():
        iterator = iter(loader)
        found = pids_of(iterator)
        try:
            for _ in iterator:
                raise ValueError("in the loop")
        except ValueError:
            return found

    assert gone(body())


def test_no_descriptor_and_no_shared_memory_is_left():
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    list(DataLoader(Numbers(4, 30_000), num_workers=2))
    before = descriptors()
    for _ in range(3):
        list(DataLoader(Numbers(40, 30_000), num_workers=2))
    assert descriptors() <= before
    assert not [name for name in os.listdir("/dev/shm") if "naiad" in name]


def test_many_batches_may_be_kept():
    """More than there may be file descriptors for."""
    kept = list(DataLoader(Numbers(300, 17_000), num_workers=1))
    assert [b[0, 0].item() for b in kept] == list(range(300))
    assert len(os.listdir("/proc/self/fd")) < 300


def test_forking_beside_threads_is_silent():
    """Python 3.12 and later warn about it, and warnings are errors here."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert len(values(DataLoader(Numbers(4), num_workers=2, multiprocessing_context="fork"))) == 4
    finally:
        stop.set()
        thread.join()


def test_loaders_inside_of_loaders():
    inner = DataLoader(Numbers(6, 20_000), 2, num_workers=1, persistent_workers=True)
    outer = DataLoader(Numbers(3), num_workers=1)
    for batch in outer:
        assert [b[0, 0].item() for b in inner] == [0, 2, 4] and batch.item() in (0, 1, 2)
