"""Every primitive of the op table has a kernel or says which vendor library serves it, and why; kernels exist."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

import naiad
from naiad.core.dtype import BOOL, FLOAT, INT
from naiad.core.elementwise import Elementwise
from naiad.core.op import OPS
from naiad.core.primitive import Primitive

PACKAGES = ("naiad.ops", "naiad.autograd", "naiad.nn", "naiad.optim", "naiad.amp")


def primitives() -> list[Primitive]:
    """All of the table that computes: views only look."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            importlib.import_module(module.name)
    return [op for op in OPS.values() if isinstance(op, Primitive) and not op.view and _is_ours(op)]


def _is_ours(op: Primitive | Elementwise) -> bool:
    """Not made by a test or a user."""
    return (op.body.__module__ or "").startswith("naiad.") and "::" not in op.name


def test_every_primitive_has_a_kernel_or_a_vendor() -> None:
    missing = [op.name for op in primitives() if not op.kernel and not op.vendor]
    assert not missing, f"no kernel on cuda and no vendor= that says why: {missing}"
    assert len(primitives()) > 100


def test_vendors_are_named_with_a_reason() -> None:
    for op in primitives():
        assert not op.vendor or len(op.vendor.split()) > 2, op.name


def test_the_kernels_that_entries_name_exist() -> None:
    pytest.importorskip("triton", reason="kernels need the cuda extra: pip install 'naiad[cuda12]'")
    from naiad.core.backend import launcher

    for op in primitives():
        for kernel in (op.kernel, op.parts if "." in (op.parts or "") else None):
            if isinstance(kernel, str):
                assert callable(launcher(kernel, op.name)), op.name


def test_every_elementwise_body_can_be_printed() -> None:
    pytest.importorskip("triton", reason="kernels need the cuda extra: pip install 'naiad[cuda12]'")
    from naiad.kernels.elementwise import prepare

    primitives()
    # Derivatives are printed when they are needed, some for complex numbers only.
    bodies = [op for op in OPS.values() if isinstance(op, Elementwise) and _is_ours(op)]
    bodies = [op for op in bodies if "_grad_" not in op.name]
    assert len(bodies) > 100
    for op in bodies:
        for kind in op.kinds & {BOOL, INT, FLOAT}:
            dtype = {BOOL: "bool", INT: "int64", FLOAT: "float32"}[kind]
            dtypes = ["bool" if i in op.flags else dtype for i in range(len(op.operands))]
            lines, value = op.traced()
            source = prepare(op.name, op.operands, lines, value, dtypes, dtype).source(("flat",) * (1 + len(dtypes)))
            assert "tl.store" in source, op.name


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret")
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.0, float("inf"), float("-inf")])
def test_rows_of_an_embedding_are_scaled_down_in_place(norm_type: float) -> None:
    table = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    results = []
    for device in ("cpu", "cuda"):
        weight, index = naiad.tensor(table, device=device), naiad.tensor([[1, 4], [1, 2]], device=device)
        rows = naiad.nn.functional.embedding(index, weight, max_norm=1.0, norm_type=norm_type)
        results.append((rows.cpu().numpy(), weight.cpu().numpy()))
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.skipif(not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret")
@pytest.mark.parametrize("mask", ["none", "bool", "added", "of each batch"])
@pytest.mark.parametrize("causal", [False, True])
def test_weights_of_attention(mask: str, causal: bool) -> None:
    from naiad.ops.attention import attention_weights

    draw = np.random.default_rng(1)
    scores = draw.standard_normal((2, 3, 4, 1100)).astype(np.float32) * 5
    masks = {"bool": draw.random((4, 1100)) < 0.5, "added": draw.standard_normal((3, 1, 1100)).astype(np.float32)}
    masks["of each batch"] = draw.random((2, 1, 4, 1)) < 0.5  # some queries see nothing
    results = []
    for device in ("cpu", "cuda"):
        x = naiad.tensor(scores, device=device, requires_grad=True)
        given = None if mask == "none" else naiad.tensor(masks[mask], device=device)
        y = attention_weights(x, given, scale=0.3, causal=causal)
        (g,) = naiad.autograd.grad((y * y).sum(), x)
        results.append((y.detach().cpu().numpy(), g.cpu().numpy()))
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
