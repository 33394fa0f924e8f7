"""interpolate and its older names: nearest, linear, bilinear, trilinear, bicubic and area resizing.

Every mode but nearest and area is separable and linear: along each dimension the result is a small matrix, mostly
zeros, times the input. nearest selects, area is adaptive average pooling.
"""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.dtype import FLOAT
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor

ndarray = np.ndarray
Shape = tuple[int, ...]
F = "nn.functional"
RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
MODES = ("nearest", "nearest-exact", "area", *RANKS)


def _source_index(n: int, out: int, scale: float | None, exact: bool) -> ndarray:
    """Which position each one of the result shows (nearest)."""
    # In float32, as PyTorch computes it: at exact ratios another precision would pick another neighbour.
    ratio = np.float32(1 / scale if scale else n / out)
    index = np.arange(out, dtype=np.float32)
    source = np.floor((index + np.float32(0.5)) * ratio if exact else index * ratio)
    return np.minimum(source.astype(np.int64), n - 1)


def _positions(n: int, out: int, scale: float | None, align: bool) -> ndarray:
    """Where in the input each position of the result lies."""
    index = np.arange(out, dtype=np.float64)
    if align:
        return index * ((n - 1) / (out - 1)) if out > 1 else index * 0
    return (index + 0.5) * (1 / scale if scale else n / out) - 0.5


def _linear_taps(n: int, out: int, scale: float | None, align: bool) -> list[tuple[ndarray, ndarray]]:
    """(index, weight) of the two neighbours of each position."""
    at = np.maximum(_positions(n, out, scale, align), 0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    weight = np.clip(at - low, 0, 1)
    return [(low, 1 - weight), (np.minimum(low + 1, n - 1), weight)]


def _cubic_taps(n: int, out: int, scale: float | None, align: bool) -> list[tuple[ndarray, ndarray]]:
    """(index, weight) of four neighbours: Keys' convolution with a = -3/4 (Keys, 1981)."""
    a = -0.75
    at = _positions(n, out, scale, align)
    low = np.floor(at).astype(np.int64)
    t = at - low
    near = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1  # noqa: E731 - the two branches of one formula
    far = lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a  # noqa: E731
    weights = [far(t + 1), near(t), near(1 - t), far(2 - t)]
    return [(np.clip(low + i - 1, 0, n - 1), w) for i, w in enumerate(weights)]


def _taps(n: int, out: int, scale: float | None, align: bool, cubic: bool) -> list[tuple[ndarray, ndarray]]:
    return (_cubic_taps if cubic else _linear_taps)(n, out, scale, align)


def _along(x: ndarray, vector: ndarray, axis: int) -> ndarray:
    return vector.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1 - axis))


def _resize_rule(input: Tensor, *, size: Shape, scales: tuple, align: bool, cubic: bool) -> tuple:
    if input._dtype.kind != FLOAT:
        raise NotImplementedError(f"interpolate: not implemented for '{input._dtype.name}': convert with .float()")
    return (*input._array.shape[:2], *size), input._dtype


@primitive(
    name="resize",
    rule=_resize_rule,
    kernel="resize.resize",
    grad=(
        lambda g, input_shape, size, scales, align, cubic: resize_grad(
            g, source=input_shape[2:], size=size, scales=scales, align=align, cubic=cubic
        ),
    ),
    autocast={"cuda": "float32"},
)
def resize_op(input: ndarray, *, size: Shape, scales: tuple, align: bool, cubic: bool) -> ndarray:
    """(N, C, *S) resized to (N, C, *size) by linear or cubic interpolation along every dimension."""
    if input.dtype.kind != "f":
        raise TypeError("dtype")
    out = input
    for axis, (target, scale) in enumerate(zip(size, scales, strict=True), 2):
        taps = _taps(input.shape[axis], target, scale, align, cubic)
        parts = [np.take(out, index, axis) for index, _ in taps]
        for part, (_, weight) in zip(parts, taps, strict=True):
            part *= _along(part, weight, axis)
        out = parts[0]
        for part in parts[1:]:
            out += part
    return out


@primitive(
    rule=lambda grad, *, source, **_: ((*grad._array.shape[:2], *source), grad._dtype),
    kernel="resize.resize_grad",
    grad=(lambda g, size, scales, align, cubic: resize_op(g, size=size, scales=scales, align=align, cubic=cubic),),
)
def resize_grad(grad: ndarray, *, source: Shape, size: Shape, scales: tuple, align: bool, cubic: bool) -> ndarray:
    """The transpose of `resize`."""
    out = grad
    for axis, (n, target, scale) in enumerate(zip(source, size, scales, strict=True), 2):
        summed = np.zeros((*out.shape[:axis], n, *out.shape[axis + 1 :]), grad.dtype)
        into = np.moveaxis(summed, axis, 0)
        for index, weight in _taps(n, target, scale, align, cubic):
            np.add.at(into, index, np.moveaxis(out * _along(out, weight, axis), axis, 0))
        out = summed
    return out


