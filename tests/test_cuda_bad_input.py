"""Wrong calls and broken installations on the way to a GPU: each is an error that says which, and what mends it."""

import os
import re
import subprocess
import sys

import pytest
from test_launch_gpu_path import cache, library, run  # noqa: F401 - fixtures

import naiad
from naiad.core import backend

F = naiad.nn.functional
simulated = pytest.mark.skipif(not backend.simulated(), reason="needs the simulated device: NAIAD_CUDA=interpret")
TOGETHER = "Expected all tensors to be on the same device, but found at least two devices: "


def parts():
    """The same tensor on the host, on cuda:0 and on cuda:1, and numbers of its rows on the first two."""
    here = naiad.ones(3, 3)
    rows = naiad.tensor([0, 1, 2])
    return here, here.cuda(), here.to("cuda:1"), rows, rows.cuda()


MIXED = {
    "add": (lambda h, c, d, i, ic: c + h, "add: ", "input on cuda:0, other on cpu"),
    "add of two GPUs": (lambda h, c, d, i, ic: c + d, "add: ", "input on cuda:0, other on cuda:1"),
    "add_": (lambda h, c, d, i, ic: c.add_(h), "add: ", "input on cuda:0, other on cpu"),
    "matmul": (lambda h, c, d, i, ic: h @ c, "matmul: ", "input on cpu, other on cuda:0"),
    "linear": (lambda h, c, d, i, ic: F.linear(c, h), "linear: ", "input on cuda:0, weight on cpu"),
    "module": (lambda h, c, d, i, ic: naiad.nn.Linear(3, 3)(c), "linear: ", "input on cuda:0, weight on cpu, bias on"),
    "conv1d": (lambda h, c, d, i, ic: F.conv1d(c[None], d[None]), "conv: ", "input on cuda:0, weight on cuda:1"),
    "cat": (lambda h, c, d, i, ic: naiad.cat([c, c, h]), "cat: ", r"tensors\[1\] on cuda:0, tensors\[2\] on cpu"),
    "where": (lambda h, c, d, i, ic: naiad.where(c > 0, c, h), "where: ", "input on cuda:0, other on cpu"),
    "embedding": (lambda h, c, d, i, ic: F.embedding(ic, h), "embedding: ", "weight on cpu, index on cuda:0"),
    "loss": (lambda h, c, d, i, ic: F.cross_entropy(c, i), "cross_entropy: ", "input on cuda:0, target on cpu"),
    "norm": (lambda h, c, d, i, ic: F.layer_norm(c, (3,), h[0]), "", "input on cuda:0, weight on cpu"),
    "gather": (lambda h, c, d, i, ic: c.gather(0, i[None]), "gather: ", "input on cuda:0, index on cpu"),
    "attention": (lambda h, c, d, i, ic: F.scaled_dot_product_attention(c, h, c), "attention: ", "k on cpu"),
    "masked_fill": (lambda h, c, d, i, ic: c.masked_fill(h > 0, 1), "masked_fill: ", "mask on cpu"),
    "out": (lambda h, c, d, i, ic: naiad.add(c, c, out=h), "", "out= on cpu, the result on cuda:0"),
}


@simulated
@pytest.mark.parametrize("name", MIXED)
def test_tensors_on_different_devices(name):
    call, op, where = MIXED[name]
    with pytest.raises(RuntimeError, match=f"^{op}.*{re.escape(TOGETHER)}.*{where}.*(Move|Make)"):
        call(*parts())


@simulated
def test_what_may_mix_and_what_may_not():
    here, there, _, rows, rows_there = parts()
    assert (there * naiad.tensor(2.0)).device == there.device  # a number of the host's joins
    assert there[rows].tolist() == there[rows_there].tolist() == here.tolist()
    for wrong in (lambda: here[rows_there], lambda: there[rows.to("cuda:1")]):
        with pytest.raises(RuntimeError, match=r"indices should be either on cpu or on the same device.*\.to\('c"):
            wrong()
    with pytest.raises(TypeError, match=r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\)"):
        there.numpy()
    with pytest.raises(RuntimeError, match="device 'cuda:7': invalid device ordinal, there are 2 devices"):
        here.to("cuda:7")


