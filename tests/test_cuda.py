"""naiad.cuda on the simulated device: devices, streams and events, memory and its counters, faults, forks."""

import gc
import os

import numpy as np
import pytest

import naiad
from naiad.core import backend, memory

pytestmark = pytest.mark.skipif(
    not (naiad.cuda.is_available() and backend.simulated()), reason="needs the simulated device: NAIAD_CUDA=interpret"
)
cuda = naiad.cuda


def test_there_are_two_devices_and_they_do_not_mix():
    assert (cuda.is_available(), cuda.device_count(), cuda.current_device()) == (True, 2, 0)
    x, y = naiad.ones(2, device="cuda"), naiad.ones(2, device="cuda:1")
    with pytest.raises(RuntimeError, match="at least two devices: input on cuda:0, other on cuda:1"):
        x + y
    assert (x.to(y.device) + y).device == naiad.device("cuda:1")
    with pytest.raises(RuntimeError, match="invalid device ordinal, there are 2 devices"):
        naiad.ones(1, device="cuda:2")


def test_the_current_device_is_what_cuda_means():
    with cuda.device(1):
        assert cuda.current_device() == 1
        assert naiad.zeros(1, device="cuda").device.index == 1
        with cuda.device(None), cuda.device(-1):
            assert cuda.current_device() == 1
        with cuda.device_of(naiad.zeros(1, device="cuda:0")):
            assert naiad.zeros(1).cuda().device.index == 0
        with cuda.device_of(naiad.zeros(1)):
            assert cuda.current_device() == 1
    assert cuda.current_device() == 0
    cuda.set_device("cuda:1")
    cuda.set_device(-1)
    assert cuda.current_device() == 1
    cuda.set_device(0)
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        cuda.set_device("cpu")


def test_what_a_device_is():
    found = cuda.get_device_properties("cuda:1")
    assert "simulated" in found.name and found.name == cuda.get_device_name(1)
    assert cuda.mem_get_info()[1] == found.total_memory == 8 << 30
    assert cuda.get_device_capability() == (0, 0)
    assert cuda.is_bf16_supported() and cuda.can_device_access_peer(0, 1)


def test_a_stream_brings_its_device_along():
    there = cuda.Stream("cuda:1")
    for context in (there, cuda.stream(there)):
        with context:
            assert cuda.current_device() == 1 and cuda.current_stream() == there
            with there, cuda.Stream(0):
                assert cuda.current_device() == 0
            assert cuda.current_device() == 1 and cuda.current_stream() == there
        assert cuda.current_device() == 0 and cuda.current_stream("cuda:1") != there


def test_streams_and_events():
    s = cuda.Stream()
    assert s != cuda.current_stream() == cuda.default_stream()
    with cuda.stream(s):
        assert cuda.current_stream() == s
        with cuda.stream(None):
            assert cuda.current_stream() == s
    with s:
        assert cuda.current_stream() == s
    assert cuda.current_stream() == cuda.default_stream() and s.query()
    other = cuda.Stream(device=1)
    with cuda.stream(other):
        assert cuda.current_device() == 1
    assert cuda.current_device() == 0
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    with pytest.raises(ValueError, match="Both events must be recorded"):
        start.elapsed_time(end)
    start.record()
    end.record(s)
    s.wait_event(start)
    s.wait_stream(other)
    start.wait(s)
    end.synchronize()
    assert end.query() and start.elapsed_time(end) >= 0
    with pytest.raises(ValueError, match="enable_timing=True"):
        cuda.Event().elapsed_time(end)
    naiad.ones(2, device="cuda").record_stream(s)
    with pytest.raises(RuntimeError, match="expected a cuda tensor"):
        naiad.ones(2).record_stream(s)


def test_memory_is_counted():
    gc.collect()
    before = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    x = naiad.empty(1000, device="cuda")
    y = naiad.empty(3, device="cuda")
    assert cuda.memory_allocated() == before + 4096 + 512
    del x
    assert cuda.memory_allocated() == before + 512
    assert cuda.max_memory_allocated() == before + 4096 + 512
    assert cuda.memory_reserved() >= before + 4096 + 512
    cuda.empty_cache()
    assert cuda.memory_reserved() == cuda.memory_allocated()
    assert cuda.memory_stats()["allocated_bytes.all.peak"] == before + 4096 + 512
    assert "live tensors" in cuda.memory_summary()
    del y
    assert cuda.memory_allocated() == before


def test_training_steps_leave_nothing_behind():
    w = naiad.ones(8, 8, device="cuda", requires_grad=True)
    x = naiad.ones(4, 8, device="cuda")

    def step():
        (x @ w).relu().sum().backward()
        w.grad = None

    step()
    live = cuda.memory_allocated()
    for _ in range(3):
        step()
    assert cuda.memory_allocated() == live


def test_out_of_memory_says_what_there_is_and_the_next_step_works():
    gc.collect()
    x = naiad.ones(1000, device="cuda")
    live, failed = cuda.memory_allocated(), cuda.memory_stats()["num_ooms"]
    cuda.set_per_process_memory_fraction(1e-5)  # of 8 GiB
    try:
        with pytest.raises(
            cuda.OutOfMemoryError, match=r"Tried to allocate 3.81 MiB \(4000000 bytes\) on cuda:0"
        ) as error:
            naiad.empty(1_000_000, device="cuda")
    finally:
        cuda.set_per_process_memory_fraction(1.0)
    assert f"({live} bytes) are in live tensors" in str(error.value) and "smaller batches" in str(error.value)
    assert isinstance(error.value, RuntimeError)
    assert cuda.memory_stats()["num_ooms"] == failed + 1
    assert cuda.memory_allocated() == live
    assert (x + 1).cpu().numpy()[0] == 2


