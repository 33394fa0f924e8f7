"""The launching seam, and the interpreter's repairs, by kernels that compute in ways that ours avoid."""

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

launching = pytest.importorskip("naiad.kernels.launch")
pytest.importorskip("triton.runtime", reason="needs Triton: pip install 'naiad[test]'")
import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from triton.language.extra import libdevice  # noqa: E402

launch, Scalar = launching.launch, launching.Scalar


def in_process(code, **environment):
    """Run Python without a simulated device unless `environment` asks for one."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    return subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)


def test_launching_without_a_gpu_says_what_is_missing():
    code = "from naiad.kernels.copy import fill; from naiad.kernels.launch import launch\nlaunch(fill, (1,))"
    done = in_process(code)
    assert "RuntimeError: launching" in done.stderr
    assert "Set NAIAD_CUDA=interpret for the simulated device, or use the cpu" in done.stderr


def test_triton_imported_too_early_is_an_error_with_the_way_out():
    done = in_process("import triton, naiad.kernels.copy", NAIAD_CUDA="interpret")
    assert "RuntimeError" in done.stderr
    assert "Set TRITON_INTERPRET=1 in the environment" in done.stderr
    code = "import triton, naiad.kernels.copy"
    assert in_process(code, NAIAD_CUDA="interpret", TRITON_INTERPRET="1").returncode == 0


def test_nothing_is_touched_outside_of_interpret_mode():
    code = "import os, sys, naiad.kernels.copy\nassert 'TRITON_INTERPRET' not in os.environ"
    code += "\nassert 'naiad.kernels.interpreter' not in sys.modules\nimport naiad.kernels.reduce"
    done = in_process(code)
    assert done.returncode == 0, done.stderr


@triton.jit
def _double(out_ptr, x_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i, mask=i < n) * 2, mask=i < n)


def test_observers_see_each_launch(arrays, launched):
    x, out = arrays.device(np.float32([1, 2, 3])), arrays.empty((3,))
    launch(_double, (2,), out, x, 3, BLOCK=2)
    launch(_double, (0,), out, x, 3, BLOCK=2)
    np.testing.assert_array_equal(arrays.host(out), [2, 4, 6])
    assert launched == ["_double"]


def test_recording_runs_nothing(arrays):
    x, out = arrays.device(np.float32([1])), arrays.empty((1,))
    with launching.recording() as made:
        launch(_double, (1,), out, x, 1, BLOCK=2, num_warps=2)
    [(kernel, grid, args, constexprs, options)] = made
    assert (kernel, grid, args, constexprs) == (_double, (1, 1, 1), (out, x, 1), {"BLOCK": 2})
    assert options["num_warps"] == 2
    assert np.isnan(arrays.host(out)).all()


def test_a_wrong_number_of_arguments_is_an_error(arrays):
    with pytest.raises(TypeError, match=r"_double takes 3 run-time arguments \['out_ptr', 'x_ptr', 'n'\], got 1"):
        launch(_double, (1,), arrays.empty((1,)), BLOCK=2)


def test_access_outside_of_the_buffers_is_an_error(arrays):
    x, out = arrays.device(np.float32([1, 2, 3])), arrays.empty((3,))
    with pytest.raises(RuntimeError, match=r"a load at 0x.*, outside of every buffer"):
        launch(_double, (1,), out, x, 1000, BLOCK=1024)
    with pytest.raises(RuntimeError, match=r"a store at 0x.*, outside of every buffer"):
        launch(_double, (1,), out, arrays.empty((64,)), 64, BLOCK=64)


def test_grids_that_a_gpu_does_not_take_are_refused(arrays):
    with pytest.raises(RuntimeError, match=r"_last: a GPU takes 65535 programs along .*: \(1, 65536, 1\)"):
        launch(_last, (1, 65536), arrays.empty((1,), "int32"))


@triton.jit
def _last(out_ptr):
    tl.store(out_ptr, tl.program_id(0))


def test_programs_run_in_a_shuffled_order_on_request(arrays, monkeypatch):
    out = arrays.empty((1,), "int32")
    launch(_last, (50,), out)
    assert int(arrays.host(out)[0]) == 49
    monkeypatch.setenv("NAIAD_CUDA_SHUFFLE", "1")
    launch(_last, (50,), out)
    assert int(arrays.host(out)[0]) != 49


@triton.jit
def _scalars(out_ptr, a, b):
    tl.store(out_ptr, a)
    tl.store(out_ptr + 1, b)


def test_scalars_keep_their_precision(arrays):
    out = arrays.empty((2,), "float64")
    launch(_scalars, (1,), out, Scalar(0.1, "float64"), Scalar(0.1, "float32"))
    np.testing.assert_array_equal(arrays.host(out), [0.1, np.float32(0.1)])
    launch(_scalars, (1,), out, Scalar(1e39, "float32"), Scalar(-1e39, "float16"))
    np.testing.assert_array_equal(arrays.host(out), [np.inf, -np.inf])
    out = arrays.empty((2,), "int64")
    launch(_scalars, (1,), out, 2**40, Scalar(True, "bool"))
    np.testing.assert_array_equal(arrays.host(out), [2**40, 1])


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ((np.int64(3), 1.0), "not int64"),
        ((1.5, 2), "not float"),
        ((Scalar("1", "float32"), 2), "cannot pass"),
        ((Scalar(2**63, "int64"), 2), "cannot pass"),
        ((Scalar(-1, "uint8"), 2), "cannot pass"),
    ],
)
def test_what_a_gpu_could_not_be_given_is_an_error_here_too(arrays, values, what):
    with pytest.raises(RuntimeError, match=what):
        launch(_scalars, (1,), arrays.empty((2,), "float64"), *values)


@triton.jit
def _with_a_method(out_ptr, n):
    tl.store(out_ptr, n.to(tl.int64))


def test_the_number_one_is_a_constant_without_methods_as_in_compiled_kernels(arrays):
    out = arrays.empty((1,), "int64")
    launch(_with_a_method, (1,), out, 2)
    assert arrays.host(out)[0] == 2
    with pytest.raises(RuntimeError, match="'int' object has no attribute 'to'"):
        launch(_with_a_method, (1,), out, 1)


# bfloat16 -------------------------------------------------------------------------------------------------------------


@triton.jit
def _bfloat16(out_ptr, x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x, y = tl.load(x_ptr + i), tl.load(y_ptr + i)
    tl.store(out_ptr + i, x * y + x)
    tl.store(out_ptr + N + i, tl.where(x < y, tl.abs(x), -y))
    tl.store(out_ptr + 2 * N + i, tl.maximum(x, y) / tl.full([N], 3, tl.bfloat16))
    tl.store(out_ptr + 3 * N + i, (x < y).to(tl.bfloat16))


def test_bfloat16_arithmetic_rounds_to_nearest_even(arrays):
    bf16 = ml_dtypes.bfloat16
    x, y = (np.random.default_rng(s).normal(size=64).astype(bf16) for s in (0, 1))
    out = arrays.empty((4, 64), "bfloat16")
    launch(_bfloat16, (1,), out, arrays.device(x), arrays.device(y), N=64)
    got = arrays.host(out)
    np.testing.assert_array_equal(got[0], x * y + x)
    np.testing.assert_array_equal(got[1], np.where(x < y, np.abs(x), -y))
    want = np.maximum(x, y).astype("f") / np.float32(3)
    np.testing.assert_array_equal(got[2], want.astype(bf16))
    np.testing.assert_array_equal(got[3], (x < y).astype(bf16))


@triton.jit
def _reductions(out_ptr, x_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.store(out_ptr, tl.sum(x))
    tl.store(out_ptr + 1, tl.max(x))
    tl.store(out_ptr + 2, tl.max(tl.cumsum(x)))


def test_bfloat16_reductions(arrays):
    x = np.arange(1, 17).astype(ml_dtypes.bfloat16)
    out = arrays.empty((3,), "bfloat16")
    launch(_reductions, (1,), out, arrays.device(x), N=16)
    np.testing.assert_array_equal(arrays.host(out).astype("f"), [136, 16, 136])


@triton.jit
def _product(out_ptr, x_ptr, y_ptr, N: tl.constexpr):
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    x, y = tl.load(x_ptr + i * N + j), tl.load(y_ptr + i * N + j)
    tl.store(out_ptr + i * N + j, tl.dot(x, y))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dots_of_halves(arrays, dtype):
    x, y = (arrays.cast(np.random.default_rng(s).normal(size=(16, 16)), dtype) for s in (0, 1))
    out = arrays.empty((16, 16))
    launch(_product, (1,), out, arrays.device(x), arrays.device(y), N=16)
    np.testing.assert_allclose(arrays.host(out), x.astype("d") @ y.astype("d"), rtol=1e-5, atol=1e-5)


def test_every_float32_rounds_to_bfloat16_as_ml_dtypes_has_it():
    from naiad.kernels.interpreter import round_to_bfloat16, widen_bfloat16

    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32)
    x = np.concatenate([bits.view(np.float32), np.float32([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 3.4e38, 1e-45])])
    with np.errstate(all="ignore"):
        want = x.astype(ml_dtypes.bfloat16)
    got = round_to_bfloat16(x).view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
    np.testing.assert_array_equal(widen_bfloat16(got.view(np.uint16)), want.astype(np.float32))


# libdevice and loops --------------------------------------------------------------------------------------------------


@triton.jit
def _libdevice(out_ptr, x_ptr, n, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros([N], tl.float32)
    for _ in range(tl.cdiv(n, 2)):
        total += libdevice.pow(tl.load(x_ptr + i), tl.full([N], 2, tl.float32))
    tl.store(out_ptr + i, libdevice.erf(total))


def test_libdevice_and_loops_over_tensors(arrays):
    x = np.float32([0, 0.1, 0.2, 0.3])
    out = arrays.empty((4,))
    launch(_libdevice, (1,), out, arrays.device(x), 5, N=4)
    import math

    np.testing.assert_allclose(arrays.host(out), [math.erf(3 * v * v) for v in x.tolist()], rtol=1e-6)
