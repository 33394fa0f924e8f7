"""Windows as columns (unfold) and back (fold), and shuffles of channels and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor
from naiad.ops.conv import sizes
from naiad.ops.conv_numpy import Geometry
from naiad.ops.movement import permute_op, reshape

ndarray = np.ndarray
Shape = tuple[int, ...]
F = "nn.functional"


def _unfold_rule(input: Tensor, *, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> tuple:
    x = input._array.shape
    g = Geometry(x[2:], kernel, stride, padding, dilation)
    if min(g.out) < 1:
        raise RuntimeError(
            f"unfold: Given input with spatial size {list(x[2:])}, kernel_size={list(kernel)}, "
            f"dilation={list(dilation)}, padding={list(padding)}, "
            f"calculated shape of the array of sliding blocks as {list(g.out)}, which is too small (non-positive)"
        )
    return (x[0], x[1] * prod(kernel), prod(g.out)), input._dtype


@primitive(
    rule=_unfold_rule,
    kernel="windows.im2col",
    parts="move",
    widen=False,
    grad=(
        lambda g, input_shape, kernel, dilation, padding, stride: col2im(
            g, size=input_shape[2:], kernel=kernel, dilation=dilation, padding=padding, stride=stride
        ),
    ),
)
def im2col(input: ndarray, *, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> ndarray:
    """(N, C, H, W) to (N, C * kernel, windows)."""
    g = Geometry(input.shape[2:], kernel, stride, padding, dilation)
    if min(g.out) < 1:
        raise ValueError("kernel larger than input")
    n, c = input.shape[:2]
    padded = input
    if any(padding):
        padded = np.zeros((n, c, *g.padded), input.dtype)
        padded[(..., *g.inside)] = input
    out = np.empty((n, c, prod(kernel), *g.out), input.dtype)
    for i, tap in enumerate(g.taps()):
        out[:, :, i] = padded[(..., *g.window(tap))]
    return out.reshape(n, c * prod(kernel), prod(g.out))


def _fold_rule(input: Tensor, *, size: Shape, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> tuple:
    x = input._array.shape
    g = Geometry(size, kernel, stride, padding, dilation)
    if x[1] % prod(kernel):
        raise RuntimeError(
            "fold: Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x[1]} and kernel_size={list(kernel)}."
        )
    if min(g.out) < 1 or x[2] != prod(g.out):
        raise RuntimeError(
            f"fold: Given output_size={list(size)}, kernel_size={list(kernel)}, dilation={list(dilation)}, "
            f"padding={list(padding)}, stride={list(stride)}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {list(g.out)} = {prod(g.out)}, but got input.size(2)={x[2]}."
        )
    return (x[0], x[1] // prod(kernel), *size), input._dtype


@primitive(
    rule=_fold_rule,
    kernel="windows.col2im",
    parts="each",
    grad=(
        lambda g, kernel, dilation, padding, stride: im2col(
            g, kernel=kernel, dilation=dilation, padding=padding, stride=stride
        ),
    ),
)
def col2im(input: ndarray, *, size: Shape, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> ndarray:
    """(N, C * kernel, windows) to (N, C, H, W): what windows share is added up."""
    g = Geometry(size, kernel, stride, padding, dilation)
    n, c = input.shape[0], input.shape[1] // prod(kernel)
    taps = input.reshape(n, c, prod(kernel), *g.out)
    padded = np.zeros((n, c, *g.padded), input.dtype)
    for i, tap in enumerate(g.taps()):
        padded[(..., *g.window(tap))] += taps[:, :, i]
    return np.ascontiguousarray(padded[(..., *g.inside)])


def _four(name: str, kernel: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Shape]:
    found = {
        "kernel": sizes(name, "kernel_size", kernel, 2),
        "dilation": sizes(name, "dilation", dilation, 2),
        "padding": sizes(name, "padding", padding, 2),
        "stride": sizes(name, "stride", stride, 2),
    }
    if min(found["kernel"]) < 1 or min(found["dilation"]) < 1 or min(found["stride"]) < 1 or min(found["padding"]) < 0:
        raise RuntimeError(f"{name}: kernel_size, dilation and stride must be positive, padding not negative: {found}")
    return found


@public(
    F,
    samples=lambda s: [s.call(s(2, 3, 5, 6), 2), s.call(s(3, 5, 6), (3, 2), 1, (1, 0), 2), s.call(s(1, 2, 6, 6), 2, 2)],
)
def unfold(
    input: Tensor,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Every window of input (N, C, H, W) or (C, H, W) as a column: (N, C * kernel, windows)."""
    facts = _four("unfold", kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"unfold: Expected 3D or 4D (batch mode) tensor for input, but got: {list(input.shape)}")
    out = im2col(input if input.ndim == 4 else reshape(input, (1, *input.shape)), **facts)
    return out if input.ndim == 4 else reshape(out, out._array.shape[1:])


@public(
    F,
    samples=lambda s: [
        s.call(s(2, 12, 20), (5, 6), 2),
        s.call(s(12, 4), (4, 4), 2, 1, 0, 2),
        s.call(s(1, 8, 25), (5, 5), 2, 2, 1, 1),
    ],
)
def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """The transpose of unfold: columns (N, C * kernel, windows) added up to (N, C, *output_size)."""
    facts = _four("fold", kernel_size, dilation, padding, stride)
    size = sizes("fold", "output_size", output_size, 2)
    if input.ndim not in (2, 3):
        raise RuntimeError(f"fold: Expected 2D or 3D (batch mode) tensor for input, but got: {list(input.shape)}")
    out = col2im(input if input.ndim == 3 else reshape(input, (1, *input.shape)), size=size, **facts)
    return out if input.ndim == 3 else reshape(out, out._array.shape[1:])


# ---------------------------------------------------------------- shuffles
def _clone(x: Tensor, dims: Shape, shape: Shape) -> Tensor:
    return reshape(permute_op(x, dims=dims).contiguous(), shape)


@public(F, "naiad", samples=lambda s: [s.call(s(2, 8, 3, 2), 2), s.call(s(9, 2, 2), 3)])
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r * r, H, W) to (..., C, H * r, W * r)."""
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got {input.ndim}")
    *lead, c, h, w = input._array.shape
    if r <= 0 or c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    n = len(lead)
    apart = reshape(input, (*lead, c // (r * r), r, r, h, w))
    return _clone(apart, (*range(n), n, n + 3, n + 1, n + 4, n + 2), (*lead, c // (r * r), h * r, w * r))


@public(F, "naiad", samples=lambda s: [s.call(s(2, 2, 4, 6), 2), s.call(s(1, 3, 3), 3)])
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) to (..., C * r * r, H, W)."""
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got {input.ndim}")
    *lead, c, h, w = input._array.shape
    if r <= 0 or h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but {h} x {w} is not "
            f"divisible by {r}"
        )
    n = len(lead)
    apart = reshape(input, (*lead, c, h // r, r, w // r, r))
    return _clone(apart, (*range(n), n, n + 2, n + 4, n + 1, n + 3), (*lead, c * r * r, h // r, w // r))


@public(F, "naiad", samples=lambda s: [s.call(s(2, 6, 3, 2), 3), s.call(s(1, 4, 5), 2)])
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of input (N, C, ...) dealt out: channel g * k + i comes to i * groups + g."""
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    n, c, *rest = input._array.shape
    if groups <= 0 or c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    apart = reshape(input, (n, groups, c // groups, *rest))
    return _clone(apart, (0, 2, 1, *range(3, 3 + len(rest))), (n, c, *rest))


@public(F, "naiad")
def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """As channel_shuffle."""
    return channel_shuffle(input, groups)
