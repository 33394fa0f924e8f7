"""Sharing memory with NumPy and PyTorch, copying, pickling, printing, and einops on tensors."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import naiad


def test_numpy_shares_memory_both_ways() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = naiad.from_numpy(array)
    tensor[0, 1] = 10
    array[1, 2] = 20
    assert array[0, 1] == 10
    assert tensor[1, 2].item() == 20
    assert np.asarray(tensor) is tensor.numpy()
    assert np.shares_memory(np.asarray(tensor.t()), array)
    assert np.asarray(tensor, dtype=np.int32).dtype == np.int32
    assert not np.shares_memory(np.array(tensor), array)
    with pytest.raises(RuntimeError, match=r"Use tensor.detach\(\).numpy\(\)"):
        np.asarray(tensor.clone().requires_grad_())


def test_numpy_operators_and_functions_give_tensors() -> None:
    array, tensor = np.ones(3), naiad.tensor([1.0, 2.0, 3.0], dtype=naiad.float64)
    for result in (array * tensor, tensor * array, array + tensor, np.float64(1) * tensor, array - tensor + array):
        assert isinstance(result, naiad.Tensor)
        assert result.dtype is naiad.float64
    assert (array * tensor).tolist() == [1.0, 2.0, 3.0]
    assert isinstance(np.sin(tensor), naiad.Tensor)
    np.testing.assert_allclose(np.sin(tensor).numpy(), np.sin(tensor.numpy()))
    leaf = tensor.clone().requires_grad_()
    (array * 2 * leaf).sum().backward()
    assert leaf.grad.tolist() == [2.0, 2.0, 2.0]


def test_dlpack_with_numpy() -> None:
    tensor = naiad.tensor([[1.0, 2.0], [3.0, 4.0]])
    seen = np.from_dlpack(tensor.t())
    assert seen.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    tensor[0, 1] = 9
    assert seen[1, 0] == 9
    array = np.arange(4)
    back = naiad.from_dlpack(array)
    back[0] = 7
    assert array[0] == 7
    copied = naiad.from_dlpack(array, copy=True)
    copied[0] = 1
    assert array[0] == 7
    assert tensor.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="Can't export tensors that require gradient"):
        tensor.requires_grad_().__dlpack__()
    with pytest.raises(BufferError, match="bfloat16 by DLPack"):
        naiad.ones(2, dtype=naiad.bfloat16).__dlpack__()
    with pytest.raises(BufferError, match="no memory"):
        naiad.ones(2, device="meta").__dlpack_device__()
    with pytest.raises(AttributeError, match="no __dlpack__ method"):
        naiad.from_dlpack([1, 2])


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    from torch.utils.dlpack import to_dlpack

    theirs = torch.arange(6.0).reshape(2, 3)
    for source in (theirs, theirs.t(), to_dlpack(theirs)):
        ours = naiad.from_dlpack(source)
        ours[1, 1] += 10
    assert theirs[1, 1].item() == 34
    ours = naiad.tensor([1, 2, 3])
    shared = torch.from_dlpack(ours)
    shared[0] = 5
    assert ours.tolist() == [5, 2, 3]
    half = naiad.ones(2, dtype=naiad.bfloat16)
    assert torch.from_dlpack(half.view(naiad.int16)).view(torch.bfloat16).tolist() == [1.0, 1.0]


def test_python_protocols() -> None:
    tensor = naiad.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(tensor) == 2
    assert [row.tolist() for row in tensor] == [[1.0, 2.0], [3.0, 4.0]]
    assert 3.0 in tensor and 7.0 not in tensor
    assert [row.tolist() for row in reversed(tensor)] == [[3.0, 4.0], [1.0, 2.0]]
    first, second = tensor
    first[0] = 5
    assert tensor[0, 0].item() == 5
    assert [10, 20, 30][naiad.tensor(2)] == 30
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(second[0])
    with pytest.raises((TypeError, AttributeError)):
        del tensor[0]


def test_printing() -> None:
    leaf = naiad.tensor([1.0, 2.5], requires_grad=True)
    assert repr(leaf) == "tensor([1.0000, 2.5000], requires_grad=True)"
    assert str(leaf * 2) == "tensor([2., 5.], grad_fn=<MulBackward0>)"
    assert f"{leaf.sum():.2f}" == "3.50"
    assert f"{leaf.detach()}" == "tensor([1.0000, 2.5000])"
    assert repr(naiad.tensor([1], dtype=naiad.int32)) == "tensor([1], dtype=naiad.int32)"
    assert repr(naiad.zeros(2, 3, device="meta")) == "tensor(..., device='meta', size=(2, 3))"
    assert str(naiad.nn.Parameter(naiad.tensor([1.0]))) == "Parameter containing:\ntensor([1.], requires_grad=True)"
    assert repr(naiad.tensor([True, False])) == "tensor([ True, False])"
    with pytest.raises(TypeError, match="unsupported format string"):
        format(leaf, ".2f")


def test_printing_on_the_simulated_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_CUDA", "interpret")
    assert repr(naiad.tensor([1.0, 2.0]).to("cuda")) == "tensor([1., 2.], device='cuda:0')"


def test_printing_equals_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    random = np.random.default_rng(0)
    for array in (random.standard_normal((3, 4)), random.standard_normal((40, 50)), np.zeros((0, 3)), np.array(3)):
        ours, theirs = naiad.from_numpy(array.copy()), torch.from_numpy(array.copy())
        assert repr(ours).replace("naiad.", "torch.") == repr(theirs)
        assert str(ours.t() if ours.ndim == 2 else ours).replace("naiad.", "torch.") == str(
            theirs.t() if theirs.ndim == 2 else theirs
        )


class Marked(naiad.Tensor):
    """A subclass, to see that it stays one."""


def test_copies_and_pickles() -> None:
    leaf = naiad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    leaf.grad = naiad.ones(2, 2)
    leaf.note = "kept"
    deep = copy.deepcopy(leaf)
    assert deep.requires_grad and deep.grad.tolist() == leaf.grad.tolist() and deep.grad is not leaf.grad
    assert deep.note == "kept" and deep.data_ptr() != leaf.data_ptr()
    shallow = copy.copy(leaf)
    assert shallow.data_ptr() == leaf.data_ptr() and shallow.note == "kept"
    loaded = pickle.loads(pickle.dumps(leaf))
    assert loaded.tolist() == leaf.tolist() and loaded.requires_grad and loaded.note == "kept"
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(leaf * 2)
    base = naiad.zeros(4)
    first, second = copy.deepcopy([base[:2], base[2:]])
    assert first.untyped_storage() is second.untyped_storage()
    assert type(copy.deepcopy(naiad.nn.Parameter(naiad.ones(2)))) is naiad.nn.Parameter


einops_script = """
import {first}
import {second}
import naiad, einops, numpy as np
from einops import rearrange, reduce, repeat
x = naiad.from_numpy(np.arange(24.0).reshape(2, 3, 4)).requires_grad_()
y = rearrange(x, "a b c -> (a c) b")
assert isinstance(y, naiad.Tensor) and tuple(y.shape) == (8, 3), y
assert y.tolist() == rearrange(x.detach().numpy(), "a b c -> (a c) b").tolist()
assert reduce(x, "a b c -> b", "mean").tolist() == x.detach().numpy().mean((0, 2)).tolist()
assert repeat(x, "a b c -> a r b c", r=2).shape == (2, 2, 3, 4)
assert rearrange([x, x], "n a b c -> a n b c").shape == (2, 2, 3, 4)
assert einops.einsum(x, x, "a b c, a b c -> a").shape == (2,)
y.sum().backward()
assert x.grad.tolist() == np.ones((2, 3, 4)).tolist()
"""


@pytest.mark.parametrize("order", [("naiad", "einops"), ("einops", "naiad")])
def test_einops(order: tuple[str, str]) -> None:
    pytest.importorskip("einops", reason="einops is not installed")
    script = einops_script.format(first=order[0], second=order[1])
    subprocess.run([sys.executable, "-c", script], check=True)


def test_importing_naiad_does_not_import_einops() -> None:
    code: Any = "import sys, naiad; assert 'einops' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
