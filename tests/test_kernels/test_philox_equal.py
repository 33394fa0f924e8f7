"""Ten million uniforms, integers and dropout marks each: NumPy and the kernels draw the same bits.

In shapes that end inside counters, blocks and programs, one after another from one stream, under several seeds, from
offsets at which the counter's halves carry.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest

import naiad

pytest.importorskip("naiad.kernels.draws", reason="needs Triton: pip install 'naiad[test]'")
pytestmark = pytest.mark.skipif(
    not naiad.cuda.is_available(), reason="needs a cuda device: set NAIAD_CUDA=interpret for the simulated one"
)

TOTAL = 10_000_000
SEEDS = [0, 42, 2**63 + 12345, 2**64 - 1]
OFFSETS = [0, 3, 2**32 - 1000, 2**40 + 1, 2**64 - 5_000_000]
# 65536 and 16384 are the most that a program of the interpreter takes; the odd ones leave lanes of a counter over.
SHAPES = [(), (1,), (2, 3), (5,), (7, 11, 13), (16384,), (65537,), (255, 257), (3, 1, 1009), (64, 16385)]
LARGEST = 1_200_001


def streams() -> list[tuple[int, int, list[tuple[int, ...]]]]:
    """(seed, offset, shapes of draws) that make TOTAL draws together."""
    found = []
    left = TOTAL
    pairs = [(seed, offset) for offset in OFFSETS for seed in SEEDS]
    for i, (seed, offset) in enumerate(pairs):
        shapes = SHAPES[i % 3 :: 3]
        left -= sum(map(prod, shapes))
        found.append((seed, offset, shapes))
    for i in range(len(found)):
        more = min(left, LARGEST)
        found[i][2].append((more,))
        left -= more
    assert left == 0
    assert sum(prod(shape) for _, _, shapes in found for shape in shapes) == TOTAL
    return found


def started(seed: int, offset: int) -> naiad.Generator:
    generator = naiad.Generator()
    generator.set_state(naiad.from_numpy(np.array([seed, offset], "<u8").view(np.uint8)))
    return generator


def compare(draw: Callable, check: Callable[[np.ndarray, np.ndarray], None]) -> int:
    """Draw on both devices and check each pair; how many draws there were."""
    count = 0
    for seed, offset, shapes in streams():
        here, there = started(seed, offset), started(seed, offset)
        for shape in shapes:
            cpu, cuda = draw(shape, "cpu", here), draw(shape, "cuda", there)
            assert cuda.device.type == "cuda"
            mine, other = cuda.cpu(), cpu
            assert mine.dtype is other.dtype
            check(bits(mine), bits(other))
            count += cpu.numel()
        assert here.get_state().tolist() == there.get_state().tolist()
    return count


def bits(tensor: naiad.Tensor) -> np.ndarray:
    array = tensor.numpy()
    return array if array.dtype.kind in "biu" else array.view(f"u{array.itemsize}")


def equal(mine: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(mine, other)


def test_ten_million_uniforms_are_equal_bit_for_bit() -> None:
    drawn = compare(lambda shape, device, g: naiad.rand(shape, device=device, generator=g), equal)
    assert drawn == TOTAL


def test_ten_million_integers_are_equal_bit_for_bit() -> None:
    bounds = iter([(0, 10), (-7, 2**24 - 8), (-(2**40), 2**41), (-(2**63), 2**63 - 1)] * 1000)
    pair: list[tuple[int, int]] = []

    def draw(shape: tuple[int, ...], device: str, generator: naiad.Generator) -> naiad.Tensor:
        if device == "cpu":
            pair[:] = [next(bounds)]
        return naiad.randint(*pair[0], shape, device=device, generator=generator)

    assert compare(draw, equal) == TOTAL


def test_ten_million_dropout_marks_are_equal_bit_for_bit() -> None:
    chances = iter([0.1, 0.5, 0.9, 1e-6] * 1000)
    count = 0
    for seed, offset, shapes in streams():
        for shape in shapes:
            p = next(chances)
            masks = []
            for device in ("cpu", "cuda"):
                naiad.set_rng_state(started(seed, offset).get_state())
                masks.append(naiad.nn.functional.dropout(naiad.ones(shape, device=device), p).cpu())
            equal(bits(masks[1]), bits(masks[0]))
            count += masks[0].numel()
    assert count == TOTAL


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_uniforms_of_other_dtypes_are_equal_bit_for_bit(dtype: str) -> None:
    of = getattr(naiad, dtype)
    for seed in SEEDS:
        for offset in OFFSETS:
            for shape in SHAPES[:-1]:
                here, there = (
                    naiad.rand(shape, device=device, dtype=of, generator=started(seed, offset)).cpu()
                    for device in ("cpu", "cuda")
                )
                equal(here.view(-1).double().numpy(), there.view(-1).double().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normals_differ_by_a_few_units_in_the_last_place_at_most(dtype: str) -> None:
    """log1p, cos and sin may round differently between math libraries; the uniforms beneath do not."""
    of = getattr(naiad, dtype)
    eps = naiad.finfo(of).eps
    for seed, offset in zip(SEEDS, OFFSETS, strict=False):
        cpu, cuda = (
            naiad.randn(200_001, device=device, dtype=of, generator=started(seed, offset)).cpu().numpy()
            for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(cuda, cpu, rtol=8 * eps, atol=8 * eps)
