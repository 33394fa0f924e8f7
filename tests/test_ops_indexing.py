"""Indexing, assignment, gather and scatter against real PyTorch, on random indices too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def pair(array: np.ndarray, grad: bool = False) -> tuple[Any, Any]:
    """The same values as a tensor of either framework."""
    ours, theirs = naiad.from_numpy(array.copy()), torch.from_numpy(array.copy())
    return (ours.requires_grad_(), theirs.requires_grad_()) if grad else (ours, theirs)


def translate(entry: Any, module: Any) -> Any:
    """An index with its ndarrays made into tensors of a framework."""
    if isinstance(entry, tuple):
        return tuple(translate(e, module) for e in entry)
    return module.from_numpy(entry.copy()) if isinstance(entry, np.ndarray) else entry


def same(ours: Any, theirs: Any) -> None:
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


@st.composite
def indexed(draw: Any) -> tuple[tuple[int, ...], Any]:
    """A shape and an index that fits it: ints, slices, None, Ellipsis, flags, masks, tensors."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=0, max_size=4)))
    wide = draw(st.sampled_from([(), (2,), (1,), (3, 2), (3, 1)]))
    entries: list = []
    dots = False
    dim = 0
    while dim < len(shape):
        kind = draw(
            st.sampled_from(["int", "slice", "none", "dots", "stop", "flag", "mask", "tensor", "tensor", "slice"])
        )
        size = shape[dim]
        if kind == "stop":
            break
        if kind == "dots":
            if not dots:
                dots = True
                entries.append(...)
                dim += draw(st.integers(0, len(shape) - dim))
            continue
        if kind == "none" or kind == "flag":
            entries.append(None if kind == "none" else draw(st.booleans()))
            if len(entries) > 6:
                break
            continue
        if kind == "mask":
            count = draw(st.integers(1, min(2, len(shape) - dim)))
            bits = draw(st.lists(st.booleans(), min_size=1, max_size=16))
            entries.append(np.resize(np.array(bits), shape[dim : dim + count]))
            dim += count
            continue
        if kind == "slice" or size == 0:
            bound = st.none() | st.integers(-5, 5)
            entries.append(slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
        elif kind == "int":
            entries.append(draw(st.integers(-size, size - 1)))
        else:
            numbers = draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=6))
            entries.append(np.resize(np.array(numbers), wide))
        dim += 1
    index: Any = tuple(entries)
    return shape, index[0] if len(index) == 1 and draw(st.booleans()) else index


def both(action: Any) -> tuple[Any, Any]:
    """What an action gives, or raises, with either framework."""
    results = []
    for module in (naiad, torch):
        try:
            results.append(action(module))
        except (IndexError, RuntimeError) as error:
            results.append(type(error))
    return results[0], results[1]


@settings(max_examples=120, deadline=None)
@given(indexed())
def test_getitem_and_its_gradient(case: tuple) -> None:
    shape, index = case
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    tensors = dict(zip((naiad, torch), pair(array, grad=True), strict=True))
    ours, theirs = both(lambda m: tensors[m][translate(index, m)])
    if isinstance(theirs, type):
        assert ours is theirs, index
        return
    same(ours, theirs)
    if theirs.numel():
        for result, weight in ((ours, naiad.from_numpy), (theirs, torch.from_numpy)):
            result.backward(weight(np.arange(1.0, theirs.numel() + 1).reshape(tuple(theirs.shape))))
        same(tensors[naiad].grad, tensors[torch].grad)


@settings(max_examples=120, deadline=None)
@given(indexed(), st.sampled_from(["number", "same", "ones", "row"]))
def test_setitem_and_its_gradient(case: tuple, kind: str) -> None:
    shape, index = case
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target = tuple(torch.from_numpy(array)[translate(index, torch)].shape)
        except IndexError:
            return
    size = {"same": target, "ones": (1,) * len(target), "row": target[-1:]}.get(kind, ())
    values = np.arange(-np.prod(size, dtype=int), 0.0).reshape(size)
    made: dict = {}

    def write(module: Any) -> Any:
        leaf, value = module.from_numpy(array.copy()).requires_grad_(), module.from_numpy(values.copy())
        value = -7.5 if kind == "number" else value.requires_grad_()
        out = leaf * 2
        out[translate(index, module)] = value
        (out * module.from_numpy(np.asarray(array + 1))).sum().backward()
        made[module] = (leaf, value)
        with module.no_grad():  # without a history it goes the quick way
            plain = module.from_numpy(array.copy())
            plain[translate(index, module)] = value
        return out, plain

    if _meets_twice(index):
        return  # which of several writes wins is not defined
    ours, theirs = both(write)
    if isinstance(theirs, type):
        assert ours is theirs, index
        return
    for mine, other in zip(ours, theirs, strict=True):
        same(mine, other)
    same(made[naiad][0].grad, made[torch][0].grad)
    if kind != "number" and made[torch][1].grad is not None:
        same(made[naiad][1].grad, made[torch][1].grad)


