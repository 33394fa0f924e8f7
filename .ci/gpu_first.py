"""The first minute on a GPU: one thing after another, the simplest first, each told as soon as it is known.

``python .ci/gpu_first.py [--dry]`` prints a line per step: what held, its figures, or what went wrong. Steps run in one
process as long as its GPU context lives; after a fault that takes the context along, such as an illegal address, the
next ones go on in a process of their own. `--dry` takes the simulated device, and leaves out what only a GPU has.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import naiad as m
from naiad.core.diagnosis import installed

PACKAGES = "triton cupy-cuda12x cupy-cuda13x torch".split()
STEPS: dict[str, Callable[[], Any]] = {}
ON_GPU: set[str] = set()  # steps that the simulated device leaves out


def step(function: Callable | None = None, *, gpu: bool = False) -> Any:
    """Add a step; what it returns is told beside its name."""
    if function is None:
        return lambda f: step(f, gpu=gpu)
    STEPS[function.__name__.strip("_")] = function
    if gpu:
        ON_GPU.add(function.__name__.strip("_"))
    return function


def same(got: Any, want: Any, limit: float = 0.0) -> str:
    """The largest difference relative to the largest value; AssertionError where it passes `limit`."""
    got, want = (np.asarray(v, np.float64) for v in (got, want))
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    finite = np.isfinite(want)
    same_holes = np.array_equal(got[~finite], want[~finite], equal_nan=True) and np.isfinite(got[finite]).all()
    assert same_holes, f"NaN or infinities differ: {got.ravel()[:8]} for {want.ravel()[:8]}"
    scale = np.abs(want[finite]).max(initial=0.0) or 1.0
    worst = np.abs(got[finite] - want[finite]).max(initial=0.0) / scale
    assert worst <= limit, f"differs by {worst:.3g} of the largest value, {limit:.3g} allowed"
    return f"error {worst:.2g}"


def host(x: Any) -> np.ndarray:
    """The values of a tensor as float64."""
    return x.detach().cpu().double().numpy()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- the machine, memory, the first launch
@step
def what_is_here() -> str:
    found = f"{m.cuda.get_device_name(0)}, capability {m.cuda.get_device_capability(0)}, NumPy {np.__version__}"
    versions = [f"{name} {version}" for name in PACKAGES if (version := installed(name))]
    return ", ".join([found, *versions, f"naiad {m.__version__}"])


@step
def memory_goes_there_and_back() -> str:
    x = np.arange(1 << 18, dtype=np.float32)
    assert np.array_equal(m.from_numpy(x).cuda().cpu().numpy(), x)
    return f"{m.cuda.memory_allocated()} bytes live, {m.cuda.memory_reserved()} taken"


@step
def one_add() -> str:
    x = m.from_numpy(np.arange(7, dtype=np.float32)).cuda()
    start = time.perf_counter()
    got = (x + x).tolist()
    first = time.perf_counter() - start
    assert got == [0, 2, 4, 6, 8, 10, 12], got
    return f"compiled and run in {first:.2f} s"


@step(gpu=True)
def the_launch_costs() -> str:
    x = m.ones(4, device="cuda")
    told = []
    for name, call in (("add", lambda: x + x), ("softmax", lambda: m.softmax(x, 0)), ("sum", lambda: x.sum())):
        for _ in range(10):
            call()
        m.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(2000):
            call()
        issued = time.perf_counter() - start
        m.cuda.synchronize()
        told.append(f"{name} {issued / 2e-3:.2f} us issued, {(time.perf_counter() - start) / 2e-3:.2f} done")
    return "; ".join(told)


@step
def every_dtype_adds() -> str:
    names = "uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()
    for name in names:
        x = m.arange(10).to(getattr(m, name)).cuda()
        assert (x + x).cpu().tolist() == [2 * v for v in range(10)], name
        assert (x * 3).cpu().tolist() == [3 * v for v in range(10)], name
    flags = m.tensor([True, False], device="cuda")
    assert (flags | ~flags).tolist() == [True, True] and flags.sum().item() == 1
    return f"{len(names)} dtypes"


@step
def views_read_where_they_lie() -> str:
    x = normal(33, 65)
    there = m.from_numpy(x).cuda()
    for cut in (lambda a: a.T, lambda a: a[1:, 1:], lambda a: a[::2, 3::5], lambda a: a[:, :1], lambda a: a[5]):
        same(host(cut(there) * 2 + 1), cut(x) * 2 + 1, 1e-6)
    there[1:4, ::2] = 7
    x[1:4, ::2] = 7
    return same(host(there), x)


# ---------------------------------------------------------------- arithmetic, where compiled code is its own judge
@step
def functions_are_accurate() -> str:
    x = np.concatenate([np.linspace(-20, 20, 4001), [1e-40, 1e-30, 1e30, np.inf, -np.inf, np.nan]]).astype(np.float32)
    there, worst = m.from_numpy(x).cuda(), {}
    with np.errstate(all="ignore"):
        for name, want in {
            **{
                n: getattr(np, n)
                for n in "exp exp2 expm1 log log2 log1p sqrt sin cos tan tanh sinh arctan floor".split()
            },
            **{"sigmoid": lambda v: 1 / (1 + np.exp(-v)), "rsqrt": lambda v: 1 / np.sqrt(v)},
        }.items():
            exact, got = want(x.astype(np.float64)), host(getattr(m, name)(there))
            rounded = exact.astype(np.float32).astype(np.float64)
            holes = ~np.isfinite(rounded)
            assert np.array_equal(got[holes], rounded[holes], equal_nan=True), (
                f"{name}: {x[holes][:5]} -> {got[holes][:5]}"
            )
            units = np.abs(got - exact)[~holes] / np.maximum(
                np.spacing(np.abs(rounded[~holes]).astype(np.float32)), 1e-45
            )
            worst[name] = float(units.max())
    bad = {n: round(u, 1) for n, u in worst.items() if u > 4}
    assert not bad, f"units in the last place: {bad}"
    return f"at most {max(worst.values()):.2f} units in the last place, denormals too"


@step
def integers_divide_and_shift() -> str:
    x, y = np.array([-7, 7, -7, 7, -8, 0, 2**31 - 1]), np.array([2, -2, -2, 2, 3, 5, -1])
    a, b = m.from_numpy(x).cuda(), m.from_numpy(y).cuda()
    same(host(a // b), x // y)
    same(host(a % b), x % y)
    same(host(m.fmod(a, b)), np.fmod(x, y))
    same(host(m.div(a, b, rounding_mode="trunc")), np.trunc(x / y))
    assert (m.tensor([1, -8, 255], device="cuda") >> 2).tolist() == [0, -2, 63]
    assert m.tensor([-1.5, 2.7, 300.0], device="cuda").to(m.int32).tolist() == [-1, 2, 300]
    return ""


@step
def nan_wins() -> str:
    x = np.array([[1, np.nan, 3], [2, 5, 4]], np.float32)
    there = m.from_numpy(x).cuda()
    same(host(there.amax(1)), [np.nan, 5])
    same(host(m.maximum(there, there * 0 + 2)), np.maximum(x, 2))
    assert there.argmax(1).tolist() == [1, 1] and there[:, :1].argmax(1).tolist() == [0, 0]
    return same(host(there.clamp(2, 4)), np.clip(x, 2, 4))


# ---------------------------------------------------------------- families of kernels, beside float64
@step
def reductions() -> str:
    x = normal(257, 1000)
    there, wide = m.from_numpy(x).cuda(), x.astype(np.float64)
    for dim in (0, 1, None):
        same(host(there.sum() if dim is None else there.sum(dim)), wide.sum(dim), 1e-5)
    same(host(there.var(1)), wide.var(1, ddof=1), 1e-5)
    same(host(m.cumsum(there, 1)), wide.cumsum(1), 1e-5)
    long = normal(3, 1_000_000)
    return same(host(m.from_numpy(long).cuda().sum(1)), long.astype(np.float64).sum(1), 1e-5)


@step
def softmax_and_norms() -> str:
    for shape in ((64, 1000), (3, 50_000)):
        x = normal(*shape)
        e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
        same(host(m.softmax(m.from_numpy(x).cuda(), 1)), e / e.sum(1, keepdims=True), 1e-5)
    x = normal(64, 1000).astype(np.float64)
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return same(host(m.nn.functional.layer_norm(m.from_numpy(x).float().cuda(), (1000,))), want, 1e-5)


@step
def products() -> str:
    a, b = normal(200, 300), normal(300, 150, seed=1)
    told = []
    for name, limit in (("float64", 1e-12), ("float32", 3e-6), ("float16", 2e-3), ("bfloat16", 1e-2)):
        x, y = (m.from_numpy(v).to(getattr(m, name)).cuda() for v in (a, b))
        told.append(f"{name} {same(host(x @ y), host(x) @ host(y), limit)}")
    whole = m.from_numpy((10 * a).astype(np.int64)).cuda()
    same(host(whole @ whole.T), host(whole) @ host(whole).T)
    return ", ".join(told)


@step
def convolution() -> str:
    m.backends.cudnn.allow_tf32 = False
    found = []
    for device in ("cpu", "cuda"):
        x = m.from_numpy(normal(2, 8, 14, 14)).to(device).requires_grad_()
        w = m.from_numpy(normal(6, 8, 3, 3, seed=1)).to(device).requires_grad_()
        y = m.nn.functional.max_pool2d(m.nn.functional.conv2d(x, w, padding=1), 2)
        y.sin().sum().backward()
        found.append([host(v) for v in (y, x.grad, w.grad)])
    return max(same(there, here, 1e-5) for here, there in zip(*found, strict=True))


@step
def attention() -> str:
    found = []
    for device in ("cpu", "cuda"):
        q, k, v = (m.from_numpy(normal(2, 3, 70, 32, seed=s)).to(device).requires_grad_() for s in range(3))
        y = m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y.sin().sum().backward()
        found.append([host(t) for t in (y, q.grad, k.grad, v.grad)])
    return max(same(there, here, 2e-5) for here, there in zip(*found, strict=True))


@step
def picking_sorting_scattering() -> str:
    x, index = normal(50, 40), np.random.default_rng(2).integers(0, 50, (20, 40))
    there, places = m.from_numpy(x).cuda(), m.from_numpy(index).cuda()
    same(host(there.gather(0, places)), np.take_along_axis(x, index, 0))
    added = x.astype(np.float64)
    np.add.at(added, (index, np.arange(40)[None, :]), x[:20].astype(np.float64))
    same(host(there.scatter_add(0, places, there[:20])), added, 1e-6)
    same(host(there.sort(1)[0]), np.sort(x, 1))
    long = normal(20_000)
    same(host(m.from_numpy(long).cuda().sort()[0]), np.sort(long))
    assert (there > 0).nonzero().cpu().numpy().tolist() == np.argwhere(x > 0).tolist()
    return ""


@step
def random_numbers_are_those_of_the_cpu() -> str:
    drawn = []
    for device in ("cpu", "cuda"):
        m.manual_seed(3)
        drawn.append([host(f) for f in (m.rand(1000, device=device), m.randn(1000, device=device),
                                        m.randint(0, 100, (1000,), device=device))])  # fmt: skip
    (u, n, i), (cu, cn, ci) = drawn
    assert np.array_equal(u, cu) and np.array_equal(i, ci), "uniforms or integers differ"
    return same(cn, n, 1e-6)


@step
def a_network_learns_as_on_the_cpu() -> str:
    curves = []
    for device in ("cpu", "cuda"):
        m.manual_seed(0)
        net = m.nn.Sequential(m.nn.Linear(20, 32), m.nn.GELU(), m.nn.LayerNorm(32), m.nn.Linear(32, 5)).to(device)
        optimizer = m.optim.AdamW(net.parameters(), lr=1e-2)
        x, y = m.from_numpy(normal(16, 20)).to(device), (m.arange(16) % 5).to(device)
        losses = []
        for _ in range(10):
            loss = m.nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    return f"{same(curves[1], curves[0], 1e-4)}, loss {curves[1][0]:.3f} to {curves[1][-1]:.3f}"


# ---------------------------------------------------------------- streams, limits, faults
@step
def streams_and_pinned_memory() -> str:
    side, x = m.cuda.Stream(), m.from_numpy(normal(1 << 16)).pin_memory()
    with m.cuda.stream(side):
        there = x.to("cuda", non_blocking=True)
        there.record_stream(m.cuda.current_stream())
        y = there * 2
    m.cuda.current_stream().wait_stream(side)
    back = (y + 1).to("cpu", non_blocking=True)
    m.cuda.synchronize()
    start, stop = (m.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    (y @ y).item()
    stop.record()
    stop.synchronize()
    assert start.elapsed_time(stop) >= 0
    return same(back.numpy(), x.numpy() * 2 + 1, 1e-6)


@step(gpu=True)
def more_than_int32_counts() -> str:
    rows, columns = 4096, 600_000
    x = m.ones((rows, columns), dtype=m.float16, device="cuda")
    same(host(m.softmax(x, 0)[-1, -3:]), np.full(3, 1 / rows), 1e-3)
    same(host(x.cumsum(0)[-1, -3:]), np.full(3, rows))
    assert x.sum(0)[-1].item() == rows and x.sum(dtype=m.float32).item() == float(rows * columns)
    assert (x.T.contiguous()[-1, -1] + x[-1, -1]).item() == 2
    del x
    m.cuda.empty_cache()
    return f"{rows * columns} elements"


@step(gpu=True)
def a_full_gpu_says_so() -> str:
    try:
        m.empty(m.cuda.mem_get_info()[1] * 2, dtype=m.uint8, device="cuda")
    except m.cuda.OutOfMemoryError as error:
        assert "Tried to allocate" in str(error)
    else:
        raise AssertionError("twice the GPU's memory was given")
    return str((m.ones(3, device="cuda") + 1).tolist())


@step(gpu=True)
def speeds_beside_pytorch() -> str:
    try:
        import torch
    except ImportError:
        torch = None
    told = []
    q = (4, 16, 4096, 128)
    for what, shape, work, call in (
        ("matmul 8192 bfloat16, TFLOP/s", (8192, 8192), 2 * 8192**3 / 1e12, lambda lib, x: x @ x),
        ("causal attention, TFLOP/s", q, 2 * 4 * 16 * 4096**2 * 128 / 1e12,
         lambda lib, x: lib.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)),
        ("add of 2**28 bfloat16, TB/s", (1 << 28,), 6 * 2**28 / 1e12, lambda lib, x: x + x),
        ("softmax (16384, 4096), TB/s", (16384, 4096), 4 * 16384 * 4096 / 1e12, lambda lib, x: lib.softmax(x, 1)),
    ):  # fmt: skip
        rates = []
        for lib in [m] + ([torch] if torch else []):
            x = lib.randn(shape, device="cuda").to(lib.bfloat16)
            for _ in range(3):
                call(lib, x)
            lib.cuda.synchronize()
            begun = time.perf_counter()
            for _ in range(20):
                call(lib, x)
            lib.cuda.synchronize()
            rates.append(work / ((time.perf_counter() - begun) / 20))
        told.append(f"{what}: " + " / torch ".join(f"{r:.3g}" for r in rates))
    return "; ".join(told)


@step(gpu=True)
def an_index_out_of_range_is_told() -> str:
    x = m.ones(4, device="cuda")
    try:
        x[m.tensor([9], device="cuda")].tolist()
    except (RuntimeError, IndexError) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    raise AssertionError("no error")


# ---------------------------------------------------------------- running them
def lives() -> bool:
    """Whether the GPU's context still works."""
    try:
        m.cuda.synchronize()
        return (m.ones(1).cuda() + 1).item() == 2
    except Exception:  # whatever it is, nothing can be asked of this process
        return False


