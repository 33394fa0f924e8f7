"""Our launcher against the one that Triton would have used: the same parameters, grid, threads and shared memory."""

import os
from types import SimpleNamespace

import pytest
from test_kernels.test_aot import compiled_for
from test_launch_gpu_path import cache, library, pytestmark, run  # noqa: F401

from naiad.kernels import compiler, cubin, cubin_cache


def test_every_launch_is_the_one_that_triton_would_make(run):  # noqa: F811
    kernels = {(e["case"], e["kernel"]) for e in compiled_for(90)["entries"]}  # into the cache that is used below
    share = 1 if os.environ.get("NAIAD_AOT") == "all" else 6  # of six one, where there is no time for all
    code = f"import both_launchers; print(both_launchers.compare(stub, {share}))"
    told = run(code, NAIAD_CACHE_DIR=str(cubin_cache.folder().parent))
    assert int(told) >= len({kernel for _, kernel in kernels}) // share


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"num_ctas": 2}, "clusters of 2 programs"),
        ({"cluster_dims": (1, 2, 1)}, "clusters"),
        ({"launch_cooperative_grid": True}, "a cooperative launch"),
        ({"launch_pdl": True}, "programmatic dependent launch"),
        ({"tensordesc_meta": [{"swizzle": 1}]}, "tensor descriptors made by the host"),
        ({"instrumentation_mode": "gsan"}, "instrumentation"),
        ({"global_scratch_align": 512}, "scratch memory aligned"),
    ],
)
def test_what_our_launcher_does_not_do_is_refused(asked, told):
    plain = {"num_ctas": 1, "launch_pdl": False, "tensordesc_meta": [], "global_scratch_align": 128}
    assert compiler.refusals(SimpleNamespace(**plain)) == []
    (why,) = compiler.refusals(SimpleNamespace(**plain | asked))
    assert told in why


def test_parameters_are_read_from_a_cubin_only():
    with pytest.raises(ValueError, match="not a 64-bit ELF file"):
        cubin.parameters(b"MZ and so on", "kernel")