def _meets_twice(index: Any) -> bool:
    entries = index if isinstance(index, tuple) else (index,)
    numbers = [e for e in entries if isinstance(e, np.ndarray) and e.dtype != np.bool_]
    return any(e.size > 1 for e in numbers)


RAISES = [
    (lambda t, x: x[5], "index 5 is out of bounds for dimension 0 with size 3"),
    (lambda t, x: x[0, 9], "index 9 is out of bounds for dimension 1 with size 4"),
    (lambda t, x: x[:, t.tensor([7])], "index 7 is out of bounds for dimension 1 with size 4"),
    (lambda t, x: x[t.tensor([7])], "index 7 is out of bounds for dimension 0 with size 3"),
    (lambda t, x: x[0, 0, 0], "too many indices for tensor of dimension 2"),
    (lambda t, x: x[0, 0][0], "invalid index of a 0-dim tensor"),
    (lambda t, x: x[0, 0][:], "slice"),
    (lambda t, x: x[::-1], "step must be greater than zero"),
    (lambda t, x: x[1.5], "only integers, slices"),
    (lambda t, x: x[t.tensor([0.5])], "tensors used as indices must be long, int, byte or bool tensors"),
    (lambda t, x: x[t.tensor([True, False])], "The shape of the mask"),
    (lambda t, x: x[t.tensor([0, 1]), t.tensor([0, 1, 2])], "could not be broadcast together with shapes"),
    (lambda t, x: x.__setitem__(t.tensor([0, 2]), t.ones(3, 3)), "shape mismatch: value tensor of shape"),
    (lambda t, x: x.__setitem__(t.tensor([0]), t.ones(1).double()), "source and destination dtypes match"),
    (lambda t, x: x.__setitem__(0, 1j), "value cannot be converted to type"),
    (lambda t, x: x.__setitem__(0, [1, 2, 3, 4]), "can't assign a list"),
    (lambda t, x: x.gather(1, t.tensor([[4]])), "index 4 is out of bounds for dimension 1 with size 4"),
    (lambda t, x: x.gather(1, t.tensor([0])), "Index tensor must have the same number of dimensions as input tensor"),
    (lambda t, x: x.scatter(1, t.tensor([[0]]), t.ones(1, 1).double()), "Expected self.dtype to be equal to src.dtype"),
    (lambda t, x: x.scatter_add(1, t.tensor([[0, 1]]), t.ones(1, 1)), "Expected index"),
    (lambda t, x: x.index_add(0, t.tensor([0]), t.ones(2, 4)), "Number of indices"),
    (lambda t, x: x.index_select(0, t.tensor([3])), "index"),
    (lambda t, x: x.masked_fill(t.tensor([1, 0, 1, 0]), 0), "only supports boolean masks"),
    (lambda t, x: x.masked_scatter(x > 3, t.ones(2)), "Number of elements of source < number of ones in mask"),
    (lambda t, x: x.take(t.tensor([13])), "tried to access index 13 on a tensor of 12 elements"),
    (lambda t, x: x.to(t.uint8).fill_(300), "value cannot be converted to type"),
]


@pytest.mark.parametrize(("action", "text"), RAISES)
def test_errors_are_pytorchs(action: Any, text: str) -> None:
    caught = []
    for module, tensor in zip((naiad, torch), pair(np.arange(12, dtype=np.float32).reshape(3, 4)), strict=True):
        with pytest.raises((IndexError, RuntimeError, ValueError, TypeError)) as raised:
            action(module, tensor)
        caught.append(raised)
    assert caught[0].type is caught[1].type
    assert text in str(caught[0].value)


