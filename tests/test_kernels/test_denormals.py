"""Numbers too small for a leading bit: libdevice keeps them in what is compiled, as PyTorch does."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("naiad.kernels.launch")
PROGRAM = """
from naiad.bench import aot_cases
from naiad.kernels import attention, compiler
from naiad.kernels.launch import recording

compiler.cubin_cache.load = lambda name: None
compiler.cubin_cache.save = lambda *given: None
with recording() as launches:
    aot_cases.body(lambda m, x: m.log(x) + m.rsqrt(x) + m.floor(x), ["float32"], "float32")
[(kernel, _, args, constexprs, options)] = launches
texts = []
spec = compiler.specialize(kernel, args, constexprs)
keep = lambda made: texts.append(made.asm["ptx"]) or {}
compiler.compiled(kernel, spec, tuple(options.values()), 90, keep)
assert "rsqrt.approx.f32" in texts[0] and ".ftz" not in texts[0], texts[0]
assert compiler.flushes(attention._attention_fwd)  # which asks tl.exp2 alone, of weights that vanish anyway
"""


def test_libdevice_keeps_denormals():
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
