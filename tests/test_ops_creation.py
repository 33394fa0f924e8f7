"""Creation: dtypes, devices, memory that is shared or not, windows, legacy constructors, Python's protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import naiad

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def both(call: Any) -> None:
    ours, theirs = call(naiad), call(torch)
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), 1e-9, 1e-12)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8])
def test_windows(name: str, length: int) -> None:
    for periodic in (True, False):
        both(lambda m, p=periodic: getattr(m, f"{name}_window")(length, p, dtype=m.float64))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_sequences(dtype: str) -> None:
    both(lambda m: m.arange(1, 10, 2, dtype=getattr(m, dtype)))
    both(lambda m: m.linspace(0, 10, 5, dtype=getattr(m, dtype)))
    both(lambda m: m.eye(3, 4, dtype=getattr(m, dtype)))
    both(lambda m: m.full((2, 2), 3, dtype=getattr(m, dtype)))
    both(lambda m: m.logspace(0, 3, 4, base=2, dtype=getattr(m, dtype)))


def test_arange_ends() -> None:
    both(lambda m: m.arange(0, 1, 0.1, dtype=m.float64))
    both(lambda m: m.arange(5, 0, -2))
    both(lambda m: m.arange(0.0))
    assert len(naiad.arange(2**40, 2**40 + 3)) == 3
    for bad in ((0, 5, -1), (0, 5, 0), (0, float("inf"))):
        with pytest.raises(RuntimeError):
            naiad.arange(*bad)


def test_data_is_shared_or_copied_as_asked() -> None:
    array = np.ones(3, np.float32)
    shared, copied = naiad.as_tensor(array), naiad.tensor(array)
    array[0] = 5
    assert shared[0] == 5
    assert copied[0] == 1
    assert naiad.as_tensor(shared) is shared
    assert naiad.as_tensor(array, dtype=naiad.float64).dtype is naiad.float64
    assert naiad.asarray(array, copy=True)[0] == 5
    with pytest.raises(ValueError, match="copy"):
        naiad.asarray([1, 2], copy=False)
    raw = bytearray(np.arange(3, dtype=np.int32).tobytes())
    assert naiad.frombuffer(raw, dtype=naiad.int32).tolist() == [0, 1, 2]


def test_likes_and_news() -> None:
    x = naiad.ones(2, 3, dtype=naiad.int32)
    assert naiad.zeros_like(x).dtype is naiad.int32
    assert naiad.ones_like(x, dtype=naiad.float32).sum() == 6
    assert naiad.empty_like(x, dtype=naiad.bool).shape == (2, 3)
    assert x.new_zeros(4).dtype is naiad.int32
    assert x.new_full((2,), 9).tolist() == [9, 9]
    assert x.new_tensor([1.7]).tolist() == [1]
    assert x.new_empty((3, 2)).shape == (3, 2)
    assert naiad.zeros(2, requires_grad=True).requires_grad
    assert naiad.empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert naiad.empty(0, 3).numel() == 0
    out = naiad.empty(0)
    assert naiad.zeros(2, 2, out=out) is out
    assert out.shape == (2, 2)
    with pytest.raises(RuntimeError, match="negative dimension"):
        naiad.zeros(-1)


def test_made_on_meta() -> None:
    for made in (naiad.arange(5, device="meta"), naiad.eye(3, device="meta"), naiad.empty(2, device="meta")):
        assert made.is_meta
    assert naiad.arange(5, device="meta").shape == (5,)


@pytest.mark.parametrize(
    "name", ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]
)
def test_typed_constructors(name: str) -> None:
    ours, theirs = getattr(naiad, f"{name}Tensor"), getattr(torch, f"{name}Tensor")
    x, y = ours([1, 0, 2]), theirs([1, 0, 2])
    assert x.tolist() == y.tolist()
    assert str(x.dtype).split(".")[1] == str(y.dtype).split(".")[1]
    assert x.type() == y.type() == f"torch.{name}Tensor"
    assert isinstance(x, ours)
    assert not isinstance(naiad.zeros(1, dtype=naiad.complex64), ours)
    assert ours(2, 3).shape == (2, 3)
    assert naiad.ones(2).type(ours).dtype is x.dtype
    assert naiad.ones(2).type(f"torch.{name}Tensor").dtype is x.dtype


def test_conversions_by_name() -> None:
    x = naiad.tensor([1.7, -2.2])
    assert x.long().tolist() == [1, -2]
    assert x.float() is x
    assert x.double().type_as(x).dtype is naiad.float32
    assert x.type(naiad.int32).dtype is naiad.int32
    with pytest.raises(ValueError, match="invalid type"):
        x.type("float")


def test_python_numbers() -> None:
    x = naiad.tensor([2.7])
    assert (float(x), int(x), complex(x)) == (pytest.approx(2.7), 2, pytest.approx(2.7))
    assert [10, 20, 30][naiad.tensor(1)] == 20
    assert abs(naiad.tensor(-2)) == 2
    assert round(float(naiad.tensor(2.5)), 1) == 2.5
    for call in (float, int, complex):
        with pytest.raises(ValueError, match="only one element tensors"):
            call(naiad.ones(2))
    with pytest.raises(TypeError, match="only integer tensors"):
        [1][naiad.tensor(0.0)]


def test_iteration_and_membership() -> None:
    x = naiad.arange(6).reshape(3, 2)
    rows = list(x)
    rows[0].fill_(9)
    assert x[0].tolist() == [9, 9]
    _, middle, _ = x
    assert middle.tolist() == [2, 3]
    assert 5 in x
    assert 7 not in x
    with pytest.raises(TypeError, match="0-d"):
        iter(naiad.tensor(1))
    assert [r.tolist() for r in reversed(naiad.tensor([1, 2]))] == [2, 1]


def test_numpy_takes_tensors() -> None:
    x = naiad.ones(3)
    array = np.asarray(x)
    array[0] = 4
    assert x[0] == 4
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x, copy=True) is not array
    assert isinstance(np.ones(3, np.float32) * x, naiad.Tensor)
    assert isinstance(np.ones(3, np.float32) + x, naiad.Tensor)
    assert isinstance(np.exp(x), (naiad.Tensor, np.ndarray))
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(naiad.ones(2, requires_grad=True))


def test_triangles_and_grids() -> None:
    x = naiad.ones(3, 3)
    assert x.tril_().sum() == 6
    assert x.triu_(1).sum() == 0
    with pytest.raises(RuntimeError, match="2 dimensions"):
        naiad.tril(naiad.ones(3))
    a, b = naiad.meshgrid(naiad.arange(2), naiad.arange(3), indexing="xy")
    assert a.shape == b.shape == (3, 2)
    with pytest.raises(RuntimeError, match="1D tensor"):
        naiad.meshgrid(naiad.ones(2, 2))
    both(lambda m: m.vander(m.tensor([1.0, 2.0, 3.0], dtype=m.float64)))
    both(lambda m: m.cartesian_prod(m.arange(2), m.arange(3)))
    both(lambda m: m.combinations(m.arange(4), 3))


def test_small_ones() -> None:
    x = naiad.zeros(3, 3)
    assert x.fill_diagonal_(2).trace() == 6
    both(lambda m: m.zeros(7, 3).fill_diagonal_(1, wrap=True))
    both(lambda m: m.zeros(2, 2, 2).fill_diagonal_(1))
    assert naiad.tensor([1, 2]).apply_(lambda v: v * 3).tolist() == [3, 6]
    assert naiad.zeros(2, dtype=naiad.int64).new([1, 2]).dtype is naiad.int64
    assert naiad.typename(x) == "torch.FloatTensor"
    assert not naiad.detach(naiad.ones(1, requires_grad=True)).requires_grad
    assert naiad.zero_(naiad.ones(2)).sum() == 0


def test_legacy_constructors_and_the_accelerator() -> None:
    assert naiad.LongTensor([1, 2]).dtype is naiad.int64
    assert naiad.accelerator.is_available() == naiad.cuda.is_available()
    accelerator = naiad.accelerator.current_accelerator()
    assert (accelerator is None) != naiad.accelerator.is_available()
    assert accelerator is None or accelerator.type == "cuda"
