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
x = naiad.ones(4).cuda()
s = naiad.cuda.Stream()
x.record_stream(s)
fake_cupy.log.clear()
del x
assert fake_cupy.log == [("wait", 0, s.cuda_stream)], fake_cupy.log
""")


def test_copies_wait_only_where_they_must(run):  # noqa: F811
    run("""
fake_cupy.log.clear()
x = naiad.ones(4).pin_memory().to("cuda", non_blocking=True)
assert [entry[0] for entry in fake_cupy.log] == ["copy"]
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
