"""layer_norm, group_norm, instance_norm, batch_norm, rms_norm and local_response_norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, finfo
from naiad.core.elementwise import elementwise
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, public
from naiad.core.state import no_grad
from naiad.core.tensor import Tensor
from naiad.ops.movement import reshape
from naiad.ops.norm import normalized

F = "nn.functional"
Shape = tuple[int, ...]


def _trailing(name: str, input: Tensor, normalized_shape: Any, **operands: Tensor | None) -> Shape:
    """normalized_shape as a tuple. Raises RuntimeError unless it is the end of the input's shape."""
    shape = (normalized_shape,) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(f"{name}: Expected normalized_shape to be at least 1-dimensional, but got {list(shape)}")
    have = input._array.shape
    if have[len(have) - len(shape) :] != shape or len(have) < len(shape):
        raise RuntimeError(
            f"{name}: Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(have)}"
        )
    for which, operand in operands.items():
        if operand is not None and operand._array.shape != shape:
            raise RuntimeError(
                f"{name}: Expected {which} to be of same shape as normalized_shape, but got {which} of shape "
                f"{list(operand.shape)} and normalized_shape = {list(shape)}"
            )
    return shape


def _over_last(input: Tensor, shape: Shape) -> dict[str, Any]:
    n = prod(shape)
    rows = prod(input._array.shape[: input.ndim - len(shape)])
    return dict(view=(rows, n), axes=(1,), affine=(1, n))


def _normalized(input: Tensor, weight: Tensor | None, bias: Tensor | None, **facts: Any) -> tuple:
    return normalized(input, weight, bias, **facts, centred=True)


_LAYER: dict[str, Any] = dict(
    autocast={"cuda": "float32"},
    samples=lambda s: [
        s.call(s(3, 4), (4,), s(4), s(4)),
        s.call(s(2, 3, 4), (3, 4), s(3, 4), s(3, 4), 1e-3),
        s.call(s(2, 3, 4), (4,)),
        s.call(s(2, 3), (3,), s(3)),
        s.call(s(0, 3), (3,), s(3), s(3)),
    ],
)


@public(F, **_LAYER)
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions, which are normalized_shape."""
    shape = _trailing("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return _normalized(input, weight, bias, eps=eps, **_over_last(input, shape))[0]


@public("naiad", name="layer_norm", **_LAYER)
def layer_norm_of(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """As nn.functional.layer_norm."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


@public(
    F,
    "naiad",
    samples=lambda s: [
        s.call(s(3, 4), (4,), s(4)),
        s.call(s(2, 3, 4), (3, 4), s(3, 4), 1e-3),
        s.call(s(2, 3, 4), (4,)),
    ],
    autocast={"cuda": "float32"},
)
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x ** 2) + eps) * weight over the last dimensions. eps: the dtype's machine epsilon by default."""
    shape = _trailing("rms_norm", input, normalized_shape, weight=weight)
    own = input._dtype
    if weight is not None and weight._dtype is not own:
        if own.itemsize >= 4 or weight._dtype.kind < FLOAT:
            weight = weight.to(own)
        else:
            input = input.to(weight._dtype)
    small = finfo(own.compute).eps if eps is None else eps
    out = normalized(input, weight, None, eps=small, centred=False, **_over_last(input, shape))[0]
    return out if out._dtype is own else out.to(own)


def _check_channels(name: str, input: Tensor, channels: int, **operands: Tensor | None) -> None:
    for which, operand in operands.items():
        if operand is not None and operand._array.shape != (channels,):
            raise RuntimeError(
                f"{name}: Expected {which} to be a vector of size equal to the number of channels in input, but got "
                f"{which} of shape {list(operand.shape)} and input of shape {list(input.shape)}"
            )


_GROUP: dict[str, Any] = dict(
    samples=lambda s: [
        s.call(s(2, 6, 3), 3, s(6), s(6)),
        s.call(s(2, 4, 3, 2), 2, s(4), s(4), 1e-3),
        s.call(s(2, 4), 2),
        s.call(s(3, 6, 2), 1, s(6)),
    ]
)


