"""Dropout. Masks come from the Philox stream: element i, counted row by row, is kept or not by lane i of the draw."""

from __future__ import annotations

from math import ceil, prod, sqrt
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.caution import warn
from naiad.core.device import CPU_DEVICE, CUDA, device
from naiad.core.dtype import FLOAT, FROM_NUMPY, dtype
from naiad.core.elementwise import elementwise
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, public, publish
from naiad.core.primitive import factory, primitive, same_as
from naiad.core.random import generator_for, lanes
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import mul


@factory(kernel="draws.dropout_noise")
def dropout_noise(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, p: float, scale: float
) -> np.ndarray:
    """0 with probability p, else scale. A lane decides by its upper 24 bits, as a float32 uniform >= p would."""
    threshold = ceil(float(np.float32(p)) * 2**24) << 8
    kept = lanes(seed, offset, prod(shape)) >= threshold
    return (
        np.multiply(kept, dtype.compute.np.type(scale), dtype=dtype.compute.np)
        .astype(dtype.np, copy=False)
        .reshape(shape)
    )


def draw_noise(shape: tuple[int, ...], like: Tensor, p: float, scale: float) -> Tensor:
    """What dropout multiplies with: 0 with probability p, else scale; draws from the device's stream."""
    home = like._device
    seed, offset = generator_for(home).advance(prod(shape))
    return dropout_noise(shape=shape, dtype=like._dtype, device=home, seed=seed, offset=offset, p=p, scale=scale)


def _launch(out: Any, input: Any, **facts: Any) -> None:
    """A function in place of a name: such launches, of which no two are the same, are not kept to be repeated."""
    backend.launcher("draws.dropout", "dropout")(out, input, **facts)


@primitive(
    name="dropout_op",
    rule=same_as(),
    kernel=_launch,
    widen=False,
    grad=(lambda g, seed, offset, p, scale: dropout_op(g, seed=seed, offset=offset, p=p, scale=scale),),
)
def dropout_op(input: np.ndarray, *, seed: int, offset: int, p: float, scale: float) -> np.ndarray:
    """input times `dropout_noise`, which is drawn anew for the gradient and so need not be kept."""
    of = FROM_NUMPY[input.dtype]
    draw = dropout_noise.op.body
    return input * draw(shape=input.shape, dtype=of, device=CPU_DEVICE, seed=seed, offset=offset, p=p, scale=scale)


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input: Tensor, shape: tuple[int, ...], p: float, inplace: bool) -> Tensor:
    """input times noise of a shape that broadcasts to it."""
    if input._dtype.kind < FLOAT:
        raise RuntimeError(f"dropout: result type float32 can't be cast to {input._dtype.name}: convert input to float")
    scale = 0.0 if p == 1 else 1 / (1 - p)
    if input._device.kind == CUDA and shape == input._array.shape and not inplace and input._dtype.kind == FLOAT:
        seed, offset = generator_for(input._device).advance(prod(shape))
        return dropout_op(input, seed=seed, offset=offset, p=p, scale=scale)
    noise = draw_noise(shape, input, p, scale)
    return PUBLIC["Tensor"]["mul_"](input, noise) if inplace else mul(input, noise)


@public("nn.functional")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zero each element with probability p and multiply the others by 1 / (1 - p)."""
    _check(p)
    if not training or p == 0 or not input.numel():
        return input
    return _dropped(input, input._array.shape, p, inplace)


def _channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Dropout of whole channels of input (N, C, ...)."""
    _check(p)
    if not training or p == 0 or not input.numel():
        return input
    return _dropped(input, input._array.shape[:2] + (1,) * (input.ndim - 2), p, inplace)


def _unbatched(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """The same for input (C, ...)."""
    _check(p)
    if not training or p == 0 or not input.numel():
        return input
    return _dropped(input, input._array.shape[:1] + (1,) * (input.ndim - 1), p, inplace)


@public("nn.functional")
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of input (N, C, L) or (C, L)."""
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input, {list(input.shape)}"
        )
    return (_unbatched if input.ndim == 2 else _channels)(input, p, training, inplace)


@public("nn.functional")
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of input (N, C, H, W)."""
    if input.ndim == 3:
        warn(
            "dropout2d: Received a 3D input and assumes that channel-wise 1D dropout behavior is desired: input is "
            "interpreted as shape (N, C, L). Use dropout1d for that"
        )
    elif input.ndim != 4:
        warn(f"dropout2d: Received a {input.ndim}-D input, but expected (N, C, H, W)")
    return _channels(input, p, training, inplace)


@public("nn.functional")
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of input (N, C, D, H, W) or (C, D, H, W)."""
    if input.ndim not in (4, 5):
        warn(f"dropout3d: Received a {input.ndim}-D input, but expected (N, C, D, H, W)")
    return (_unbatched if input.ndim == 4 else _channels)(input, p, training, inplace)


@elementwise(namespaces=(), kinds=(2,), name="alpha_dropout")
def alpha_dropout_op(m: Any, input: Any, noise: Any, scale: Any, floor: Any, shift: Any) -> Any:
    """input where noise is 1 and floor where it is 0, scaled and shifted."""
    return (input * noise + floor * (1 - noise)) * scale + shift


_alpha_into = inplace_call(alpha_dropout_op.op)
_FLOOR = -1.7580993408473766  # what selu tends to below zero


def _alpha(input: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
    _check(p)
    if not training or p == 0 or not input.numel():
        return input
    if p == 1:
        return _dropped(input, shape, p, inplace)
    scale = 1 / sqrt((_FLOOR * _FLOOR * p + 1) * (1 - p))
    noise = draw_noise(shape, input, p, 1.0)
    return (_alpha_into if inplace else alpha_dropout_op)(input, noise, scale, _FLOOR, -scale * p * _FLOOR)


@public("nn.functional")
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout to the floor of selu, keeping mean 0 and variance 1. Source: Klambauer et al., 2017."""
    return _alpha(input, input._array.shape, p, training, inplace)


@public("nn.functional")
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels of input (N, C, ...)."""
    return _alpha(input, input._array.shape[:2] + (1,) * (input.ndim - 2), p, training, inplace)


def _top_level(function: Any, name: str) -> None:
    def plain(input: Tensor, p: float, train: bool) -> Tensor:
        return function(input, p, train)

    def into(input: Tensor, p: float, train: bool) -> Tensor:
        return function(input, p, train, True)

    for call, shown in ((plain, name), (into, name + "_")):
        call.__name__, call.__doc__ = shown, function.__doc__
        publish(shown, call, ("naiad",))


_top_level(dropout, "dropout")
_top_level(_channels, "feature_dropout")
_top_level(alpha_dropout, "alpha_dropout")
_top_level(feature_alpha_dropout, "feature_alpha_dropout")
