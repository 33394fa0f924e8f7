"""The path that a real GPU takes, run without one: real compiler, real launcher, a stub in the driver library's place.

Each test runs a script in a process of its own, where the stub is found as libcuda.so.1 and CuPy's memory and streams
are played by `stub_cuda/fake_cupy.py`. Kernels compute nothing there; what is seen is what they would have been given.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STUB = Path(__file__).with_name("stub_cuda")
pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, to build the stub driver library"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton: pip install 'naiad[test]'"),
]
PRELUDE = """
import fake_cupy, helpers
stub = helpers.Stub(fake_cupy.install())
import numpy as np
import naiad
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The folder of the stub library."""
    folder = tmp_path_factory.mktemp("stub")
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(STUB / "stub.c")]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(library, cache):
    """Run Python on the stub; returns what it printed."""

    def run(code, **environment):
        clean = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET", "PYTHONPATH")}
        clean |= {"LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(STUB), "NAIAD_CACHE_DIR": str(cache)}
        command = [sys.executable, "-W", "error", "-c", PRELUDE + code]
        done = subprocess.run(command, env=clean | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_kernel_is_given_its_arguments(run):
    run("""
x, y = naiad.ones(3, 5).cuda(), naiad.ones(3, 5).cuda()
z = x + y
last = stub.last()
assert (last.name, last.grid, last.block) == ("_add", (1, 1, 1), (128, 1, 1)), last
assert last.values == [z.data_ptr(), x.data_ptr(), y.data_ptr(), 15, 0, 0], last
z = x * 2.5
assert stub.last().values[:2] == [z.data_ptr(), x.data_ptr()]
assert stub.last().floats[2] == 2.5 and stub.last().values[3] == 15
half = naiad.ones(4, dtype=naiad.float16).cuda() * 0.5
assert stub.last().floats[2] == 0.5  # halves come as float32
double = naiad.ones(4, dtype=naiad.float64).cuda() * 0.1
assert stub.last().doubles[2] == 0.1
naiad.nn.functional.pad(naiad.ones(4).cuda(), (1, 0), value=1e39)
assert stub.last(1).floats[1] == float("inf")
for _ in range(4):
    naiad.nn.functional.layer_norm(naiad.ones(4, 8).cuda(), (8,), eps=1e39)
    assert float("inf") in stub.last().floats
from naiad.kernels.launch import Scalar, launch
from naiad.kernels.ranges import _steps
launch(_steps, (1,), naiad.ones(4).cuda()._array, Scalar(-1e39, "float32"), Scalar(2.0, "float32"), 4, BLOCK=4)
assert stub.last().floats[1:3] == [float("-inf"), 2.0]
whole = naiad.ones(4, dtype=naiad.int64).cuda() * -7
assert stub.last().values[2] == 2**64 - 7
""")


def test_what_no_launch_can_pass_is_an_error(run):
    run("""
from naiad.kernels.launch import launch
from naiad.kernels.reduce import _times
x = naiad.ones(4).cuda()._array
for given in (np.int64(3), 1.5):
    try:
        launch(_times, (1,), x, given)
    except TypeError as error:
        assert "a launch takes device arrays, ints and Scalars" in str(error), error
    else:
        raise AssertionError
column = naiad.ones(5, 1).cuda()
assert column.argmax(1).shape == (5,) and stub.last().name == "_extreme_of"  # a size of 1 is a constant
""")


def test_views_are_given_by_address_and_strides(run):
    run("""
x = naiad.ones(8, 6).cuda()
before = stub.launches()
z = x.t()[1:] + 1
values = stub.last().values
assert values[:2] == [z.data_ptr(), x.data_ptr() + 4]
assert values[3:] == [40, 8, 6, 0, 0], values  # elements, a size and a stride; the stride of 1 is a constant
assert stub.launches() == before + 1
""")


def test_alignment_and_constants_choose_the_machine_code(run):
    run("""
x = naiad.ones(1024).cuda()
x + x
loads = stub.loads()
naiad.ones(1024).cuda() + x
assert stub.loads() == loads
x[1:] + x[1:]
assert stub.loads() == loads + 1
y = naiad.ones(2048).cuda()
y + y
assert stub.loads() == loads + 1  # the same code: only the number differs
""")


def test_the_second_process_compiles_nothing(run, cache):
    code = """
import time, naiad.kernels.compiler as compiler
compile = compiler._compile
made = []
compiler._compile = lambda *args: made.append(args[0].__name__) or compile(*args)
naiad.sigmoid(naiad.ones(7).cuda())
print(len(made))
"""
    assert [run(code), run(code)] == ["1\n", "0\n"]
    for path in (cache / "cubin").glob("*.cubin"):
        path.write_bytes(b"damaged")
    assert run(code) == "1\n"


def test_an_unwritable_cache_is_told_and_lived_without(run, tmp_path):
    place = tmp_path / "file"
    place.write_text("in the way")
    run(
        """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    naiad.ones(2).cuda() + 1
    naiad.ones(2).cuda() - 1
assert len(told) == 1 and "set NAIAD_CACHE_DIR to a writable folder" in str(told[0].message)
assert stub.last().name == "_sub"
""",
        NAIAD_CACHE_DIR=str(place),
    )


def test_much_shared_memory_is_asked_for(run):
    run("""
a = naiad.zeros(512, 512, dtype=naiad.bfloat16).cuda()
c = a @ a
assert stub.last().shared > 49152 and stub.last().values[0] == c.data_ptr()
""")


def test_launches_follow_the_current_stream_and_device(run):
    run("""
x = naiad.ones(4).cuda()
s = naiad.cuda.Stream()
with naiad.cuda.stream(s):
    x + 1
    assert stub.last().stream == s.cuda_stream == naiad.cuda.current_stream().cuda_stream != 0
