"""Views and moved elements: shapes and strides equal PyTorch's on cpu, meta and the simulated cuda device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")

VIEWS: dict[str, Callable] = {
    "view": lambda x: x.view(2, 2, 3, 4),
    "view -1": lambda x: x.view(4, -1),
    "reshape": lambda x: x.reshape(3, 16),
    "flatten": lambda x: x.flatten(1),
    "ravel": lambda x: x.ravel(),
    "unflatten": lambda x: x.unflatten(2, (2, -1)),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "unsqueeze -1": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x.unsqueeze(0).unsqueeze(-1).squeeze(),
    "squeeze dims": lambda x: x.unsqueeze(0).unsqueeze(-1).squeeze((0, 4)),
    "expand": lambda x: x.unsqueeze(1).expand(4, 5, 3, -1),
    "expand lead": lambda x: x.expand(2, 4, 3, 4),
    "permute": lambda x: x.permute(2, 0, 1),
    "permute unsqueeze": lambda x: x.permute(2, 0, 1).unsqueeze(1),
    "transpose": lambda x: x.transpose(0, -1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "mT": lambda x: x.mT,
    "t": lambda x: x[0].t(),
    "T": lambda x: x[0].T,
    "movedim": lambda x: x.movedim(0, 2),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(1, -1),
    "slice": lambda x: x[1:, ::2, -3:-1],
    "slice None": lambda x: x[1:3, None, :, 0],
    "empty slice": lambda x: x[3:1],
    "int": lambda x: x[2],
    "ints": lambda x: x[2, 1, 0],
    "dots": lambda x: x[..., 1],
    "diagonal": lambda x: x.diagonal(1, 0, 2),
    "diagonal below": lambda x: x.diagonal(-1),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "as_strided": lambda x: x.as_strided((2, 3), (5, 1), 3),
    "view_as": lambda x: x.view_as(x.reshape(12, 4)),
    "split": lambda x: x.split(2)[1],
    "chunk": lambda x: x.chunk(3, 1)[2],
    "tensor_split": lambda x: x.tensor_split((1, 2))[1],
    "unbind": lambda x: x.unbind(1)[2],
    "dtype": lambda x: x.view(NAMES[type(x)].int32),
    "wider dtype": lambda x: x.view(NAMES[type(x)].float64),
    "narrower dtype": lambda x: x.view(NAMES[type(x)].int16),
    "hsplit": lambda x: x.hsplit(3)[1],
    "atleast": lambda x: NAMES[type(x)].atleast_3d(x[0, 0]),
    "broadcast_to": lambda x: x.unsqueeze(0).broadcast_to((2, 4, 3, 4)),
}
NAMES = {naiad.Tensor: naiad, torch.Tensor: torch}
VALUES = np.arange(48, dtype=np.float32).reshape(4, 3, 4)


def strides(x: Any) -> tuple:
    """Strides where they matter: PyTorch's own functions disagree about dimensions of size 1."""
    return tuple(s for s, n in zip(x.stride(), x.shape, strict=True) if n != 1) if x.numel() else ()


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("device", ["cpu", "meta", "cuda"])
def test_views_have_pytorchs_geometry(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cuda":
        monkeypatch.setenv("NAIAD_CUDA", "interpret")
    x, y = naiad.from_numpy(VALUES.copy()).to(device), torch.from_numpy(VALUES.copy())
    ours, theirs = VIEWS[name](x), VIEWS[name](y)
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert strides(ours) == strides(theirs)
    assert ours.dtype is getattr(naiad, str(theirs.dtype).split(".")[1])
    assert ours.is_contiguous() == theirs.is_contiguous()
    assert ours.device.type == device
    if theirs.numel():
        assert ours.storage_offset() == theirs.storage_offset()
    if device == "meta":
        return
    np.testing.assert_array_equal(ours.cpu().numpy(), theirs.numpy())
    if device == "cpu":
        assert (ours.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()) or not theirs.numel()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_chains_of_views(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4)))
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    ours, theirs = naiad.from_numpy(values.copy()), torch.from_numpy(values.copy())
    meta = ours.to("meta")
    for _ in range(data.draw(st.integers(1, 5))):
        step = data.draw(_steps(tuple(theirs.shape)))
        theirs, failed = _try(step, theirs)
        ours, also = _try(step, ours)
        meta, meta_too = _try(step, meta)
        assert failed is also is meta_too
        assert tuple(ours.shape) == tuple(theirs.shape) == tuple(meta.shape)
        assert strides(ours) == strides(theirs) == strides(meta)
        assert ours.is_contiguous() == theirs.is_contiguous() == meta.is_contiguous()
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    flat, same = ours.reshape(-1), theirs.reshape(-1)
    np.testing.assert_array_equal(flat.numpy(), same.numpy())


def _try(step: Callable, x: Any) -> tuple[Any, bool]:
    try:
        return step(x), False
    except RuntimeError:
        return x, True