@simulated
def test_dtypes_that_kernels_do_not_take():
    x = naiad.ones(3, device="cuda")
    with pytest.raises(NotImplementedError, match="\"relu\" not implemented for 'complex64': it takes integer or"):
        F.relu(x.to(naiad.complex64))
    with pytest.raises(NotImplementedError, match="\"softmax\" not implemented for 'complex64': convert first"):
        F.softmax(x.to(naiad.complex64), 0)
    with pytest.raises(NotImplementedError, match="conv1d: not implemented for 'int64': it takes floating-point"):
        F.conv1d(x.long()[None, None], x.long()[None, None])
    with pytest.raises(RuntimeError, match=r"matmul: expected m1 and m2 to have the same dtype.*\.to\(dtype\)"):
        x @ x.double()


# ---------------------------------------------------------------- installations
def broken(folder, **files):
    """Run `naiad.ones(2).cuda()` with modules of these texts in front of all others; what it says."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    clean = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    code = "import naiad\nassert not naiad.cuda.is_available()\nnaiad.ones(2).cuda()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | {"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


# What a machine with a driver for CUDA 12.4 looks like to `naiad.core.diagnosis`.
DRIVER = "import naiad.core.diagnosis as d\nd.driver_version = lambda: 12040\n"


def test_no_driver(tmp_path):
    said = broken(tmp_path)
    assert re.search(
        r"RuntimeError: device 'cuda': cuda is not available: no NVIDIA driver was found .*: install one, "
        r"or use device='cpu', or set NAIAD_CUDA=interpret",
        said,
    )


def test_a_vendor_library_that_cupy_misses(tmp_path):
    text = "raise ImportError('libnvrtc.so.12: cannot open shared object file: No such file or directory')"
    said = broken(tmp_path, sitecustomize=DRIVER, cupy=text)
    assert said.endswith(
        "cuda is not available: importing CuPy failed: libnvrtc.so.12: cannot open shared object file: No such file or "
        "directory. Reinstall it: pip install 'naiad[cuda12]'"
    )


def test_no_cupy(tmp_path):
    said = broken(tmp_path, sitecustomize=DRIVER + "import sys\nsys.modules['cupy'] = None\n")
    assert "CuPy is not installed, which naiad takes GPU memory and streams from: pip install 'naiad[cuda12]'" in said


CUPY_13 = """
import sys, types
class CUDARuntimeError(RuntimeError): pass
__version__ = "14.2.0"
runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, runtimeGetVersion=lambda: 13000)
def insufficient():
    raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
runtime.getDeviceCount = insufficient
cuda = types.SimpleNamespace(runtime=runtime)
"""


def test_a_cupy_of_another_major_than_the_driver(tmp_path):
    said = broken(tmp_path, sitecustomize=DRIVER, cupy=CUPY_13)
    assert said.endswith(
        "the installed CuPy 14.2.0 is made for CUDA 13, and the driver serves only CUDA 12.4: "
        "pip uninstall -y cupy-cuda13x && pip install 'naiad[cuda12]', or update the driver"
    )


def test_a_user_s_kernel_with_a_wrong_signature_on_a_gpu(run, tmp_path):  # noqa: F811
    (tmp_path / "mine.py").write_text("""
import triton
import triton.language as tl

@triton.jit
def _twice(out_ptr, x_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, 2 * tl.load(x_ptr + i, mask=i < n), mask=i < n)

@triton.jit
def _wrong(out_ptr, x_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, nothing + tl.load(x_ptr + i, mask=i < n), mask=i < n)
""")
    run(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import mine
from naiad import library
def register(launch):
    @library.op("test::twice", kernel=launch, rule=lambda x: x, samples=lambda s: [s.call(s(4))])
    def twice(x):
        return 2 * x
    library.remove("test::twice")
    return twice
def said(launch):
    try:
        register(launch)(naiad.ones(4).cuda())
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
few = said(lambda out, x: library.launch(mine._twice, 1, out, x, BLOCK=4))
assert few.startswith("TypeError: launch of _twice(out_ptr, x_ptr, n, BLOCK)") and "'n' is missing" in few, few
more = said(lambda out, x: library.launch(mine._twice, 1, out, x, 4, 5, BLOCK=4))
assert "1 arguments too many" in more, more
name = said(lambda out, x: library.launch(mine._wrong, 1, out, x, 4, BLOCK=4))
assert name.startswith("RuntimeError: _wrong: Triton ") and "does not compile it for sm_90 (*fp32, *fp32, i32" in name
assert "nothing is not defined" in name, name
assert said(lambda out, x: library.launch(mine._twice, 1, out, x, 4, BLOCK=4)) is None
assert stub.last().name == "_twice"
""")