x + 1
assert stub.last().stream == 0
there = naiad.ones(4).cuda(1)
assert naiad.cuda.current_device() == 0
assert (there + there).device == naiad.device("cuda:1")
assert naiad.cuda.current_device() == 0
with naiad.cuda.device(1):
    assert naiad.zeros(2, device="cuda").device.index == 1
""")


def test_threads_launch_with_parameters_of_their_own(run):
    run("""
import threading
x = naiad.ones(4).cuda()
x + x
failed = []
def work(n):
    y = naiad.ones(n).cuda()
    for _ in range(200):
        (y + y)
    if naiad.cuda.current_device() != 0:
        failed.append(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 6)]
[t.start() for t in threads], [t.join() for t in threads]
assert not failed and stub.launches() == 801
""")


def test_faults_of_the_driver_are_errors_and_leave_nothing_behind(run):
    run("""
x = naiad.ones(4).cuda()
x + x
live = naiad.cuda.memory_allocated()
stub.fail("cuLaunchKernel", 700)
try:
    x + x
except RuntimeError as error:
    assert "CUDA_ERROR_OF_THE_STUB" in str(error)
else:
    raise AssertionError
assert naiad.cuda.memory_allocated() == live
stub.fail("cuModuleLoadData", 222)
try:
    x - x
except RuntimeError as error:
    assert "the driver does not load its code for sm_90" in str(error) and "naiad.info" in str(error)
else:
    raise AssertionError
x - x
assert stub.last().name == "_sub"
""")


def test_a_refused_launch_names_its_kernel_whichever_way_it_goes(run):
    run("""
x, w = naiad.ones(4, 4).cuda(), naiad.ones(4, 4).cuda()
def refused(call, kernel):
    gc.collect()
    live = naiad.cuda.memory_allocated()
    stub.fail("cuLaunchKernel", 700)
    try:
        call()
    except RuntimeError as error:
        said = str(error)
    else:
        raise AssertionError
    assert said.startswith(f"{kernel}: the driver does not launch it on cuda:0 (grid (1, 1, 1)): "), said
    assert "CUDA_ERROR" in said and "NAIAD_CUDA=interpret" in said
    gc.collect()
    assert naiad.cuda.memory_allocated() == live
    call()
    assert stub.last().name == kernel
import gc
refused(lambda: x + w, "_add")
for _ in range(3):
    refused(lambda: naiad.softmax(x, 1), "_softmax_fwd")  # the third time from what was written down
with naiad.cuda.ledger():
    refused(lambda: x * w, "_mul")
x.requires_grad_()
y = (x * w).sum()
stub.fail("cuLaunchKernel", 700)
try:
    y.backward(retain_graph=True)
except RuntimeError as error:
    assert "does not launch it" in str(error)
assert x.grad is None
y.backward()
assert x.grad.shape == (4, 4)
""")


def test_failing_copies_name_what_was_copied_and_the_next_one_works(run):
    run("""
import gc
x = naiad.ones(2, 3).cuda()
copy = fake_cupy.Runtime.memcpyAsync
def fail(*args):
    raise fake_cupy.CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
live = naiad.cuda.memory_allocated()
for call, way in (
    (lambda: naiad.ones(2, 3).cuda(), "from the host to cuda:0"),
    (lambda: x.cpu(), "from cuda:0 to the host"),
    (lambda: x.sum(0).tolist(), "from cuda:0 to the host"),
):
    fake_cupy.Runtime.memcpyAsync = staticmethod(fail)
    try:
        call()
    except RuntimeError as error:
        said = str(error)
    else:
        raise AssertionError
    fake_cupy.Runtime.memcpyAsync = staticmethod(copy)
    size = "12 bytes (float32 of shape [3])" if "sum" in call.__code__.co_names else "24 bytes (float32 of shape [2, 3]"
    assert said.startswith(f"copying {size.rstrip(')')}) {way} failed: cudaErrorIllegalAddress"), said
    assert "naiad.cuda.ledger()" in said
    gc.collect()
    assert naiad.cuda.memory_allocated() == live
    call()
fake_cupy.Runtime.memcpyPeerAsync = staticmethod(fail)
try:
    x.to("cuda:1")
except RuntimeError as error:
    assert "from cuda:0 to cuda:1 failed: cudaErrorIllegal" in str(error), error
else:
    raise AssertionError
assert naiad.ones(2, 3).cuda().cpu().tolist() == [[1, 1, 1], [1, 1, 1]]
""")


def test_a_kernel_that_does_not_compile_is_named_and_tried_again(run, tmp_path):
    run(
        """
import triton
x = naiad.ones(4).cuda()
live = naiad.cuda.memory_allocated()
compile = triton.compile
def fail(*args, **named):
    raise RuntimeError("PassManager::run failed")
triton.compile = fail
try:
    x + x
except RuntimeError as error:
    said = str(error)
else:
    raise AssertionError
assert said.startswith(f"_add: Triton {triton.__version__} does not compile it for sm_90 (*fp32, *fp32,"), said
assert said.endswith("PassManager::run failed")
assert naiad.cuda.memory_allocated() == live
triton.compile = compile
x + x
assert stub.last().name == "_add"
""",
        NAIAD_CACHE_DIR=str(tmp_path),
    )


def test_torch_imported_before_or_after_changes_nothing(run):
    pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    first = "import warnings; warnings.simplefilter('ignore'); import torch\n"
    run(first + "naiad.ones(4).cuda() + 1\nassert stub.launches() == 1")
    run("naiad.ones(4).cuda() + 1\nimport sys; assert 'torch' not in sys.modules")