@primitive(
    name="resize_nearest",
    rule=lambda input, *, size, **_: ((*input._array.shape[:2], *size), input._dtype),
    kernel="resize.nearest",
    widen=False,
    grad=(
        lambda g, input_shape, size, scales, exact: nearest_grad(
            g, source=input_shape[2:], size=size, scales=scales, exact=exact
        ),
    ),
    autocast={"cuda": "float32"},
)
def nearest_op(input: ndarray, *, size: Shape, scales: tuple, exact: bool) -> ndarray:
    """(N, C, *S) resized to (N, C, *size) by taking the nearest element along every dimension."""
    out = input
    for axis, (target, scale) in enumerate(zip(size, scales, strict=True), 2):
        out = np.take(out, _source_index(input.shape[axis], target, scale, exact), axis)
    return out


@primitive(
    name="resize_nearest_grad",
    rule=lambda grad, *, source, **_: ((*grad._array.shape[:2], *source), grad._dtype),
    kernel="resize.nearest_grad",
    grad=(lambda g, size, scales, exact: nearest_op(g, size=size, scales=scales, exact=exact),),
)
def nearest_grad(grad: ndarray, *, source: Shape, size: Shape, scales: tuple, exact: bool) -> ndarray:
    """The transpose of `resize_nearest`: each element gets the sum of those that show it, which lie side by side."""
    out = grad
    for axis, (n, target, scale) in enumerate(zip(source, size, scales, strict=True), 2):
        shown, starts = np.unique(_source_index(n, target, scale, exact), return_index=True)
        sums = np.add.reduceat(out, starts, axis) if out.size else out.take(starts, axis)
        if len(shown) < n:
            out = np.zeros((*out.shape[:axis], n, *out.shape[axis + 1 :]), grad.dtype)
            out[(slice(None),) * axis + (shown,)] = sums
        else:
            out = sums
    return out


def _sizes(input: Tensor, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[Shape, tuple]:
    """The size of the result, and the scales to compute positions with (None: the ratio of sizes)."""
    rank = input.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "either size or scale_factor should be defined"
            if size is None
            else "only one of size or scale_factor should be defined"
        )
    if size is not None:
        found = tuple(int(n) for n in size) if isinstance(size, (tuple, list)) else (int(size),) * rank
        _check_count("output size", found, rank, input)
        if min(found) < 1:
            raise RuntimeError(f"Input and output sizes should be greater than 0, but got output size {list(found)}")
        return found, (None,) * rank
    factors = (
        tuple(float(f) for f in scale_factor)
        if isinstance(scale_factor, (tuple, list))
        else (float(scale_factor),) * rank
    )
    _check_count("scale_factor", factors, rank, input)
    found = tuple(floor(n * f) for n, f in zip(input._array.shape[2:], factors, strict=True))
    if min(found) < 1:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got output size {list(found)}")
    return found, (None,) * rank if recompute else factors


def _check_count(what: str, found: tuple, rank: int, input: Tensor) -> None:
    if len(found) != rank:
        raise ValueError(
            f"Input and {what} must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(input.shape[2:])} and {what} of {list(found)}. Give input of (N, C, d1, ..., dK) and {what} of "
            "(o1, ..., oK)."
        )


def _samples(s: Any) -> list:
    return [
        s.call(s(2, 3, 4), 7),
        s.call(s(1, 2, 3, 4), scale_factor=2),
        s.call(s(1, 2, 5, 4), (3, 7), mode="nearest-exact"),
        s.call(s(1, 2, 3, 4), (5, 3), mode="bilinear"),
        s.call(s(1, 2, 3, 4), scale_factor=(1.7, 2.3), mode="bilinear", align_corners=False),
        s.call(s(1, 2, 3, 4), (5, 6), mode="bilinear", align_corners=True),
        s.call(s(1, 2, 3, 4), (5, 6), mode="bicubic"),
        s.call(s(1, 2, 5, 4), (2, 7), mode="bicubic", align_corners=True),
        s.call(s(2, 3, 4), 9, mode="linear"),
        s.call(s(1, 2, 2, 3, 4), (3, 4, 3), mode="trilinear"),
        s.call(s(1, 2, 5, 6), (3, 2), mode="area"),
        s.call(s(1, 2, 3, 4), scale_factor=1.5, mode="bilinear", recompute_scale_factor=True),
    ]


@public(F, samples=_samples)
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize input (N, C, ...) to `size`, or by `scale_factor`, in its last one to three dimensions.

    mode: "nearest", "nearest-exact", "area", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D).
    align_corners: the centres of the corner elements stay where they are, rather than the corners themselves.
    """
    if mode not in MODES:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not one of {', '.join(MODES)}")
    if align_corners is not None and mode not in RANKS:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if antialias:
        raise NotImplementedError(
            "interpolate: antialias=True is not supported; smooth the input first, or use mode='area'"
        )
    if input.ndim not in (3, 4, 5):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: "
            f"{' | '.join(MODES)}"
        )
    target, scales = _sizes(input, size, scale_factor, recompute_scale_factor)
    if mode.startswith("nearest"):
        return nearest_op(input, size=target, scales=scales, exact=mode == "nearest-exact")
    if mode == "area":
        return PUBLIC[F][f"adaptive_avg_pool{input.ndim - 2}d"](input, target)
    if RANKS[mode] != input.ndim - 2:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {RANKS[mode] + 2}D input")
    return resize_op(input, size=target, scales=scales, align=bool(align_corners), cubic=mode == "bicubic")


def _deprecated(name: str) -> None:
    warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.")


@public(F)
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The old name of interpolate."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@public(F)
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode "nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor)


@public(F)
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode "bilinear" and align_corners."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)
