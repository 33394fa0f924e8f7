"""Every entry of the op table against real PyTorch: values, dtype, shape, strides-independence and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import calls_of, keys_with_samples, op_of, oracle

import naiad
from naiad.core.op import ENTRIES
from naiad.library.samples import Call, Operand

KEYS = keys_with_samples()
torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def flat(result: Any) -> list:
    """The tensors of a result."""
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r)]
    return [result]


def value(tensor: Any) -> np.ndarray:
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach()
    if isinstance(tensor, torch.Tensor):
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor.resolve_conj().resolve_neg()).numpy()
    array = tensor.cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind not in "biufc" else array


def spread(array: np.ndarray) -> np.ndarray:
    """The same values with gaps between them and dimensions in another order in memory."""
    wide = np.zeros(tuple(2 * n for n in array.shape[::-1]), array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)].T
    view[...] = array
    return view


def make(module: Any, operand: Operand, dtype: str | None, grad: bool, layout: str, made: list) -> Any:
    values = operand.values
    if dtype is not None and operand.differentiable:
        kind = values.dtype.kind
        values = values.astype({"float32": "c8", "float64": "c16"}.get(dtype, "c8") if kind == "c" else "f8")
    if layout == "strided" and values.ndim:
        values = spread(values)
    tensor = module.from_numpy(values if values.ndim and layout == "strided" else np.array(values))
    if dtype is not None and operand.differentiable and values.dtype.kind != "c":
        tensor = tensor.to(getattr(module, dtype))
    if grad and operand.differentiable:
        tensor = tensor.detach().requires_grad_()
        made.append(tensor)
    return tensor


def run(module: Any, function: Any, call: Call, dtype: str | None, grad: bool, layout: str = "contiguous") -> tuple:
    made: list = []
    args, kwargs = call.build(lambda o: make(module, o, dtype, grad, layout, made))
    return flat(function(*args, **kwargs)), made


def assert_same(ours: list, theirs: list, rtol: float, atol: float, what: str) -> None:
    assert len(ours) == len(theirs), what
    for mine, other in zip(ours, theirs, strict=True):
        if not isinstance(other, torch.Tensor):
            assert mine == other, what
            continue
        assert tuple(mine.shape) == tuple(other.shape), f"{what}: shape {tuple(mine.shape)} != {tuple(other.shape)}"
        assert str(mine.dtype).split(".")[-1] == str(other.dtype).split(".")[-1], f"{what}: {mine.dtype} {other.dtype}"
        np.testing.assert_allclose(value(mine), value(other), rtol, atol, err_msg=what)


TOLERANCE = {"float64": (1e-10, 1e-12), "float32": (2e-5, 2e-6), "bfloat16": (2e-2, 2e-2), "float16": (4e-3, 4e-3)}


def describe(key: str, call: Call) -> str:
    def show(v: Any) -> str:
        return f"{v.values.dtype}{list(v.values.shape)}" if isinstance(v, Operand) else repr(v)

    return f"{key}({', '.join([*map(show, call.args), *(f'{k}={show(v)}' for k, v in call.kwargs.items())])})"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_equal_torch(key: str, dtype: str) -> None:
    for call in calls_of(ENTRIES[key]):
        ours, _ = run(naiad, ENTRIES[key].function, call, dtype, False)
        theirs, _ = run(torch, oracle(torch, key), call, dtype, False)
        assert_same(ours, theirs, *TOLERANCE[dtype], describe(key, call))
        strided, _ = run(naiad, ENTRIES[key].function, call, dtype, False, "strided")
        assert_same(strided, theirs, *TOLERANCE[dtype], "strided " + describe(key, call))


def calls_of_floats(key: str) -> list[Call]:
    return [
        c for c in calls_of(ENTRIES[key]) if any(o.differentiable and o.values.dtype.kind == "f" for o in c.operands())
    ]


# PyTorch computes no call of these in half precision on the CPU: there is nothing to compare with.
NO_HALVES_IN_TORCH = {
    *("naiad.cdist", "naiad.nanquantile", "naiad.polar", "naiad.quantile", "nn.functional.avg_pool3d"),
    *("nn.functional.lp_pool3d", "nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss"),
    "nn.functional.pdist",
}


@pytest.mark.parametrize("key", [key for key in KEYS if calls_of_floats(key)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_equal_torch(key: str, dtype: str) -> None:
    compared = 0
    for call in calls_of_floats(key):
        try:
            theirs, _ = run(torch, oracle(torch, key), call, dtype, False)
        except (RuntimeError, NotImplementedError):
            continue  # torch has no half kernel for it on the CPU: nothing to compare with
        ours, _ = run(naiad, ENTRIES[key].function, call, dtype, False)
        assert_same(ours, theirs, *TOLERANCE[dtype], describe(key, call))
        compared += 1
    assert bool(compared) == (key not in NO_HALVES_IN_TORCH)


@pytest.mark.parametrize("key", KEYS)
def test_gradients_equal_torch(key: str) -> None:
    op = op_of(key)
    if op is not None and not op.differentiable:
        return
    for call in calls_of(ENTRIES[key]):
        ours, mine = run(naiad, ENTRIES[key].function, call, "float64", True)
        theirs, other = run(torch, oracle(torch, key), call, "float64", True)
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(b, torch.Tensor) and b.requires_grad]
        assert [t.requires_grad for t in flat(ours) if isinstance(t, naiad.Tensor)] == [
            t.requires_grad for t in flat(theirs) if isinstance(t, torch.Tensor)
        ], describe(key, call)
        if not pairs or not mine:
            continue
        random = np.random.default_rng(0)
        for a, b in pairs:
            seed = random.standard_normal(tuple(b.shape)) + (
                1j * random.standard_normal(tuple(b.shape)) if b.is_complex() else 0
            )
            a.backward(naiad.from_numpy(np.array(seed)), retain_graph=True)
            b.backward(torch.from_numpy(np.array(seed)), retain_graph=True)
        for x, y in zip(mine, other, strict=True):
            assert (x.grad is None) == (y.grad is None), describe(key, call)
            if y.grad is not None:
                assert_same([x.grad], [y.grad], 1e-9, 1e-11, "gradient of " + describe(key, call))
