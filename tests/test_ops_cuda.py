"""Ops on the simulated cuda device: the kernels in Triton's interpreter against the same op on the CPU.

Kernels come family by family: an op that has none yet raises NotImplementedError by name, and the summary of the
test run counts those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples
from op_samples import Operand

import naiad
from naiad.core.op import ENTRIES

pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)

# The slice: these run as Triton kernels, forward, backward and double backward.
SLICE = (
    *("naiad.add", "naiad.mul", "nn.functional.silu", "naiad.sum", "naiad.amax", "naiad.matmul"),
    *("nn.functional.softmax", "naiad.index_select", "naiad.clone", "naiad.transpose", "naiad.reshape"),
)


def tensor(operand: Operand, device: str, grad: bool, made: list) -> naiad.Tensor:
    values = operand.values.astype(np.float32) if operand.values.dtype.kind == "f" else operand.values
    out = naiad.from_numpy(np.array(values)).to(device)
    if grad and operand.differentiable:
        out = out.detach().requires_grad_()
        made.append(out)
    return out


def first(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


def array(result: Any) -> np.ndarray:
    return result.detach().cpu().numpy() if isinstance(result, naiad.Tensor) else np.asarray(result)


def on(device: str, key: str, call: Any, grad: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """The result on a device, and gradients of first and second order."""
    made: list[naiad.Tensor] = []
    args, kwargs = call.build(lambda o: tensor(o, device, grad, made))
    out = first(ENTRIES[key].function(*args, **kwargs))
    gradients: list[np.ndarray] = []
    if grad and made and isinstance(out, naiad.Tensor) and out.requires_grad and out.numel():
        first_order = naiad.autograd.grad((out * out).sum(), made, create_graph=True)
        gradients += [g.detach().cpu().numpy() for g in first_order]
        total = first_order[0].sum()
        for g in first_order[1:]:
            total = total + g.sum()
        if total.requires_grad:
            second = naiad.autograd.grad(total, made, allow_unused=True)
            gradients += [g.cpu().numpy() for g in second if g is not None]
    return array(out), gradients


@pytest.mark.parametrize("key", SLICE)
def test_slice_forward_backward_and_double_backward(key: str) -> None:
    for call in calls_of(ENTRIES[key]):
        expected, expected_gradients = on("cpu", key, call, True)
        result, gradients = on("cuda", key, call, True)
        np.testing.assert_allclose(result, expected, 1e-5, 1e-6, err_msg=key)
        assert len(gradients) == len(expected_gradients)
        for got, want in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(got, want, 1e-4, 1e-5, err_msg=f"gradient of {key}")


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


@pytest.mark.parametrize("key", [k for k in keys_with_samples() if k not in SLICE])
def test_other_ops_run_or_say_that_they_have_no_kernel(key: str, record_property: Any) -> None:
    calls = [c for c in calls_of(ENTRIES[key]) if sum(o.values.size for o in c.operands()) <= 64][:1]
    for call in calls:
        expected, _ = on("cpu", key, call, False)
        try:
            result, _ = on("cuda", key, call, False)
        except NotImplementedError as error:
            assert "cuda" in str(error) or "kernel" in str(error)
            record_property("no_kernel", key)
            return
        np.testing.assert_allclose(result, expected, 1e-4, 1e-5, err_msg=key)