@public(F, **_GROUP, autocast={"cuda": "float32"})
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalize each sample over groups of channels: input (N, C, ...), weight and bias (C,)."""
    if input.ndim < 2:
        raise RuntimeError(f"group_norm: Expected at least 2 dimensions for input tensor but received {input.ndim}")
    n, channels = input._array.shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    _check_channels("group_norm", input, channels, weight=weight, bias=bias)
    each = channels // num_groups
    view = (n, num_groups, each, prod(input._array.shape[2:]))
    return _normalized(input, weight, bias, view=view, axes=(2, 3), affine=(1, num_groups, each, 1), eps=eps)[0]


@public("naiad", name="group_norm", **_GROUP)
def group_norm_of(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """As nn.functional.group_norm."""
    return group_norm(input, num_groups, weight, bias, eps)


# ---------------------------------------------------------------- statistics that are kept
@elementwise(namespaces=(), name="scale_shift", kinds=(2,))
def scale_shift(m: Any, input: Any, scale: Any, shift: Any) -> Any:
    """input * scale + shift."""
    return input * scale + shift


def _with_running(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize the channels of input (N, C, ...) by given statistics."""
    shape = (1, -1) + (1,) * (input.ndim - 2)
    wide = mean._dtype if mean._dtype.itemsize > input._dtype.itemsize else input._dtype
    scale = (var.to(wide) + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    out = scale_shift(input.to(wide), reshape(scale, shape), reshape(shift, shape))
    return out.to(input._dtype)


@elementwise(namespaces=(), name="moving_average", kinds=(2,))
def moving_average(m: Any, input: Any, fresh: Any, kept: Any, taken: Any) -> Any:
    """input * kept + fresh * taken."""
    return input * kept + fresh * taken


_average_into = inplace_call(moving_average.op)


def _keep(running: Tensor | None, fresh: Tensor, momentum: float, factor: float = 1.0) -> None:
    """running = (1 - momentum) * running + momentum * factor * fresh, in place."""
    if running is not None:
        with no_grad():
            _average_into(running, fresh.to(running._dtype), 1 - momentum, momentum * factor)


def _batch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize by the batch's own statistics, and keep them."""
    n, channels = input._array.shape[:2]
    view = (n, channels, prod(input._array.shape[2:]))
    own = input._dtype
    if any(x is not None and x._dtype is not own for x in (weight, bias)):  # in the widest of them, as PyTorch does
        wide = max((x._dtype for x in (input, weight, bias) if x is not None), key=lambda d: d.itemsize)
        weight, bias = (None if x is None else x.to(wide) for x in (weight, bias))
        input = input.to(wide)
    out, mean, var = _normalized(input, weight, bias, view=view, axes=(0, 2), affine=(1, channels, 1), eps=eps)
    count = view[0] * view[2]
    _keep(running_mean, reshape(mean, (channels,)), momentum)
    if running_var is not None:
        unbiased = count / (count - 1) if count > 1 else float("nan")
        _keep(running_var, reshape(var, (channels,)), momentum, unbiased)
    return out if out._dtype is own else out.to(own)


def _batch_samples(s: Any) -> list:
    return [
        s.call(s(4, 3), None, None, s(3), s(3), True),
        s.call(s(2, 3, 4), None, None, s(3), s(3), training=True, eps=1e-3),
        s.call(s(2, 3, 2, 2), None, None, training=True),
    ]


@public(F, samples=_batch_samples)
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize the channels of input (N, C, ...) over all other dimensions.

    training: by the batch's statistics, of which running_mean and running_var keep a moving average (updated in
    place; the variance unbiased). Otherwise by those two.
    """
    shape = input._array.shape
    if input.ndim < 2:
        raise RuntimeError(f"batch_norm: expected input (N, C, ...), got {input.ndim}D input of shape {list(shape)}")
    channels = shape[1]
    for which, operand in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if operand is not None and operand.numel() != channels:
            raise RuntimeError(
                f"batch_norm: {which} should contain {channels} elements not {operand.numel()} "
                f"(input of shape {list(shape)} has {channels} channels)"
            )
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: Expected running_mean and running_var to be defined when training=False")
        return _with_running(input, running_mean, running_var, weight, bias, eps)
    if input.numel() // max(channels, 1) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    return _batch(input, running_mean, running_var, weight, bias, momentum, eps)


@public("naiad", name="batch_norm")
def batch_norm_of(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """As nn.functional.batch_norm, with another order of arguments."""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@public(
    F,
    samples=lambda s: [
        s.call(s(2, 3, 4), None, None, s(3), s(3)),
        s.call(s(2, 3, 2, 3)),
        s.call(s(2, 3, 2, 2), eps=1e-2),
    ],
)
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize every channel of every sample of input (N, C, ...) by itself, or by running statistics."""
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return _with_running(input, running_mean, running_var, weight, bias, eps)
    n, channels = input._array.shape[:2]
    size = prod(input._array.shape[2:])
    if size == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
    _check_channels("instance_norm", input, channels, weight=weight, bias=bias)
    out, mean, var = _normalized(
        input, weight, bias, view=(n, channels, 1, size), axes=(2, 3), affine=(1, channels, 1, 1), eps=eps
    )
    with no_grad():
        if running_mean is not None:
            _keep(running_mean, reshape(mean, (n, channels)).mean(0), momentum)
        if running_var is not None:
            _keep(running_var, reshape(var, (n, channels)).mean(0), momentum, size / (size - 1))
    return out


@public("naiad", name="instance_norm")
def instance_norm_of(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """As nn.functional.instance_norm, with another order of arguments."""
    return instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@public(F, samples=lambda s: [s.call(s(2, 6, 3), 3), s.call(s(2, 5, 2, 2), 2, alpha=0.3, beta=0.6, k=2.0)])
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """input / (k + alpha * mean of the squares of `size` neighbouring channels) ** beta."""
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.numel():
        return input
    n, channels = input._array.shape[:2]
    # Pooling in 2-D or 3-D as PyTorch chooses it: under autocast that decides the dtype.
    rank = 2 if input.ndim == 3 else 3
    square = reshape(input * input, (n, 1, channels, *(1,) * (rank - 2), -1))
    padded = PUBLIC[F]["pad"](square, (0, 0) * (rank - 1) + (size // 2, (size - 1) // 2))
    mean = PUBLIC[F][f"avg_pool{rank}d"](padded, (size, *(1,) * (rank - 1)), stride=1)
    return input / (reshape(mean, input._array.shape) * alpha + k).pow(beta)
