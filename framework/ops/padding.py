"""nn.functional.pad: constants, reflections, repetitions and wrapping around at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core.op import as_one, public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor

ndarray = np.ndarray
Pairs = tuple[tuple[int, int], ...]


def _rule(input: Tensor, *, pairs: Pairs, value: Any) -> tuple:
    shape = tuple(n + a + b for n, (a, b) in zip(input._array.shape, pairs, strict=True))
    if any(n < 0 for n in shape):
        raise RuntimeError(
            f"pad: The input size {list(input.shape)}, plus padding {list(pairs)}, resulted in a negative output size: "
            f"{list(shape)}, which is invalid. Check dimension "
            f"{next(i for i, n in enumerate(shape) if n < 0)} of your input."
        )
    return shape, input._dtype


@primitive(
    rule=_rule,
    kernel="places.constant_pad",
    parts="move",
    widen=False,
    grad=(lambda g, pairs: constant_pad(g, pairs=tuple((-a, -b) for a, b in pairs), value=0),),
)
def constant_pad(input: ndarray, *, pairs: Pairs, value: Any) -> ndarray:
    """input with a border of a constant; negative widths cut."""
    shape = [n + a + b for n, (a, b) in zip(input.shape, pairs, strict=True)]
    out = np.zeros(shape, input.dtype) if not value else np.full(shape, value, input.dtype)
    to = tuple(slice(max(a, 0), n + a + min(b, 0)) for n, (a, b) in zip(input.shape, pairs, strict=True))
    of = tuple(slice(max(-a, 0), n + min(b, 0)) for n, (a, b) in zip(input.shape, pairs, strict=True))
    out[to] = input[of]
    return out


_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _source(n: int, before: int, after: int, mode: str) -> ndarray:
    """Which position of a dimension of size n each position of the padded one shows."""
    cut = np.arange(max(-before, 0), n + min(after, 0))
    return np.pad(cut, (max(before, 0), max(after, 0)), _NUMPY_MODES[mode])  # type: ignore[call-overload]


@primitive(
    rule=lambda input, *, pairs, mode: _rule(input, pairs=pairs, value=0),
    kernel="places.edge_pad",
    parts="each",
    widen=False,
    grad=(lambda g, input_shape, pairs, mode: edge_pad_grad(g, shape=input_shape, pairs=pairs, mode=mode),),
)
def edge_pad(input: ndarray, *, pairs: Pairs, mode: str) -> ndarray:
    """input with a border that shows input itself."""
    out = input
    for d, (before, after) in enumerate(pairs):
        if before or after:
            out = np.take(out, _source(input.shape[d], before, after, mode), d)
    return out.copy() if out is input else out


@primitive(
    rule=lambda grad, *, shape, pairs, mode: (shape, grad._dtype),
    kernel="places.edge_pad_grad",
    parts="each",
    grad=(lambda g, pairs, mode: edge_pad(g, pairs=pairs, mode=mode),),
)
def edge_pad_grad(grad: ndarray, *, shape: tuple[int, ...], pairs: Pairs, mode: str) -> ndarray:
    """The transpose of `edge_pad`: what was shown several times is added up."""
    out = grad
    for d, (before, after) in enumerate(pairs):
        if before or after:
            n = shape[d]
            summed = np.zeros((*out.shape[:d], n, *out.shape[d + 1 :]), grad.dtype)
            np.add.at(np.moveaxis(summed, d, 0), _source(n, before, after, mode), np.moveaxis(out, d, 0))
            out = summed
    return out.copy() if out is grad else out


def _pairs(widths: Sequence[int], ndim: int) -> Pairs:
    """PyTorch's list, last dimension first, as (before, after) per dimension."""
    listed = [(int(widths[i]), int(widths[i + 1])) for i in range(0, len(widths), 2)]
    return ((0, 0),) * (ndim - len(listed)) + tuple(reversed(listed))


@public(
    "nn.functional",
    samples=lambda s: [
        s.call(s(2, 3), (1, 2)),
        s.call(s(2, 3, 4), (1, -1, 0, 2), value=1.5),
        s.call(s(2, 3, 4), (2, 1), mode="reflect"),
        s.call(s(1, 2, 3, 4), (2, 1, 1, 2), mode="reflect"),
        s.call(s(2, 3, 4), (5, 1), "replicate"),
        s.call(s(1, 2, 3, 4), (2, 3, 1, 0), "circular"),
        s.call(s(1, 2, 2, 3, 4), (2, 3, 1, 0, 1, 1), "replicate"),
        s.call(s.ints(2, 3), (1, 1), value=7),
    ],
)
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add a border: pad = (left, right, top, bottom, ...) counts from the last dimension; negative widths cut.

    mode: "constant" (with `value`), "reflect", "replicate" or "circular", of which the latter three take the last
    one, two or three dimensions of an input with one or two more.
    """
    widths = [int(w) for w in (pad.tolist() if isinstance(pad, Tensor) else pad)]
    if len(widths) % 2:
        raise RuntimeError(f"pad: Padding length must be divisible by 2, got {widths}")
    if len(widths) // 2 > input.ndim:
        raise RuntimeError(
            f"pad: Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(widths)} and input of dimension {input.ndim}"
        )
    pairs = _pairs(widths, input.ndim)
    if mode == "constant":
        return constant_pad(input, pairs=pairs, value=0 if value is None else value)
    if mode not in _NUMPY_MODES:
        raise NotImplementedError(f"pad: Unrecognised padding mode {mode}: one of constant, {', '.join(_NUMPY_MODES)}")
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    count = len(widths) // 2
    if count not in (1, 2, 3) or input.ndim not in (count + 1, count + 2):
        raise NotImplementedError(
            "pad: Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: a padding of "
            f"{len(widths)} numbers takes an input of {count + 1} or {count + 2} dimensions, got {input.ndim}"
        )
    _check_edges(input, pairs, mode)
    return (edge_pad if mode == "circular" else _edge_pad)(input, pairs=pairs, mode=mode)


_edge_pad = as_one(edge_pad, {"cpu": "float32"})


def _check_edges(input: Tensor, pairs: Pairs, mode: str) -> None:
    for d, (before, after) in enumerate(pairs):
        n = input._array.shape[d]
        widest = max(before, after)
        if mode == "reflect" and widest >= n and widest > 0:
            raise RuntimeError(
                "pad: Argument #4: Padding size should be less than the corresponding input dimension, but got: "
                f"padding ({before}, {after}) at dimension {d} of input {list(input.shape)}"
            )
        if mode == "circular" and widest > n:
            raise RuntimeError(
                "pad: Padding value causes wrapping around more than once: padding "
                f"({before}, {after}) at dimension {d} of input {list(input.shape)}"
            )
        if n + before + after < 1 or (not n and (before or after)):
            raise RuntimeError(f"pad: input {list(input.shape)} is too small for padding {pairs[d]} at dimension {d}")