@st.composite
def _steps(draw: Any, shape: tuple[int, ...]) -> Callable:
    n = len(shape)
    kind = draw(st.sampled_from(["permute", "slice", "unsqueeze", "squeeze", "expand", "view", "unfold", "flatten"]))
    dim = draw(st.integers(0, n - 1)) if n else 0
    if kind == "permute":
        order = draw(st.permutations(range(n)))
        return lambda x: x.permute(tuple(order))
    if kind == "slice" and n:
        start, step = draw(st.integers(0, shape[dim] - 1)), draw(st.integers(1, 2))
        return lambda x: x[(slice(None),) * dim + (slice(start, None, step),)]
    if kind == "expand":
        extra = draw(st.integers(1, 2))
        return lambda x: x.expand((extra, *x.shape))
    if kind == "view":
        return lambda x: x.view(-1, 2)
    if kind == "unfold" and n:
        size = draw(st.integers(1, shape[dim]))
        return lambda x: x.unfold(dim, size, 1)
    if kind == "flatten" and n:
        return lambda x: x.flatten(dim)
    if kind == "squeeze":
        return lambda x: x.squeeze()
    return lambda x: x.unsqueeze(dim)


@pytest.mark.parametrize("name", [n for n in VIEWS if "dtype" not in n])
def test_gradients_of_views_and_writes_through_them(name: str) -> None:
    found = []
    for module in (naiad, torch):
        leaf = module.from_numpy(VALUES.astype(np.float64)).requires_grad_()
        out = (VIEWS[name](leaf) ** 3).sum()
        (first,) = module.autograd.grad(out, [leaf], create_graph=True)
        (second,) = module.autograd.grad((first**2).sum(), [leaf])
        results = [first, second]
        if not name.startswith(("expand", "broadcast", "unfold", "split", "chunk", "tensor_split", "hsplit", "unbind")):
            base = leaf * 2
            seen = VIEWS[name](base)
            seen.mul_(3)
            (base * seen.sum()).sum().backward()
            results += [base, leaf.grad]
        found.append(results)
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), 1e-12)


RAISES = [
    (lambda t, x: x.view(5, -1), "shape '[5, -1]' is invalid for input of size 12"),
    (lambda t, x: x.t().view(12), "view size is not compatible with input tensor's size and stride"),
    (lambda t, x: x.reshape(7), "shape '[7]' is invalid for input of size 12"),
    (lambda t, x: x.squeeze(3), "Dimension out of range (expected to be in range of [-2, 1], but got 3)"),
    (lambda t, x: x.unsqueeze(4), "Dimension out of range (expected to be in range of [-3, 2], but got 4)"),
    (
        lambda t, x: t.cat([x, t.ones(2, 3)]),
        "Sizes of tensors must match except in dimension 0. Expected size 4 but got",
    ),
    (lambda t, x: t.cat([]), "expected a non-empty list of Tensors"),
    (lambda t, x: t.cat([x, t.ones(3)]), "Tensors must have same number of dimensions: got 2 and 1"),
    (lambda t, x: t.cat([t.tensor(1.0)]), "zero-dimensional tensor (at position 0) cannot be concatenated"),
    (lambda t, x: t.cat([x, 3]), "expected Tensor as element 1 in argument 0, but got int"),
    (lambda t, x: t.stack([x, t.ones(2, 3)]), "stack expects each tensor to be equal size, but got [3, 4] at entry 0"),
    (lambda t, x: x.split([1, 1]), "split_with_sizes expects split_sizes to sum exactly to 3"),
    (lambda t, x: x.split(0), "split_size can only be 0 if dimension size is 0, but got dimension size of 3"),
    (lambda t, x: x.chunk(0), "chunk expects `chunks` to be greater than 0, got: 0"),
    (lambda t, x: x.unflatten(1, (3, 2)), "don't multiply up to the size of dim 1 (4)"),
    (lambda t, x: x.permute(0, 0), "duplicate dims are not allowed"),
    (lambda t, x: x.permute(0), "does not match the length of the desired ordering of dimensions"),
    (lambda t, x: x.narrow(0, 2, 5), "start (2) + length (5) exceeds dimension size (3)."),
    (lambda t, x: x.select(0, 7), "select(): index 7 out of range for tensor of size [3, 4] at dimension 0"),
    (lambda t, x: x.as_strided((5, 5), (5, 1)), "are out of bounds for storage of size 48"),
    (lambda t, x: x[:, :3].view(t.float64), "self.size(-1) must be divisible by 2 to view"),
    (lambda t, x: x.repeat(2), "can not be smaller than number of dimensions of tensor"),
    (lambda t, x: x.flip(0, 0), "dim 0 appears multiple times in the list of dims"),
    (lambda t, x: x.roll(1, (0, 1)), "shifts and dimensions must align. shifts: 1, dims:2"),
    (lambda t, x: x.unfold(0, 5, 1), "maximum size for tensor at dimension 0 is 3 but size is 5"),
    (lambda t, x: x[0].mT, "only supported on matrices or batches of matrices. Got 1-D tensor"),
    (lambda t, x: t.ones(2, 3, 4).t(), "t() expects a tensor with <= 2 dimensions, but self is 3D"),
    (lambda t, x: x.diagonal(3, 0, 0), "diagonal dimensions cannot be identical 0, 0"),
    (lambda t, x: x.movedim((0, 1), (0, 0)), "repeated dim in `destination`"),
]