def here(names: Sequence[str]) -> None:
    """Run steps in this process, until the GPU's context is gone."""
    for name in names:
        start = time.perf_counter()
        try:
            told, held = STEPS[name]() or "", True
        except Exception as error:  # a step's failure is its result; the others go on
            traceback.print_exc()
            told, held = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", False
        title = name.replace("_", " ")
        print(f"{'ok    ' if held else 'FAILED'} {time.perf_counter() - start:7.2f} s  {title}  {told}", flush=True)
        if not lives():
            print("       the GPU's context is lost; the next step gets a process of its own", flush=True)
            return


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 where all steps held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dry", action="store_true", help="on the simulated device")
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.dry:
        os.environ["NAIAD_CUDA"] = "interpret"
    if given.steps:
        here(given.steps.split(","))
        return 0
    names = [n for n in STEPS if not (given.dry and n in ON_GPU)]
    done = bad = 0
    while done < len(names):
        # The child says on its standard output which steps it came through.
        command = [sys.executable, __file__, "--steps", ",".join(names[done:]), *(["--dry"] if given.dry else [])]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        before = done
        for line in child.stdout:
            print(line, end="", flush=True)
            done += line.startswith(("ok    ", "FAILED"))
            bad += line.startswith("FAILED")
        child.wait()
        if done == before:
            print(
                f"FAILED         {names[done].replace('_', ' ')}  the process ended with {child.returncode}", flush=True
            )
            done, bad = done + 1, bad + 1
    print(f"{len(names) - bad} of {len(names)} steps held", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
