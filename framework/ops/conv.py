"""Convolutions and transposed convolutions in one, two and three dimensions.

conv is linear in input and in weight; its two derivatives and itself are each other's derivatives, so that three
primitives are enough to differentiate any number of times. A transposed convolution is the derivative in the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core.device import CPU
from naiad.core.dtype import BOOL, INT
from naiad.core.op import PUBLIC, as_one, publish
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor
from naiad.ops.conv_numpy import Geometry, forward, input_gradient, weight_gradient
from naiad.ops.linear import conj
from naiad.ops.movement import reshape
from naiad.ops.reduction import sum_dims

ndarray = np.ndarray
Shape = tuple[int, ...]


# ---------------------------------------------------------------- errors
def _name(rank: int, transposed: bool = False) -> str:
    return f"conv{'_transpose' if transposed else ''}{rank}d"


def _check_dtypes(name: str, input: Tensor, **operands: Tensor | None) -> None:
    if input._dtype.kind == BOOL or (input._dtype.kind == INT and input._device.kind != CPU):
        raise NotImplementedError(
            f"{name}: not implemented for '{input._dtype.name}': it takes floating-point or complex tensors, "
            "and on the CPU integers"
        )
    for which, operand in operands.items():
        if operand is not None and operand._dtype is not input._dtype:
            raise RuntimeError(
                f"{name}: Input type ({input._dtype.name}) and {which} type ({operand._dtype.name}) should be the "
                "same. Convert one with .to(dtype)"
            )


def _rule(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
) -> tuple:
    x, w = input._array.shape, weight._array.shape
    name = _name(len(stride))
    _check_dtypes(name, input, weight=weight, bias=bias)
    _check_weight(name, w, len(stride), groups)
    if x[1] != w[1] * groups:
        raise RuntimeError(
            f"{name}: Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have "
            f"{w[1] * groups} channels, but got {x[1]} channels instead"
        )
    if bias is not None and bias._array.shape != w[:1]:
        raise RuntimeError(
            f"{name}: Given weight of size {list(w)}, expected bias to be 1-dimensional with {w[0]} elements, but got "
            f"bias of size {list(bias._array.shape)} instead"
        )
    g = Geometry(x[2:], w[2:], stride, padding, dilation)
    if any(n < r for n, r in zip(g.padded, g.reach, strict=True)):
        raise RuntimeError(
            f"{name}: Calculated padded input size per channel: ({_by(g.padded)}). Kernel size: ({_by(g.reach)}). "
            "Kernel size can't be greater than actual input size. Add padding, or take a larger input"
        )
    return (x[0], w[0], *g.out), input._dtype


def _by(sizes: Shape) -> str:
    return " x ".join(map(str, sizes))


def _check_weight(name: str, w: Shape, rank: int, groups: int) -> None:
    if len(w) != rank + 2:
        raise RuntimeError(f"{name}: expected weight to have {rank + 2} dimensions, but got weight of size {list(w)}")
    if groups <= 0 or w[0] % groups:
        raise RuntimeError(
            f"{name}: Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got "
            f"weight of size {list(w)} instead"
        )


# ---------------------------------------------------------------- the three primitives
@primitive(
    name="conv",
    rule=_rule,
    kernel="conv.conv",
    parts="product",
    grad=(
        lambda g, weight, input_shape, stride, padding, dilation, groups: conv_input_grad(
            g, conj(weight), size=input_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        lambda g, input, weight_shape, stride, padding, dilation, groups: conv_weight_grad(
            g, conj(input), kernel=weight_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        lambda g: sum_dims(g, dim=(0, *range(2, g._array.ndim)), keepdim=False),
    ),
    autocast="lower",
)
def conv_op(
    input: ndarray,
    weight: ndarray,
    bias: ndarray | None = None,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
) -> ndarray:
    """input (N, C, *S) with weight (O, C / groups, *kernel): (N, O, *out)."""
    _check(input, weight, bias, len(stride), groups)
    g = Geometry(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    if min(g.out, default=1) < 1:
        raise ValueError("kernel larger than input")
    return forward(input, weight, bias, g, groups)


def _check(input: ndarray, weight: ndarray, bias: ndarray | None, rank: int, groups: int) -> None:
    """What the rule words; here only that something is wrong."""
    if input.dtype.kind == "b" or input.dtype != weight.dtype or weight.ndim != rank + 2 or groups <= 0:
        raise TypeError("operands")
    if input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise TypeError("channels")
    if bias is not None and (bias.dtype != input.dtype or bias.shape != weight.shape[:1]):
        raise TypeError("bias")


@primitive(
    rule=lambda grad, weight, *, size, groups, **_: (
        (grad._array.shape[0], weight._array.shape[1] * groups, *size),
        grad._dtype,
    ),
    kernel="conv.conv_input_grad",
    parts="product",
    grad=(
        lambda g, weight, stride, padding, dilation, groups: conv_op(
            g, conj(weight), None, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        lambda g, grad, weight_shape, stride, padding, dilation, groups: conv_weight_grad(
            conj(grad), g, kernel=weight_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
    ),
)
def conv_input_grad(
    grad: ndarray, weight: ndarray, *, size: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> ndarray:
    """grad (N, O, *out) and weight (O, C / groups, *kernel): (N, C, *size)."""
    return input_gradient(grad, weight, Geometry(size, weight.shape[2:], stride, padding, dilation), groups)


@primitive(
    rule=lambda grad, input, *, kernel, groups, **_: (
        (grad._array.shape[1], input._array.shape[1] // groups, *kernel),
        grad._dtype,
    ),
    kernel="conv.conv_weight_grad",
    parts="product",
    grad=(
        lambda g, input, stride, padding, dilation, groups: conv_op(
            conj(input), g, None, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        lambda g, grad, input_shape, stride, padding, dilation, groups: conv_input_grad(
            conj(grad), g, size=input_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
    ),
)
def conv_weight_grad(
    grad: ndarray, input: ndarray, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> ndarray:
    """grad (N, O, *out) and input (N, C, *S): (O, C / groups, *kernel)."""
    return weight_gradient(grad, input, Geometry(input.shape[2:], kernel, stride, padding, dilation), groups)


# ---------------------------------------------------------------- arguments
def sizes(name: str, what: str, value: Any, rank: int) -> Shape:
    """An int or a sequence of `rank` (or one) of them as a tuple."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * rank
    found = tuple(int(v) for v in value)
    if len(found) == 1:
        return found * rank
    if len(found) != rank:
        raise RuntimeError(
            f"{name}: expected {what} to be a single integer or a list of {rank} values, got {list(found)}"
        )
    return found


