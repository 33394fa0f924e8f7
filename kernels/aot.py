"""Compiling kernels ahead of time for an architecture, with no GPU present, and reading what came out.

`specialize` is what a launch means to the compiler: the types of its arguments, which of them are constants, and which
are divisible by 16, without which there are no 16-byte accesses.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from naiad.kernels.launch import TRITON_TYPE, Scalar

ARCHITECTURES = (80, 86, 89, 90, 100, 120)


def specialize(kernel: Any, args: Sequence[Any], constexprs: dict[str, Any]) -> tuple[dict, dict, dict]:
    """(signature, constants, attributes) of a launch, as `triton.compiler.ASTSource` takes them."""
    run_time = [name for name in kernel.arg_names if name not in constexprs]
    signature: dict[str, str] = dict.fromkeys(kernel.arg_names, "constexpr")
    constants: dict[tuple[int, ...], Any] = {(kernel.arg_names.index(n),): v for n, v in constexprs.items()}
    attributes: dict[tuple[int, ...], list] = {}
    for name, arg in zip(run_time, args, strict=True):
        place = (kernel.arg_names.index(name),)
        if hasattr(arg, "buffer"):
            signature[name], number = "*" + TRITON_TYPE[arg.dtype.name], arg.ptr
        elif isinstance(arg, Scalar):
            signature[name], number = TRITON_TYPE[arg.dtype], None
        elif arg == 1:  # a stride of 1, mostly: worth a variant of its own
            constants[place] = 1
            continue
        else:
            signature[name], number = "i32" if -(2**31) <= arg < 2**31 else "i64", arg
        if number is not None and number % 16 == 0:
            attributes[place] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def compile_for(arch: int, kernel: Any, args: Sequence[Any], constexprs: dict[str, Any], options: dict) -> Any:
    """Triton's compiled kernel of a recorded launch for sm_`arch`."""
    signature, constants, attributes = specialize(kernel, args, constexprs)
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel uses: registers per thread, bytes of local memory (spills), bytes of shared memory."""

    registers: int
    local: int
    shared: int


def resources(compiled: Any) -> Resources:
    """Read off the cubin with the cuobjdump that Triton brings along."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    fields = {k: int(v) for k, v in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", shown)}
    return Resources(fields["REG"], fields["STACK"] + fields["LOCAL"], compiled.metadata.shared)
