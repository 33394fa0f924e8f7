"""Ops on the simulated cuda device: the kernels in Triton's interpreter against the same op on the CPU.

Every sample call of every entry: values, gradients and gradients of gradients in float32, values in the other dtypes
and of operands that do not lie contiguously.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples

import naiad
from naiad.core.op import ENTRIES
from naiad.library.samples import Call, Operand

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)

KEYS = keys_with_samples()
TOLERANCE = {"float64": (1e-10, 1e-12), "float32": (1e-5, 1e-5), "bfloat16": (2e-2, 2e-2), "float16": (4e-3, 4e-3)}


def tensor(operand: Operand, device: str, dtype: str, strided: bool) -> naiad.Tensor:
    """The operand on a device; floats in `dtype`. strided: a view into other memory."""
    out = naiad.from_numpy(np.array(operand.values))
    if operand.differentiable:
        of = getattr(naiad, dtype)
        out = out.to(of.to_complex() if out.is_complex() else of)
    if not strided or not out.ndim:
        return out.to(device)
    wide = naiad.zeros(*(2 * n for n in out.shape[::-1]), dtype=out.dtype).to(device)
    view = wide[tuple(slice(None, None, 2) for _ in out.shape)].permute(*range(out.ndim)[::-1])
    return view.copy_(out)


def call_on(device: str, key: str, call: Call, dtype: str, strided: bool = False, grad: bool = False) -> tuple:
    """(results, leaves) of a sample call on a device."""
    leaves: list[naiad.Tensor] = []

    def make(operand: Operand) -> naiad.Tensor:
        made = tensor(operand, device, dtype, strided)
        if grad and operand.differentiable:
            leaves.append(made.detach().requires_grad_())
            return leaves[-1]
        return made

    args, kwargs = call.build(make)
    results = flat(ENTRIES[key].function(*args, **kwargs))
    if any(True for _ in call.operands()):
        assert all(r.device.type == device for r in results if isinstance(r, naiad.Tensor)), key
    return results, leaves


def flat(result: Any) -> list:
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r)]
    return [result]


def derivatives(results: list, leaves: list) -> list[naiad.Tensor | None]:
    """Gradients of first and second order, each result's weighed by itself."""
    roots = [r for r in results if isinstance(r, naiad.Tensor) and r.requires_grad and r.numel()]
    if not roots:
        return []
    once = naiad.autograd.grad(_total(roots), leaves, create_graph=True, allow_unused=True)
    rest = [g for g in once if g is not None and g.requires_grad]
    twice = naiad.autograd.grad(_total(rest), leaves, allow_unused=True) if rest else ()
    return [*once, *twice]


def _total(tensors: list) -> naiad.Tensor:
    """A real number that depends on every element, and on its sign."""
    parts = [naiad.view_as_real(t) if t.is_complex() else t for t in tensors]
    return sum(((p * p + p).sum() for p in parts), naiad.zeros((), device=parts[0].device))


def assert_same(got: list, wanted: list, rtol: float, atol: float, what: str) -> None:
    assert len(got) == len(wanted), what
    for mine, other in zip(got, wanted, strict=True):
        if not isinstance(other, naiad.Tensor):
            assert mine == other, what
            continue
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype), what
        wanted_values = array(other)
        scale = max(1.0, np.abs(wanted_values).max(initial=0.0, where=np.isfinite(wanted_values)))
        np.testing.assert_allclose(array(mine), wanted_values, rtol, atol * scale, err_msg=what)


def array(tensor: naiad.Tensor) -> np.ndarray:
    found = tensor.detach().cpu().numpy()
    return found.astype(np.float32) if found.dtype.kind not in "biufc" else found


@pytest.mark.parametrize("key", KEYS)
def test_values_and_derivatives_equal_those_of_the_cpu(key: str) -> None:
    for call in calls_of(ENTRIES[key]):
        expected, cpu = call_on("cpu", key, call, "float32", grad=True)
        results, cuda = call_on("cuda", key, call, "float32", grad=True)
        assert_same(results, expected, *TOLERANCE["float32"], key)
        assert_same(derivatives(results, cuda), derivatives(expected, cpu), 1e-4, 1e-4, f"derivatives of {key}")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes_and_strides(key: str, dtype: str) -> None:
    for call in calls_of(ENTRIES[key]):
        if not any(o.differentiable for o in call.operands()):
            continue
        try:
            expected, _ = call_on("cpu", key, call, dtype)
        except (RuntimeError, TypeError, NotImplementedError) as error:
            with pytest.raises(type(error)):
                call_on("cuda", key, call, dtype)
            continue
        results, _ = call_on("cuda", key, call, dtype, strided=True)
        assert_same(results, expected, *TOLERANCE[dtype], f"{key} of {dtype}")


def test_uniforms_equal_those_of_the_cpu() -> None:
    draws = []
    for device in ("cpu", "cuda"):
        naiad.manual_seed(7)
        draws.append([naiad.rand(5, 3, device=device).cpu().numpy(), naiad.rand(6, device=device).cpu().numpy()])
    for cpu, cuda in zip(*draws, strict=True):
        assert np.array_equal(cpu, cuda)


def test_where_and_in_place() -> None:
    x = naiad.tensor([1.0, -2.0, 3.0]).to("cuda")
    y = x * 1.0
    y.mul_(2.0)
    assert y.cpu().tolist() == [2.0, -4.0, 6.0]
    assert naiad.where(x > 0, x, y).cpu().tolist() == [1.0, -4.0, 3.0]


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match=r"mul: Expected all tensors to be on the same device.*cuda:0.*cpu"):
        naiad.ones(2, device="cuda") * naiad.ones(2)
    with pytest.raises(RuntimeError, match="cuda:1"):
        naiad.ones(2, device="cuda") * naiad.ones(2, device="cuda:1")
    assert (naiad.ones(2, device="cuda") * naiad.tensor(2.0)).cpu().tolist() == [2.0, 2.0]