def _batched(name: str, input: Tensor, rank: int) -> tuple[Tensor, bool]:
    """input as (N, C, ...), and whether it came as such."""
    if input._array.ndim == rank + 2:
        return input, True
    if input._array.ndim == rank + 1:
        return reshape(input, (1, *input._array.shape)), False
    raise RuntimeError(
        f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got input of size: "
        f"{list(input.shape)}"
    )


def _padding(
    name: str, input: Tensor, weight: Tensor, padding: Any, stride: Shape, dilation: Shape, rank: int
) -> tuple[Tensor, Shape]:
    """The padding per dimension; what "same" needs on one side only is added to the input."""
    if not isinstance(padding, str):
        found = sizes(name, "padding", padding, rank)
        if min(found) < 0:
            raise RuntimeError(f"{name}: negative padding is not supported, got {list(found)}")
        return input, found
    if padding == "valid":
        return input, (0,) * rank
    if padding != "same":
        raise RuntimeError(f"{name}: Invalid padding string: '{padding}', should be one of 'valid', 'same' or a number")
    if any(s != 1 for s in stride):
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions (stride {list(stride)})")
    totals = [d * (k - 1) for d, k in zip(dilation, weight._array.shape[2:], strict=True)]
    if any(t % 2 for t in totals):
        extra = [v for t in reversed(totals) for v in (0, t % 2)]
        input = PUBLIC["nn.functional"]["pad"](input, extra)
    return input, tuple(t // 2 for t in totals)


def _convolve(
    rank: int, input: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    name = _name(rank)
    input, batched = _batched(name, input, rank)
    stride, dilation = sizes(name, "stride", stride, rank), sizes(name, "dilation", dilation, rank)
    if min(stride) < 1 or min(dilation) < 1:
        raise RuntimeError(f"{name}: non-positive stride or dilation is not supported, got {stride} and {dilation}")
    if weight._array.ndim == rank + 2:
        input, padding = _padding(name, input, weight, padding, stride, dilation, rank)
    else:
        _check_weight(name, weight._array.shape, rank, groups)
    out = conv_op(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return out if batched else reshape(out, out._array.shape[1:])


def _transposed(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    name = _name(rank, True)
    input, batched = _batched(name, input, rank)
    stride, dilation = sizes(name, "stride", stride, rank), sizes(name, "dilation", dilation, rank)
    padding, more = sizes(name, "padding", padding, rank), sizes(name, "output_padding", output_padding, rank)
    x, w = input._array.shape, weight._array.shape
    _check_dtypes(name, input, weight=weight, bias=bias)
    _check_weight(name, w, rank, groups)
    if x[1] != w[0]:
        raise RuntimeError(
            f"{name}: Given transposed=1, weight of size {list(w)}, expected input{list(x)} to have {w[0]} channels, "
            f"but got {x[1]} channels instead"
        )
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output padding must be smaller than either stride or dilation, but got output_padding "
            f"{list(more)}, stride {list(stride)}, dilation {list(dilation)}"
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + m
        for n, s, p, d, k, m in zip(x[2:], stride, padding, dilation, w[2:], more, strict=True)
    )
    if min(size) < 1:
        raise RuntimeError(f"{name}: the output size {list(size)} is too small: reduce padding {list(padding)}")
    out = conv_input_grad(input, weight, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if bias is not None:
        if bias.numel() != w[1] * groups:
            raise RuntimeError(f"{name}: expected bias of {w[1] * groups} elements, but got size {list(bias.shape)}")
        out = out + reshape(bias, (1, -1) + (1,) * rank)
    return out if batched else reshape(out, out._array.shape[1:])


# ---------------------------------------------------------------- public
def _samples(rank: int) -> Any:
    def samples(s: Any) -> list:
        size, kernel = (7, 6, 5)[-rank:], (3, 2, 3)[-rank:]
        return [
            s.call(s(2, 3, *size), s(4, 3, *kernel), s(4)),
            s.call(s(2, 4, *size), s(6, 2, *kernel), s(6), stride=2, padding=1, groups=2),
            s.call(s(2, *size), s(3, 2, *kernel), None, 1, 2, 2),
            s.call(s(2, 3, *size), s(6, 1, *kernel), None, padding=1, groups=3),
            s.call(s(1, 2, *size), s(3, 2, *(3, 5, 3)[:rank]), s(3), padding="same"),
            s.call(s(1, 2, *size), s(3, 2, *kernel), s(3), padding="valid", dilation=2),
            s.call(s(2, 3, *size), s(4, 3, *(1,) * rank), s(4)),
        ]

    return samples


def _transposed_samples(rank: int) -> Any:
    def samples(s: Any) -> list:
        size, kernel = (3, 4, 5)[-rank:], (3, 2, 3)[-rank:]
        return [
            s.call(s(2, 3, *size), s(3, 4, *kernel), s(4)),
            s.call(s(2, 4, *size), s(4, 3, *kernel), s(6), 2, 1, 1, 2),
            s.call(s(2, *size), s(2, 3, *kernel), dilation=2),
            s.call(s(1, 3, *size), s(3, 2, *kernel), None, stride=3, output_padding=2, groups=3),
        ]

    return samples


def _publish(rank: int) -> None:
    letters = ("L", "H, W", "D, H, W")[rank - 1]

    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Tensor:
        return _convolve(rank, input, weight, bias, stride, padding, dilation, groups)

    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Tensor:
        return _transposed(rank, input, weight, bias, stride, padding, output_padding, groups, dilation)

    conv.__doc__ = (
        f"Cross-correlate input (N, C, {letters}) or (C, {letters}) with weight (O, C / groups, {letters}).\n\n"
        "padding: zeros on both sides, or 'valid' (none), or 'same'. Raises RuntimeError for sizes that do not match."
    )
    conv_transpose.__doc__ = (
        f"The transpose of conv{rank}d: input (N, C, {letters}) or (C, {letters}), weight (C, O / groups, {letters})."
    )
    for function, name, samples in (
        (conv, _name(rank), _samples(rank)),
        (as_one(conv_transpose, "lower"), _name(rank, True), _transposed_samples(rank)),
    ):
        function.__name__ = function.__qualname__ = name
        publish(name, function, ("nn.functional", "naiad"), samples=samples)


for _rank in (1, 2, 3):
    _publish(_rank)
