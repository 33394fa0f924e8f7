"""Memory shared between tensors on a GPU and other libraries, on the stub driver: no copies, no kernels."""

from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401 - fixtures


def test_the_array_interface(run):  # noqa: F811
    run("""
x = naiad.ones(3, 4).cuda()
view = x.t()[1:]
about = view.__cuda_array_interface__
assert about["data"] == (x.data_ptr() + 4, False) and about["shape"] == (3, 3) and about["typestr"] == "<f4"
assert about["strides"] == (4, 16) and about["version"] == 3 and about["stream"] == 1
assert x.__cuda_array_interface__["strides"] is None
s = naiad.cuda.Stream()
with naiad.cuda.stream(s):
    assert x.__cuda_array_interface__["stream"] == s.cuda_stream
assert not hasattr(naiad.ones(2), "__cuda_array_interface__")
try:
    naiad.ones(2).cuda().requires_grad_().__cuda_array_interface__
except RuntimeError as error:
    assert "var.detach()" in str(error)
else:
    raise AssertionError
""")


def test_dlpack_both_ways(run):  # noqa: F811
    run("""
import cupy, gc
x = naiad.arange(6.0).reshape(2, 3).cuda(1)
assert x.__dlpack_device__() == (2, 1)
theirs = x.t().__dlpack__(stream=7)
assert (theirs.shape, theirs.strides, theirs.data.ptr) == ((3, 2), (4, 12), x.data_ptr())
assert theirs.device.id == 1 and fake_cupy.log[-1] == ("dlpack", 7)
before = stub.launches()
ours = naiad.from_dlpack(theirs)
assert stub.launches() == before
assert ours.device == x.device and ours.data_ptr() == x.data_ptr() and ours.stride() == (1, 3)
assert ours.dtype is naiad.float32
live = naiad.cuda.memory_allocated(1)
del x
gc.collect()
assert naiad.cuda.memory_allocated(1) == live  # they keep it alive
del ours, theirs
gc.collect()
assert naiad.cuda.memory_allocated(1) == live - 512
copy = naiad.from_dlpack(naiad.ones(2).cuda().__dlpack__(), copy=True)
assert stub.last().values[0] == copy.data_ptr()
(copy + copy)
""")


def test_memory_used_on_another_stream_is_waited_for(run):  # noqa: F811
    run("""
size = (4 << 20,)
s = naiad.cuda.Stream(1)
with naiad.cuda.stream(s):
    x = naiad.empty(size, device="cuda:1")
    address = x.data_ptr()
    x.record_stream(naiad.cuda.default_stream(1))
    fake_cupy.pending.add(0)  # the default stream still works with x ...
    fake_cupy.log.clear()
with naiad.cuda.device(0):
    del x
with naiad.cuda.stream(s):
    y = naiad.empty(size, device="cuda:1")
    assert y.data_ptr() != address  # ... which nobody else gets meanwhile,
    assert fake_cupy.log == [], fake_cupy.log  # and nobody waits for
    fake_cupy.pending.clear()
    naiad.ones(1).to("cuda:1")  # a copy: a moment to look at what has become free
    z = naiad.empty(size, device="cuda:1")
    assert z.data_ptr() == address
    z.record_stream(naiad.cuda.default_stream(1))
    fake_cupy.pending.add(0)
    del z
    naiad.cuda.empty_cache()  # waits for the device
    assert naiad.cuda.memory_reserved(1) < 40 << 20, naiad.cuda.memory_reserved(1)
""")


def test_copies_wait_only_where_they_must(run):  # noqa: F811
    run("""
fake_cupy.log.clear()
x = naiad.ones(4).pin_memory().to("cuda", non_blocking=True)
assert [entry[0] for entry in fake_cupy.log] == ["copy"]
fake_cupy.log.clear()
x.copy_(naiad.ones(4).pin_memory(), non_blocking=True)
naiad.zeros(4).copy_(x, non_blocking=True)
assert [entry[0] for entry in fake_cupy.log] == ["copy", "copy", "stream synchronize"]
for given in (naiad.ones(4).pin_memory(), naiad.ones(4)):  # which may be written to as soon as the call is back
    fake_cupy.log.clear()
    given.cuda()
    assert [entry[0] for entry in fake_cupy.log] == ["copy", "stream synchronize"]
fake_cupy.log.clear()
y = x.to("cpu", non_blocking=True)
assert y.is_pinned() and [entry[0] for entry in fake_cupy.log] == ["copy"]
fake_cupy.log.clear()
assert x.cpu().tolist() == [1, 1, 1, 1]
assert [entry[0] for entry in fake_cupy.log] == ["copy", "stream synchronize"]
fake_cupy.log.clear()
assert x.to("cuda:1").cpu().tolist() == [1, 1, 1, 1]
assert [entry[0] for entry in fake_cupy.log] == ["wait", "peer copy", "wait", "copy", "stream synchronize"]
""")


def test_what_a_copy_reads_later_lives_until_then(run):  # noqa: F811
    run("""
import gc, weakref
from naiad.core import cupy_memory
def sent():
    given = np.ones(1000, np.float32)
    naiad.from_numpy(given).to("cuda", non_blocking=True)
    return weakref.ref(given)
fake_cupy.pending.add(0)
found = sent()
gc.collect()
assert found() is not None
naiad.ones(1).to("cuda", non_blocking=True)
assert found() is not None and len(cupy_memory._in_flight) == 2
fake_cupy.pending.clear()
naiad.ones(1).cuda()
assert found() is None and not cupy_memory._in_flight
""")


def test_a_limit_of_memory_is_an_error_with_its_size(run):  # noqa: F811
    run("""
naiad.cuda.set_per_process_memory_fraction(0.25)
x = naiad.empty(100 << 20, dtype=naiad.uint8, device="cuda")
try:
    naiad.empty(200 << 20, dtype=naiad.uint8, device="cuda")
except naiad.cuda.OutOfMemoryError as error:
    assert "this process may use 0.25 of it" in str(error)
else:
    raise AssertionError
""")


def test_a_full_gpu_frees_its_cache_and_then_says_so(run):  # noqa: F811
    run("""
x = naiad.empty(200 << 20, dtype=naiad.uint8, device="cuda")
y = naiad.empty(600 << 20, dtype=naiad.uint8, device="cuda")
del y
z = naiad.empty(700 << 20, dtype=naiad.uint8, device="cuda")  # fits once what y left is given back
assert naiad.cuda.memory_stats()["num_alloc_retries"] == 1
live = naiad.cuda.memory_allocated()
try:
    naiad.empty(500 << 20, dtype=naiad.uint8, device="cuda")
except naiad.cuda.OutOfMemoryError as error:
    assert "Tried to allocate 500.00 MiB" in str(error) and "which has 1.00 GiB" in str(error)
    assert f"({live} bytes) are in live tensors" in str(error)
else:
    raise AssertionError
assert naiad.cuda.memory_allocated() == live and naiad.cuda.memory_stats()["num_ooms"] == 1
del z
assert naiad.empty(500 << 20, dtype=naiad.uint8, device="cuda").numel() == 500 << 20
""")
