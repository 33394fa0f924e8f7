"""Operands in another order than the result: squares that are read and written each in its own order."""

import numpy as np
import pytest

from naiad.core.trace import trace

pytest.importorskip("naiad.kernels.elementwise", reason="needs Triton: pip install 'naiad[test]'")
from naiad.kernels import elementwise
from naiad.kernels import elementwise_tiles as tiles


@pytest.fixture
def squares(monkeypatch):
    """The dimensions along which variants were asked for."""
    made = []
    kept = tiles.TileGenerator.tile_source

    def seen(self, layout, along, rank, wide):
        made.append((along, rank, wide))
        return kept(self, layout, along, rank, wide)

    monkeypatch.setattr(tiles.TileGenerator, "tile_source", seen)
    monkeypatch.setattr(tiles, "FEW", 1000)
    return made


def launcher(dtype):
    """x + y * s of two arrays and a number."""
    recorded, result = trace(lambda m, x, y, s: x + y * s, ("x", "y", "s"))
    return elementwise.prepare(
        "test body", ("x", "y", "s"), recorded.lines, result, (dtype, dtype, ("scalar", dtype)), dtype
    )


def permuted(array, axes):
    return array.view(tuple(array.shape[a] for a in axes), tuple(array.strides[a] for a in axes))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((70, 33), (1, 0)), ((3, 70, 130), (0, 2, 1)), ((17, 2, 40), (2, 1, 0)), ((2, 20, 3, 65), (0, 3, 2, 1))],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64"])
@pytest.mark.parametrize("repeated", [False, True])
def test_any_order_gives_the_same_numbers(arrays, squares, shape, axes, dtype, repeated):
    x = arrays.cast(np.arange(np.prod(shape)).reshape(shape) % 61, dtype)
    y = np.full((), 3, x.dtype) if repeated else x[::-1].copy()
    view = permuted(arrays.device(x), axes)
    other = arrays.device(y).broadcast(view.shape) if repeated else permuted(arrays.device(y), axes)
    out = arrays.empty(view.shape, dtype)
    launcher(dtype)(out, view, other, 2)
    want = (x.astype(np.int64) + 2 * y.astype(np.int64)).transpose(axes)
    np.testing.assert_allclose(arrays.host(out).astype(np.float64), want, rtol=1e-2 if dtype == "bfloat16" else 0)
    assert len(squares) == 1


def test_when_squares_pay():
    assert tiles.turned((64, 128), ((128, 1), (1, 64))) == 0
    assert tiles.turned((64, 128), ((128, 1), (128, 1))) is None, "the same order"
    assert tiles.turned((64, 128), ((128, 1), (0, 1))) is None, "rows that repeat"
    assert tiles.turned((64, 128), ((128, 1), (1, 0))) == 0, "columns that repeat"
    assert tiles.turned((8, 128), ((128, 1), (1, 8))) is None, "short columns"
    assert tiles.turned((64, 128), ((2, 128), (1, 64))) is None, "a result without order"
    assert tiles.turned((4096,), ((1,), (2,))) is None


def test_the_interpreter_takes_few_squares(arrays, monkeypatch, launched):
    grids = []
    monkeypatch.setattr(tiles, "bind", lambda kernel, grid, *args, **kwargs: grids.append(grid) or (lambda *a: None))
    for rows in (100, 1000):
        out, x = arrays.empty((rows, 100)), permuted(arrays.empty((100, rows)), (1, 0))
        launcher("float32")(out, x, x, 1.0)
    assert grids == [(4,)]


def test_offsets_beyond_two_to_the_31(squares, monkeypatch):
    monkeypatch.setattr(tiles, "FEW", 1 << 30)
    launcher("float32").bound((1 << 16, 1 << 16), ((1 << 16, 1), (1, 1 << 16), (0, 0)))
    launcher("float32").bound((1 << 15, 1 << 15), ((1 << 15, 1), (1, 1 << 15), (0, 0)))
    assert [wide for *_, wide in squares] == [True, False]