@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("kind", ["float64", "int64"])
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_reductions_by_index(reduce: str, include_self: bool, kind: str) -> None:
    # Ties between sources only: to an excluded input torch gives a share of the gradient that it then drops.
    x = np.array([[3, 0, -2], [1, 5, 2], [4, 4, -1]], kind) if include_self else np.full((3, 3), 9).astype(kind)
    source, index = np.array([[0, 2, -2], [3, 0, 2], [-5, 1, 0], [3, 2, 0]], kind), np.array([0, 2, 0, 2])
    results, gradients = [], []
    for module in (naiad, torch):
        a, b = module.from_numpy(x.copy()), module.from_numpy(source.copy())
        if kind == "float64":
            a.requires_grad_(), b.requires_grad_()
        wide = module.from_numpy(np.repeat(index[:, None], 3, 1))
        first = a.index_reduce(0, module.from_numpy(index), b, reduce, include_self=include_self)
        second = a.scatter_reduce(0, wide, b, reduce, include_self=include_self)
        results.append((first, second))
        if kind == "float64":
            second.backward(module.from_numpy(x + 10))
            gradients.append((a.grad, b.grad))
    for mine, other in zip(*results, strict=True):
        same(mine, other)
    for mine, other in zip(*gradients, strict=True) if gradients else ():
        same(mine, other)


def test_writes_in_place_match_the_functions() -> None:
    x = np.arange(12.0).reshape(3, 4)
    rows, grid = np.array([2, 0]), np.array([[0, 2], [1, 3], [3, 0]])
    for name, *args in [
        ("index_add_", 0, rows, np.ones((2, 4))),
        ("index_copy_", 0, rows, np.ones((2, 4))),
        ("index_fill_", 0, rows, 5.0),
        ("scatter_", 1, grid, np.ones((3, 2))),
        ("scatter_", 1, grid, 2.5),
        ("scatter_add_", 1, grid, np.ones((3, 2))),
        ("masked_fill_", x > 4, 1.5),
        ("masked_scatter_", x > 4, np.arange(20.0)),
        ("put_", rows, np.array([1.0, 2.0])),
        ("index_put_", (rows,), np.array([1.0, 2.0, 3.0, 4.0]), True),
    ]:
        for layout in (x, x.T.copy().T):
            results = []
            for module in (naiad, torch):
                tensor = module.from_numpy(layout.copy(order="K"))
                given = [translate(a, module) for a in args]
                leaf = module.from_numpy(layout.copy(order="K")).requires_grad_()
                after = getattr(leaf * 3, name)(*given)
                after.sum().backward()
                results.append((getattr(tensor, name)(*given), after, leaf.grad))
            for mine, other in zip(*results, strict=True):
                same(mine, other)


def test_rows_are_added_in_every_shape() -> None:
    random = np.random.default_rng(0)
    for shape, dim in [((50, 1), 0), ((7, 300), 0), ((3, 9, 5), 1), ((40, 9, 5), 1), ((4, 6), -1)]:
        index = random.integers(0, shape[dim], 33)
        source = random.standard_normal((*shape[:dim], 33, *shape[dim + 1 :]) if dim >= 0 else (4, 33))
        ours, theirs = pair(random.standard_normal(shape))
        mine = ours.index_add(dim, naiad.from_numpy(index), naiad.from_numpy(source))
        other = theirs.index_add(dim, torch.from_numpy(index), torch.from_numpy(source))
        np.testing.assert_allclose(mine.numpy(), other.numpy(), 1e-12)


@pytest.mark.parametrize(
    "name", ["take", "gather", "getitem", "index_put", "scatter_add", "masked_select", "scatter_prod"]
)
def test_second_derivatives(name: str) -> None:
    x, grid = np.arange(1.0, 13.0).reshape(3, 4), np.array([[0, 2, 2], [1, 3, 1], [3, 0, 0]])
    calls = {
        "take": lambda m, a, b: a.take(m.tensor([0, 5, 5])),
        "gather": lambda m, a, b: a.gather(1, m.from_numpy(grid)),
        "getitem": lambda m, a, b: a[m.tensor([0, 2, 2]), :, None][:, 1:],
        "index_put": lambda m, a, b: m.index_put(a, (m.tensor([0, 1]), m.tensor([3, 3])), b[0, :2]),
        "scatter_add": lambda m, a, b: a.scatter_add(1, m.from_numpy(grid), b),
        "masked_select": lambda m, a, b: a.masked_select(a.detach() > 4),
        "scatter_prod": lambda m, a, b: a.scatter_reduce(1, m.from_numpy(grid), b, "prod"),
    }
    found = []
    for module in (naiad, torch):
        a = module.from_numpy(x.copy()).requires_grad_()
        b = module.from_numpy(x[:, :3] / 3).requires_grad_()
        out = (calls[name](module, a, b) ** 2).sum()
        (first,) = module.autograd.grad(out, [a], create_graph=True)
        found.append(module.autograd.grad((first**2).sum(), [a, b], allow_unused=True))
    for mine, other in zip(*found, strict=True):
        if other is not None and mine is not None:
            np.testing.assert_allclose(mine.numpy(), other.numpy(), 1e-9)
        else:
            assert other is None or not other.any()
