"""Kernels that read where an index says check it on a GPU too: the assertion is in what is compiled."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("naiad.kernels.launch")
PROGRAM = """
import json, tempfile
from pathlib import Path
from naiad.bench import aot_cases
from naiad.kernels import compiler
from naiad.kernels.launch import recording

found, texts = {}, []
compiler.cubin_cache.load = lambda name: None
compiler.cubin_cache.save = lambda *given: None
for case in ("index_select", "index_add", "gather and scatter", "scatter amax", "nll", "silu float32"):
    with recording() as launches:
        aot_cases.CASES[case]()
    for kernel, _, args, constexprs, options in launches:
        name = kernel.__name__
        if compiler.asserts(kernel) and name not in found or name == "_body":
            spec = compiler.specialize(kernel, args, constexprs)
            keep = lambda made: texts.append(made.asm["ptx"]) or {}
            compiler.compiled(kernel, spec, tuple(options.values()), 90, keep)
            found[name] = "__assertfail" in texts[-1]
print(json.dumps(found))
"""


def test_indices_are_checked_in_what_is_compiled():
    environment = {k: v for k, v in os.environ.items() if k not in ("NAIAD_CUDA", "TRITON_INTERPRET")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name for name, checks in found.items() if checks} >= {
        "_index_select", "_index_add", "_gather", "_scatter", "_meeting", "_cross_entropy_fwd"
    }  # fmt: skip
    assert found["_body"] is False
