"""The mean over sliding windows, and their norms: avg_pool and lp_pool in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from naiad.core.op import PUBLIC, as_one, public, publish
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor
from naiad.ops.conv import sizes
from naiad.ops.pool import Windows, check_rank, pool_samples, pooled_shape, windows

ndarray = np.ndarray
Shape = tuple[int, ...]


def _divisors(w: Windows, include_pad: bool, override: int | None) -> Any:
    """What the sum of every window is divided by: a number, or an array of the windows' shape."""
    if override is not None:
        return override
    per_dim = []
    for i, n in enumerate(w.size):
        start = np.arange(w.out[i]) * w.stride[i] - w.padding[i]
        end = np.minimum(start + w.kernel[i], n + w.padding[i])
        if not include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, n)
        per_dim.append(end - start)
    counts = per_dim[0]
    for more in per_dim[1:]:
        counts = np.multiply.outer(counts, more)
    return int(counts.flat[0]) if counts.size and (counts == counts.flat[0]).all() else counts


def _avg_rule(input: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, **_: Any) -> tuple:
    if input._dtype.kind != 2:
        raise NotImplementedError(f"avg_pool: not implemented for '{input._dtype.name}': convert with .float()")
    return pooled_shape(
        f"avg_pool{len(kernel)}d", input._array.shape, kernel, stride, padding, None, ceil
    ), input._dtype


@primitive(
    rule=_avg_rule,
    kernel="pool.avg_pool",
    grad=(
        lambda g, input_shape, kernel, stride, padding, ceil, include_pad, override: avg_pool_grad(
            g,
            size=input_shape[len(input_shape) - len(kernel) :],
            kernel=kernel,
            stride=stride,
            padding=padding,
            ceil=ceil,
            include_pad=include_pad,
            override=override,
        ),
    ),
)
def avg_pool_op(
    input: ndarray,
    *,
    kernel: Shape,
    stride: Shape,
    padding: Shape,
    ceil: bool,
    include_pad: bool,
    override: int | None,
) -> ndarray:
    """The mean of every window."""
    if input.dtype.kind != "f":
        raise TypeError("dtype")
    pooled_shape("avg_pool", input.shape, kernel, stride, padding, None, ceil)
    w = Windows(input.shape[-len(kernel) :], kernel, stride, padding, None, ceil)
    x, taps = w.padded(input, 0), w.taps()
    out = np.array(x[next(taps)], order="C")
    for tap in taps:
        out += x[tap]
    divisors = _divisors(w, include_pad, override)
    out /= divisors if isinstance(divisors, int) else divisors.astype(out.dtype)
    return out


@primitive(
    rule=lambda grad, *, size, kernel, **_: (
        (*grad._array.shape[: grad._array.ndim - len(kernel)], *size),
        grad._dtype,
    ),
    kernel="pool.avg_pool_grad",
    grad=(
        lambda g, kernel, stride, padding, ceil, include_pad, override: avg_pool_op(
            g,
            kernel=kernel,
            stride=stride,
            padding=padding,
            ceil=ceil,
            include_pad=include_pad,
            override=override,
        ),
    ),
)
def avg_pool_grad(
    grad: ndarray,
    *,
    size: Shape,
    kernel: Shape,
    stride: Shape,
    padding: Shape,
    ceil: bool,
    include_pad: bool,
    override: int | None,
) -> ndarray:
    """The gradient of every window's mean, shared among its elements."""
    w = Windows(size, kernel, stride, padding, None, ceil)
    lead = grad.shape[: grad.ndim - len(kernel)]
    divisors = _divisors(w, include_pad, override)
    share = grad / (divisors if isinstance(divisors, int) else divisors.astype(grad.dtype))
    out = np.zeros(w.padded_shape((*lead, *size)), grad.dtype)
    for tap in w.taps():
        out[tap] += share
    return out if out.shape == (*lead, *size) else np.ascontiguousarray(out[w.inside()])


def _avg_pool(rank: int) -> Callable:
    name = f"avg_pool{rank}d"

    def call(
        input: Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        check_rank(name, input, rank)
        if divisor_override == 0:
            raise RuntimeError(f"{name}: divisor must be not zero")
        kernel, stride, padding = windows(name, rank, kernel_size, stride, padding)
        facts = dict(kernel=kernel, stride=stride, padding=padding, ceil=ceil_mode)
        return avg_pool_op(input, include_pad=count_include_pad, override=divisor_override, **facts)

    def plain(
        input: Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Tensor:
        return call(input, kernel_size, stride, padding, ceil_mode, count_include_pad)

    made = plain if rank == 1 else call
    made.__doc__ = (
        f"The mean of every window over the last {rank} dimensions of input (N, C, ...) or (C, ...).\n\n"
        "count_include_pad: zeros of the padding count. divisor_override: what sums are divided by instead."
    )
    return made


def _publish(rank: int) -> None:
    function, name = _avg_pool(rank), f"avg_pool{rank}d"
    if rank == 3:
        function = as_one(function, {"cpu": "float32"})
    function.__name__ = function.__qualname__ = name
    spaces = ("nn.functional", "naiad") if rank == 1 else ("nn.functional",)
    publish(name, function, spaces, samples=pool_samples(rank, True))


for _rank in (1, 2, 3):
    _publish(_rank)


def _lp_pool(rank: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    kernel = sizes(f"lp_pool{rank}d", "kernel_size", kernel_size, rank)
    functions = PUBLIC["nn.functional"]
    mean = functions[f"avg_pool{rank}d"](input.pow(norm_type), kernel, stride, 0, ceil_mode)
    positive = mean.sign() * functions["relu"](mean.abs())
    return (positive * prod(kernel)).pow(1 / norm_type)


def _publish_lp(rank: int) -> None:
    def call(
        input: Tensor,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        return _lp_pool(rank, input, norm_type, kernel_size, stride, ceil_mode)

    call.__doc__ = f"The norm (sum of x ** p) ** (1 / p) of every window over the last {rank} dimensions."
    call.__name__ = call.__qualname__ = f"lp_pool{rank}d"
    size = (4, 5, 6)[-rank:]
    public("nn.functional", samples=lambda s: [s.call(s(2, 3, *size), 2, 3, 1), s.call(s(2, 3, *size, low=0.1), 3, 2)])(
        call
    )


for _rank in (1, 2, 3):
    _publish_lp(_rank)