@pytest.mark.parametrize(("action", "text"), RAISES)
def test_errors_are_pytorchs(action: Callable, text: str) -> None:
    caught = []
    for module in (naiad, torch):
        with pytest.raises((IndexError, RuntimeError, ValueError, TypeError)) as raised:
            action(module, module.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4)))
        caught.append(raised)
    assert caught[0].type is caught[1].type
    assert text in str(caught[0].value)
    assert text in str(caught[1].value)


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_joined_and_repeated_elsewhere(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cuda":
        pytest.importorskip("triton", reason="kernels need the cuda extra: pip install 'naiad[cuda12]'")
        monkeypatch.setenv("NAIAD_CUDA", "interpret")
    here = naiad.from_numpy(VALUES.copy())
    there = here.to(device)
    for action in (
        lambda x: naiad.cat([x, x[:1], x.transpose(0, 2)[:, :, :4]]),
        lambda x: naiad.stack([x[0], x[1]], 1),
        lambda x: naiad.stack([x[0], x[1]], -1),
        lambda x: x.repeat(2, 1, 1, 2),
        lambda x: x.select_scatter(x[0], 0, 1),
        lambda x: x[0].diag_embed(1),
        lambda x: x.transpose(0, 1).contiguous(),
    ):
        expected, result = action(here), action(there)
        assert result.shape == expected.shape
        if device == "cuda":
            np.testing.assert_array_equal(result.cpu().numpy(), expected.numpy())


def test_memory_formats() -> None:
    ours, theirs = naiad.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    for module, x in ((naiad, ours), (torch, theirs)):
        last = x.contiguous(memory_format=module.channels_last)
        assert last.stride() == (60, 1, 15, 3)
        assert last.is_contiguous(memory_format=module.channels_last)
        assert not last.is_contiguous()
        assert last.contiguous().stride() == x.stride()
        assert x.to(memory_format=module.channels_last).stride() == last.stride()
        assert x.clone(memory_format=module.channels_last).stride() == last.stride()
        with pytest.raises(RuntimeError, match="required rank 4 tensor to use channels_last format"):
            x[0].contiguous(memory_format=module.channels_last)


def test_storages_and_resizing() -> None:
    for module in (naiad, torch):
        x = module.from_numpy(np.arange(12.0).reshape(3, 4)).clone()
        assert x.is_set_to(x.view(3, 4)) and not x.is_set_to(x[1:])
        assert x[1:].data_ptr() == x.data_ptr() + 32
        assert x.untyped_storage().nbytes() == 96
        x.resize_(2, 2)
        assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]]
        x.resize_(5, 3)
        assert x.flatten()[:12].tolist() == list(range(12))
        y = module.zeros(1, dtype=module.float64)
        y.set_(x.untyped_storage(), 2, (2, 2), (1, 3))
        assert y.tolist() == [[2.0, 5.0], [3.0, 6.0]]
        y[0, 0] = -1
        assert x.flatten()[2].item() == -1


def test_geometry_changed_in_place() -> None:
    results = []
    for module in (naiad, torch):
        leaf = module.from_numpy(np.arange(6.0).reshape(1, 2, 3)).requires_grad_()
        x = leaf * 2
        x.squeeze_(0).t_().unsqueeze_(1).transpose_(0, 2)
        (x * x).sum().backward()
        plain = module.arange(6).unsqueeze_(0)
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            leaf.squeeze_()
        results.append((x, leaf.grad, plain, leaf.detach().as_strided_scatter(plain[0, :2].double(), (2,), (3,), 1)))
    for mine, other in zip(*results, strict=True):
        assert strides(mine) == strides(other)
        np.testing.assert_array_equal(mine.detach().numpy(), other.detach().numpy())


def test_rarer_names_around_shapes() -> None:
    assert naiad.broadcast_shapes((2, 1), (3,), 1) == (2, 3)
    assert naiad.zeros(2).layout is naiad.strided
    assert repr(naiad.channels_last) == "naiad.channels_last"
    with pytest.raises(RuntimeError, match="is not expandable to size"):
        naiad.zeros(2, 3).sum_to_size(4)
    with pytest.raises(TypeError, match="not a subclass of Tensor"):
        naiad.zeros(2).as_subclass(int)
    with pytest.raises(ValueError, match="expected 'indices' to be an integer tensor"):
        naiad.unravel_index(naiad.zeros(2), (2, 3))
