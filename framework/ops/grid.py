"""grid_sample and affine_grid: an image looked up at places that a grid names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from naiad.core.caution import warn
from naiad.core.dtype import float64
from naiad.core.elementwise import elementwise, zero_of
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.linear import matmul, transposed
from naiad.ops.movement import reshape


@elementwise(namespaces=(), name="mirrored", kinds=(2,))
def mirrored(m: Any, input: Any, low: Any, span: Any) -> Any:
    """input reflected at low and low + span as often as it takes to lie between."""
    distance = m.abs(input - low)
    times = m.floor(distance / span)
    rest = distance - times * span
    return low + m.where(times - 2 * m.floor(times / 2) == 0, rest, span - rest)


def _bounded(at: Tensor, size: int, mode: str, align: bool) -> Tensor:
    """Positions brought into the image, for the padding modes that do so."""
    if mode == "reflection":
        low, span = (0.0, size - 1.0) if align else (-0.5, float(size))
        at = mirrored(at, low, span) if span else at * 0
    return at.clamp(0, size - 1) if mode != "zeros" else at


def _cubic(t: Tensor) -> list:
    a = -0.75

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(at: Tensor, mode: str) -> list[tuple[Tensor, Any]]:
    """(position, weight) along one dimension."""
    if mode == "nearest":
        return [(at.detach().round(), None)]
    low = at.detach().floor()
    t = at - low
    if mode == "bilinear":
        return [(low, 1 - t), (low + 1, t)]
    return [(low + i - 1, weight) for i, weight in enumerate(_cubic(t))]


def _samples(s: Any) -> list:
    def grid(*shape: int) -> Any:
        return s(*shape, low=-1.3, high=1.3)

    return [
        s.call(s(2, 3, 4, 5), grid(2, 3, 2, 2), align_corners=False),
        s.call(s(2, 3, 4, 5), grid(2, 3, 2, 2), padding_mode="border", align_corners=True),
        s.call(s(2, 3, 4, 5), grid(2, 3, 2, 2), padding_mode="reflection", align_corners=False),
        s.call(s(1, 2, 4, 5), grid(1, 3, 2, 2), "nearest", align_corners=False),
        s.call(s(1, 2, 4, 5), grid(1, 3, 2, 2), "bicubic", align_corners=False),
        s.call(s(1, 2, 4, 5), grid(1, 3, 2, 2), "bicubic", "border", True),
        s.call(s(1, 2, 3, 4, 5), grid(1, 2, 3, 2, 3), align_corners=True),
    ]


@public("nn.functional", samples=_samples, autocast={"cpu": "float32", "cuda": "promote"})
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """input (N, C, H, W) at the places of grid (N, h, w, 2), in x, y from -1 to 1: (N, C, h, w); so too in 3-D.

    padding_mode: what lies outside is "zeros", the "border", or the "reflection". align_corners: -1 and 1 are the
    centres of the corner elements rather than the corners themselves.
    """
    rank = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: '{padding_mode}'"
        )
    if rank not in (2, 3) or grid.ndim != input.ndim or (mode == "bicubic" and rank != 2):
        raise RuntimeError(
            f"grid_sample(): expected 4D or 5D input and grid with same number of dimensions (bicubic: 4D), but got "
            f"input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid._array.shape[0] != input._array.shape[0] or grid._array.shape[-1] != rank:
        raise RuntimeError(
            f"grid_sample(): expected grid to have size {rank} in last dimension and the input's batch size, but got "
            f"grid with sizes {list(grid.shape)} for input with sizes {list(input.shape)}"
        )
    _warn_default("grid_sample", align_corners)
    return _sample(input, grid, mode, padding_mode, bool(align_corners))


def _warn_default(name: str, align_corners: bool | None) -> None:
    if align_corners is None:
        warn(
            f"Default {name} and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
            "align_corners=True if the old behavior is desired."
        )


def _sample(input: Tensor, grid: Tensor, mode: str, padding_mode: str, align: bool) -> Tensor:
    n, c, *sizes = input._array.shape
    places = grid._array.shape[1:-1]
    flat = reshape(input, (n, c, prod(sizes)))
    per_dim = []
    for d, size in enumerate(sizes):
        at = grid.select(-1, len(sizes) - 1 - d)  # x comes first, and is the last dimension
        at = (at + 1) * ((size - 1) / 2) if align else ((at + 1) * size - 1) / 2
        if mode != "bicubic":
            at = _bounded(at, size, padding_mode, align)
        per_dim.append(_taps(at, mode))
    out = None
    for corner in product(*per_dim):
        term = _corner(flat, corner, sizes, padding_mode, align, (n, c, prod(places)))
        out = term if out is None else out + term
    assert out is not None
    if mode == "nearest" and grid._needs_grad:  # the gradient of the places is zero, not missing
        out = out + reshape(zero_of.call(grid.select(-1, 0)), (n, 1, prod(places)))
    return reshape(out, (n, c, *places))


def _corner(
    flat: Tensor, corner: Sequence, sizes: Sequence[int], padding_mode: str, align: bool, shape: tuple[int, ...]
) -> Tensor:
    """One neighbour of every place, times its weight."""
    index: Any = 0
    factor: Any = None
    for (at, weight), size in zip(corner, sizes, strict=True):
        inside = (at >= 0) & (at <= size - 1)
        if padding_mode != "zeros":
            at = _bounded(at, size, padding_mode, align)
        index = index * size + at.clamp(0, size - 1)
        if padding_mode == "zeros":
            weight = inside.to(flat._dtype) if weight is None else weight * inside
        if weight is not None:
            factor = weight if factor is None else factor * weight
    wide = reshape(index.long(), (shape[0], 1, shape[2])).expand(shape)
    picked = flat.gather(2, wide)
    return picked if factor is None else picked * reshape(factor, (shape[0], 1, shape[2]))


@public(
    "nn.functional",
    samples=lambda s: [
        s.call(s(2, 2, 3), (2, 3, 4, 5), align_corners=False),
        s.call(s(2, 2, 3), (2, 3, 4, 5), align_corners=True),
        s.call(s(1, 3, 4), (1, 2, 3, 4, 2), align_corners=False),
    ],
    autocast={"cuda": "keep"},
)
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid for grid_sample of affine maps theta (N, 2, 3) or (N, 3, 4) and an output of `size` (N, C, ...)."""
    rank = len(size) - 2
    if rank not in (2, 3) or theta._array.shape != (size[0], rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape {size[0]}x{rank}x{rank + 1} for size {list(size)}. "
            f"Got {list(theta.shape)}."
        )
    _warn_default("affine_grid", align_corners)
    space, whole = PUBLIC["naiad"], tuple(size[2:])
    places = []
    for d, n in reversed(list(enumerate(whole))):
        end = (1.0 if align_corners else (n - 1) / n) if n > 1 else 0.0
        at = space["linspace"](0.0 - end, end, n, dtype=float64, device=theta._device).to(theta._dtype)
        places.append(at.view((n,) + (1,) * (rank - 1 - d)).expand(whole))
    places.append(space["ones"](whole, dtype=theta._dtype, device=theta._device))
    base = reshape(space["stack"](places, -1), (1, -1, rank + 1))
    return reshape(matmul(base, transposed(theta)), (size[0], *size[2:], rank))
