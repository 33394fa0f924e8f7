"""Indexing and moving on the simulated cuda device and on meta: values, gradients and geometry equal the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naiad


def written(x: Any, index: Any, value: Any) -> Any:
    """A copy of x that was written to."""
    out = x * 1
    out[index] = value
    return out


# Of a (3, 4) tensor, a (3, 2) tensor of numbers below 4, the rows [2, 0], and a (3, 2) source.
CALLS: dict[str, Callable] = {
    "rows": lambda x, grid, rows, source: x[rows],
    "rows from the end": lambda x, grid, rows, source: x[-rows],
    "columns": lambda x, grid, rows, source: x[:, rows],
    "elements": lambda x, grid, rows, source: x[rows, rows],
    "apart": lambda x, grid, rows, source: x[None][:, rows, :, None][..., rows, 0],
    "list": lambda x, grid, rows, source: x[[0, 1]],
    "gather": lambda x, grid, rows, source: x.gather(1, grid),
    "scatter": lambda x, grid, rows, source: x.scatter(1, grid, source),
    "scatter a number": lambda x, grid, rows, source: x.scatter(1, grid, 5.0),
    "scatter_add": lambda x, grid, rows, source: x.scatter_add(1, grid, source),
    "scatter_reduce": lambda x, grid, rows, source: x.scatter_reduce(1, grid, source, "mean"),
    "index_put": lambda x, grid, rows, source: naiad.index_put(x, (rows, rows), source[0]),
    "index_put added": lambda x, grid, rows, source: naiad.index_put(x, (rows, rows), source[0], accumulate=True),
    "write rows": lambda x, grid, rows, source: written(x, rows, source[:2, :1]),
    "write a number": lambda x, grid, rows, source: written(x, rows, 3.0),
    "write by mask": lambda x, grid, rows, source: written(x, x.detach() > 4, 3.0),
    "write a slice": lambda x, grid, rows, source: written(x, (slice(1, 3), 1), source[:2, 0]),
    "masked_fill": lambda x, grid, rows, source: x.masked_fill(x.detach() > 4, -1),
    "flip": lambda x, grid, rows, source: x.flip(0, 1),
    "roll": lambda x, grid, rows, source: x.roll(1, 0),
    "rot90": lambda x, grid, rows, source: x.rot90(),
    "index_select": lambda x, grid, rows, source: x.index_select(1, rows),
    "index_add": lambda x, grid, rows, source: x.index_add(1, rows, source),
    "index_copy": lambda x, grid, rows, source: x.index_copy(1, rows, source),
    "index_fill": lambda x, grid, rows, source: x.index_fill(1, rows, 2),
    "take": lambda x, grid, rows, source: x.take(rows),
    "take_along_dim": lambda x, grid, rows, source: x.take_along_dim(grid, 1),
    "repeat_interleave": lambda x, grid, rows, source: x.repeat_interleave(2, 0),
    "unfold": lambda x, grid, rows, source: x.unfold(1, 2, 1),
    "select": lambda x, grid, rows, source: x[1],
    "unbind": lambda x, grid, rows, source: x.unbind()[1],
    "diagonal": lambda x, grid, rows, source: x.diagonal(),
    "stack": lambda x, grid, rows, source: naiad.stack([x, x * 2]),
    "cat": lambda x, grid, rows, source: naiad.cat([x, source], 1),
    "repeat": lambda x, grid, rows, source: x.repeat(2, 1, 2),
}


def operands(device: str) -> list:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = x, np.array([[0, 2], [1, 3], [3, 0]]), np.array([2, 0]), x.ravel()[:6].reshape(3, 2)
    tensors = [naiad.from_numpy(a).to(device) for a in arrays]
    tensors[0].requires_grad_()
    return tensors


@pytest.mark.parametrize("name", CALLS)
def test_simulated_cuda_computes_what_the_cpu_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="kernels need the cuda extra: pip install 'naiad[cuda12]'")
    monkeypatch.setenv("NAIAD_CUDA", "interpret")
    here, there = operands("cpu"), operands("cuda")
    expected, result = CALLS[name](*here), CALLS[name](*there)
    assert result.device.type == "cuda"
    np.testing.assert_allclose(result.detach().cpu().numpy(), expected.detach().numpy())
    (wanted,) = naiad.autograd.grad((expected * expected).sum(), [here[0]])
    (found,) = naiad.autograd.grad((result * result).sum(), [there[0]])
    np.testing.assert_allclose(found.cpu().numpy(), wanted.numpy())


@pytest.mark.parametrize("name", CALLS)
def test_meta_knows_the_geometry(name: str) -> None:
    expected, result = CALLS[name](*operands("cpu")), CALLS[name](*operands("meta"))
    assert result.is_meta
    assert result.shape == expected.shape
    assert result.stride() == expected.stride()
    assert result.dtype is expected.dtype


def _written(x: naiad.Tensor, index: object, value: object) -> naiad.Tensor:
    out = x.detach().clone()
    out[index] = value
    return out


MASKS = {
    "all dimensions": lambda x, m, i: x[m],
    "rows": lambda x, m, i: x[m[:, 0]],
    "columns": lambda x, m, i: x[:, m[0]],
    "mask and numbers": lambda x, m, i: x[m[:, 0], i[: int(m[:, 0].sum())]],
    "mask, None and slice": lambda x, m, i: x[None, m[:, 0], 1:],
    "nothing": lambda x, m, i: x[m & ~m],
    "nonzero": lambda x, m, i: m.nonzero(),
    "masked_select": lambda x, m, i: x.masked_select(m[:1]),
    "set to a number": lambda x, m, i: _written(x, m, 7.0),
    "set rows": lambda x, m, i: _written(x, m[:, 0], x[0]),
    "set to as many": lambda x, m, i: _written(x, m, x[m] * 2),
    "set by mask and numbers": lambda x, m, i: _written(x, (m[:, 0], i[: int(m[:, 0].sum())]), 5.0),
    "add up": lambda x, m, i: x.detach().index_put((i, i), x[0, :2], accumulate=True),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_on_simulated_cuda_are_those_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="kernels need the cuda extra: pip install 'naiad[cuda12]'")
    monkeypatch.setenv("NAIAD_CUDA", "interpret")
    results = []
    for device in ("cpu", "cuda"):
        x = naiad.arange(12.0).reshape(3, 4).to(device).requires_grad_()
        mask = (naiad.arange(12).reshape(3, 4).to(device) * 5) % 7 < 3
        found = MASKS[name](x, mask, naiad.tensor([2, 0], device=device))
        assert found.device.type == device
        results.append([found.detach().cpu().numpy()])
        if found.requires_grad:
            (g,) = naiad.autograd.grad((found * found).sum(), [x])
            results[-1].append(g.cpu().numpy())
    for wanted, found in zip(*results, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_masks_on_meta_have_no_values_to_decide_a_shape() -> None:
    with pytest.raises(NotImplementedError, match="nonzero: the shape of the result depends on the values"):
        naiad.ones(3, device="meta").nonzero()
