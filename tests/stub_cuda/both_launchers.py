"""Every launch that is compiled ahead of time, by our launcher and by Triton's own, on the stub driver library."""

import importlib.util
import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import triton
import triton.backends.nvidia.driver as nvidia

from naiad.bench import aot_cases
from naiad.kernels import aot, compiler, cubin, driver
from naiad.kernels.launch import Scalar

ARCH = 90  # what the stand-in for CuPy says


def quickly(src, name, **given):
    """Triton's launcher of one signature (before 3.8 there is one for each), built without the optimizer."""
    folder = Path(tempfile.mkdtemp())
    (folder / "launcher.c").write_text(src)
    include = [f"-I{Path(nvidia.__file__).parent / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
    library = folder / f"{name}.so"
    sources = [str(folder / "launcher.c"), f"{os.environ['LD_LIBRARY_PATH']}/libcuda.so.1"]
    command = ["gcc", "-O0", "-w", "-shared", "-fPIC", *include, *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare():
    """Make Triton's launcher work on the stub."""
    triton.knobs.nvidia.libcuda_path = os.environ["LD_LIBRARY_PATH"]
    if hasattr(nvidia, "make_launcher"):
        nvidia.compile_module_from_src = quickly
        if not hasattr(nvidia, "PyCUtensorMap") or nvidia.PyCUtensorMap is None:
            nvidia.PyCUtensorMap = type("NoTensorMap", (), {})
    else:
        utils = nvidia.CudaUtils()
        triton.runtime.driver.set_active(SimpleNamespace(utils=utils))


def theirs(kernel, spec, made, grid, args, stream):
    """Triton's launcher, given the same arguments."""
    asked = SimpleNamespace(
        num_ctas=1, num_warps=made.warps, shared=made.shared, tensordesc_meta=[], instrumentation_mode="",
        global_scratch_size=made.scratch, global_scratch_align=made.scratch_alignment, launch_cooperative_grid=False,
        profile_scratch_size=made.profile, profile_scratch_align=1, launch_pdl=False,
    )  # fmt: skip
    source = SimpleNamespace(constants={}, signature=dict(spec.signature), fn=kernel)
    launcher = nvidia.CudaLauncher(source, asked)
    values, given = [], iter(args)
    run_time = {name for name, kind in spec.signature if kind != "constexpr"}
    ones = {kernel.arg_names[i] for i, value in spec.constants} - set(constants_of(kernel))
    for name in kernel.arg_names:
        arg = next(given) if name in run_time or name in ones else None
        values.append(arg.ptr if hasattr(arg, "buffer") else arg.value if isinstance(arg, Scalar) else arg)
    packed = (made.warps, 1, made.shared)
    launcher(*grid, stream, driver.load(made, 0, kernel.__name__), packed, None, None, None, *values)


def constants_of(kernel):
    return [p.name for p in kernel.params if p.is_constexpr]


class Place:
    """Memory at an address of its own."""

    device_index, count = 0, 0

    def __init__(self):
        Place.count += 1
        self.ptr = Place.count << 20

    def allocate(self, nbytes):
        return Place()


def compare(stub, share=1):
    """Launch everything twice, or every so manieth kernel. Returns how many there were."""
    prepare()
    seen = set()
    for case in aot_cases.CASES:
        for number, (kernel, grid, args, constexprs, options) in enumerate(aot._recorded(aot.CASES, case)):
            key = aot._name(aot.CASES, case, number, ARCH)
            if key in seen:
                continue
            seen.add(key)
            if len(seen) % share:
                continue
            for arg in args:
                if hasattr(arg, "buffer"):
                    arg.buffer = Place()
            options = tuple(options.values())
            driver.start(kernel, grid, args, constexprs, options)
            ours = stub.last()
            spec = compiler.specialize(kernel, args, constexprs)
            made = compiler.compiled(kernel, spec, options, ARCH)
            assert made.scratch == made.profile == 0, (case, kernel)
            theirs(kernel, spec, made, grid, args, ours.stream)
            assert ours == stub.last(), (case, kernel, ours, stub.last())
            assert ours.attributes == 0 and ours.block == (32 * made.warps, 1, 1) and ours.shared == made.shared
            assert cubin.parameters(made.code, made.name)[: len(spec.sizes)] == spec.sizes, (case, kernel)
            assert len(ours.values) == len(spec.sizes) + 2 and ours.values[-2:] == [0, 0], (case, kernel)
    return len(seen) // share