def test_a_full_device_is_asked_again_with_its_cache_freed(monkeypatch):
    pool = backend.pool(0)
    allocate, asked = pool.allocate, []

    def full_once(nbytes):
        asked.append(nbytes)
        if len(asked) == 1:
            raise MemoryError
        return allocate(nbytes)

    monkeypatch.setattr(pool, "allocate", full_once)
    freed = []
    monkeypatch.setattr(pool, "release_cached", lambda: freed.append(True))
    assert naiad.zeros(4, device="cuda").cpu().tolist() == [0, 0, 0, 0]
    assert asked == [16, 16] and freed == [True]


def test_a_fault_in_the_middle_of_a_step_leaks_nothing(monkeypatch):
    w = naiad.ones(4, 4, device="cuda", requires_grad=True)
    (w @ w).sum().backward()
    w.grad = None
    gc.collect()
    live = cuda.memory_allocated()
    pool = backend.pool(0)
    allocate = pool.allocate
    for fault in range(3):
        left = [fault]

        def sometimes(nbytes, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError
            return allocate(nbytes)

        monkeypatch.setattr(pool, "allocate", sometimes)
        with pytest.raises(cuda.OutOfMemoryError):
            (w @ w).sum().backward()
        monkeypatch.undo()
        w.grad = None
        gc.collect()
        assert cuda.memory_allocated() == live
    (w @ w).sum().backward()
    np.testing.assert_array_equal(w.grad.cpu().numpy(), np.full((4, 4), 8))


def test_writes_outside_of_a_buffer_are_found():
    x = naiad.ones(3, device="cuda")
    cuda.synchronize()
    x._array.buffer._whole[: memory.RED_ZONE] = 0
    with pytest.raises(RuntimeError, match="wrote outside of a buffer of 12 bytes on cuda:0"):
        cuda.synchronize()
    with pytest.raises(RuntimeError, match="wrote outside of a buffer"):
        x.cpu()
    x._array.buffer._whole[: memory.RED_ZONE] = 0xA5
    start = x._array.buffer.ptr - x._array.buffer._whole.ctypes.data
    x._array.buffer._whole[:start] = 0xA5
    cuda.synchronize()


def test_pinned_memory():
    x = naiad.arange(6.0).reshape(2, 3)
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned[1:].is_pinned() and not x.is_pinned()
    assert pinned.pin_memory() is pinned
    there = pinned.to("cuda", non_blocking=True)
    back = there.to("cpu", non_blocking=True)
    assert back.is_pinned() and back.tolist() == x.tolist() and not there.is_pinned()
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        there.pin_memory()
    assert naiad.ones(3, dtype=naiad.bfloat16).pin_memory().tolist() == [1, 1, 1]
    assert naiad.empty(0).pin_memory().shape == (0,)


def test_copies_between_devices():
    x = naiad.arange(6.0).reshape(2, 3).cuda(0).requires_grad_()
    y = x.t().to("cuda:1")
    assert y.device.index == 1 and y.cpu().tolist() == [[0, 3], [1, 4], [2, 5]]
    y.sum().backward()
    assert x.grad.device == x.device
    x.detach().copy_(naiad.zeros(2, 3, device="cuda:1"))
    assert x.sum().item() == 0


def test_seeds_and_states_of_the_generators():
    cuda.manual_seed_all(7)
    a = naiad.rand(4, device="cuda")
    cuda.manual_seed(7)
    assert naiad.rand(4, device="cuda").cpu().tolist() == a.cpu().tolist()
    state = cuda.get_rng_state()
    c = naiad.rand(4, device="cuda")
    cuda.set_rng_state(state)
    assert naiad.rand(4, device="cuda").cpu().tolist() == c.cpu().tolist()
    states = cuda.get_rng_state_all()
    d = naiad.rand(4, device="cuda:1")
    cuda.set_rng_state_all(states)
    assert naiad.rand(4, device="cuda:1").cpu().tolist() == d.cpu().tolist()
    assert len(states) == 2 and cuda.initial_seed() == 7


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused():
    x = naiad.ones(2, device="cuda")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = []
        try:
            for use in (lambda: naiad.ones(2, device="cuda"), lambda: x + 1, cuda.current_device):
                try:
                    use()
                    told.append("nothing")
                except Exception as error:  # what it is, the parent asserts
                    told.append(str(error))
            os.write(writing, "\n".join(told).encode())
        finally:
            os._exit(0)  # never back into the test run
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as file:
        told = file.read().splitlines()
    assert len(told) == 3
    assert all(line.startswith("Cannot re-initialize CUDA in forked subprocess.") for line in told)
    assert all("'spawn' start method" in line for line in told)


def test_the_simulated_device_lends_its_memory_to_nobody():
    assert not hasattr(naiad.ones(2, device="cuda"), "__cuda_array_interface__")
    assert not hasattr(naiad.ones(2), "__cuda_array_interface__")
