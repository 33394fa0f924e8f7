"""Sliding windows, and the maximum over each: max_pool in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from naiad.core.dtype import int64, uint8
from naiad.core.op import as_one, publish
from naiad.core.primitive import primitive
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.conv import sizes

ndarray = np.ndarray
Shape = tuple[int, ...]


class Windows:
    """The sliding windows over the last dimensions of an input: their number, and what each place in them sees."""

    def __init__(
        self,
        size: Shape,
        kernel: Shape,
        stride: Shape,
        padding: Shape,
        dilation: Shape | None = None,
        ceil: bool = False,
    ) -> None:
        self.size, self.kernel, self.stride, self.padding = size, kernel, stride, padding
        self.dilation = dilation or (1,) * len(size)
        self.reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, self.dilation, strict=True))
        self.out = tuple(self._count(i, ceil) for i in range(len(size)))
        ends = [(o - 1) * s + r for o, s, r in zip(self.out, stride, self.reach, strict=True)]
        self.after = tuple(max(e - n - p, 0) for e, n, p in zip(ends, size, padding, strict=True))

    def _count(self, i: int, ceil: bool) -> int:
        n, p, r, s = self.size[i], self.padding[i], self.reach[i], self.stride[i]
        room = n + 2 * p - r
        count = (-(-room // s) if ceil else room // s) + 1
        # With ceil, a last window that would begin in the padding on the right is left out.
        return count - 1 if ceil and (count - 1) * s >= n + p else count

    def taps(self) -> Iterator[tuple[slice, ...]]:
        """For every place in a window, the positions of the padded input that stand there."""
        for tap in product(*[range(0, k * d, d) for k, d in zip(self.kernel, self.dilation, strict=True)]):
            yield (..., *[slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(tap, self.out, self.stride, strict=True)])

    def padded(self, x: ndarray, value: Any) -> ndarray:
        """x with its border, or x itself where it has none."""
        if not any(self.padding) and not any(self.after):
            return x
        out = np.full(self.padded_shape(x.shape), value, x.dtype)
        out[self.inside()] = x
        return out

    def padded_shape(self, shape: Shape) -> Shape:
        lead = shape[: len(shape) - len(self.size)]
        return lead + tuple(n + p + a for n, p, a in zip(self.size, self.padding, self.after, strict=True))

    def inside(self) -> tuple:
        return (..., *[slice(p, p + n) for p, n in zip(self.padding, self.size, strict=True)])


def pooled_shape(
    name: str, x: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape | None, ceil: bool
) -> Shape:
    rank = len(kernel)
    if min(kernel) < 1 or min(stride) < 1 or min(dilation or (1,)) < 1:
        raise RuntimeError(
            f"{name}: kernel size, stride and dilation should be greater than zero, got {kernel}, {stride}"
        )
    if any(p < 0 or 2 * p > d * (k - 1) + 1 for p, k, d in zip(padding, kernel, dilation or (1,) * rank, strict=True)):
        raise RuntimeError(
            f"{name}: pad should be at most half of effective kernel size, but got pad={list(padding)} and "
            f"kernel_size={list(kernel)}"
        )
    w = Windows(x[-rank:], kernel, stride, padding, dilation, ceil)
    if min(w.out) < 1:
        raise RuntimeError(
            f"{name}: Given input size: ({'x'.join(map(str, x[-rank - 1 :]))}). Calculated output size: "
            f"({'x'.join(map(str, w.out))}). Output size is too small"
        )
    return x[: len(x) - rank] + w.out


# ---------------------------------------------------------------- maximum
def _max_rule(
    input: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool, places: bool
) -> list:
    if input._dtype.kind == 0 or input._dtype.kind == 3:
        raise NotImplementedError(f"max_pool: not implemented for '{input._dtype.name}'")
    shape = pooled_shape(f"max_pool{len(kernel)}d", input._array.shape, kernel, stride, padding, dilation, ceil)
    if not places:
        return [(shape, input._dtype), ((), uint8)]
    return [(shape, input._dtype), (shape, uint8 if prod(kernel) <= 256 else int64)]


@primitive(
    rule=_max_rule,
    kernel="pool.max_pool",
    outputs=2,
    grad=(
        lambda g, out1, input_shape, kernel, stride, padding, dilation, ceil: max_pool_grad(
            g,
            out1,
            size=input_shape[len(input_shape) - len(kernel) :],
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil=ceil,
        ),
    ),
)
def max_pool_op(
    input: ndarray, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool, places: bool
) -> tuple:
    """The largest element of every window, and (places) at which place in the window it was first found."""
    pooled_shape("max_pool", input.shape, kernel, stride, padding, dilation, ceil)
    w = Windows(input.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil)
    real = input.dtype.kind == "f"
    x = w.padded(input, -np.inf if real else np.iinfo(input.dtype).min)
    taps = w.taps()
    out = np.array(x[next(taps)], order="C")
    if not places:
        for tap in taps:
            np.maximum(out, x[tap], out=out)
        return out, np.zeros((), np.uint8)
    small = np.zeros(out.shape, np.uint8 if prod(kernel) <= 256 else np.int64)
    for i, tap in enumerate(taps, 1):
        seen = np.ascontiguousarray(x[tap])
        better = (seen > out).view(np.uint8)
        np.maximum(out, seen, out=out)
        # Places grow, so the last place that was better is the largest.
        np.maximum(small, better * small.dtype.type(i), out=small)
    if real and out.size and np.isnan(np.maximum.reduce(out, None)):
        return out, _places_with_nan(x, w, small.dtype)
    return out, small


def _places_with_nan(x: ndarray, w: Windows, of: np.dtype) -> ndarray:
    """The place of every window's maximum, where a NaN (the last of them) counts as the largest."""
    taps = w.taps()
    out = np.array(x[next(taps)], order="C")
    place = np.zeros(out.shape, of)
    for i, tap in enumerate(taps, 1):
        seen = x[tap]
        better = (seen > out) | np.isnan(seen)
        np.copyto(place, i, where=better)
        np.copyto(out, seen, where=better)
    return place


@primitive(
    rule=lambda grad, place, *, size, kernel, **_: (
        (*grad._array.shape[: grad._array.ndim - len(kernel)], *size),
        grad._dtype,
    ),
    kernel="pool.max_pool_grad",
    grad=(
        lambda g, place, kernel, stride, padding, dilation, ceil: pick_place(
            g, place, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil
        ),
        None,
    ),
)
def max_pool_grad(
    grad: ndarray,
    place: ndarray,
    *,
    size: Shape,
    kernel: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    ceil: bool,
) -> ndarray:
    """The gradient of every window's result, added where the maximum was."""
    w = Windows(size, kernel, stride, padding, dilation, ceil)
    lead = grad.shape[: grad.ndim - len(kernel)]
    out = np.zeros(w.padded_shape((*lead, *size)), grad.dtype)
    apart = all(s >= r for s, r in zip(stride, w.reach, strict=True))
    # Choosing by a mask of bits is several times faster than np.where, and unlike a product right for infinities.
    whole = np.dtype(f"i{grad.dtype.itemsize}")
    bits = np.ascontiguousarray(grad).view(whole)
    for i, tap in enumerate(w.taps()):
        mask = np.negative((place == i).view(np.int8), dtype=whole)
        if apart:
            np.bitwise_and(bits, mask, out=out.view(whole)[tap])
        else:
            out[tap] += np.bitwise_and(bits, mask).view(grad.dtype)
    return out if out.shape == (*lead, *size) else np.ascontiguousarray(out[w.inside()])


@primitive(
    rule=lambda input, place, **_: (place._array.shape, input._dtype),
    kernel="pool.pick_place",
    widen=False,
    grad=(
        lambda g, place, input_shape, kernel, stride, padding, dilation, ceil: max_pool_grad(
            g,
            place,
            size=input_shape[len(input_shape) - len(kernel) :],
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil=ceil,
        ),
        None,
    ),
)
def pick_place(
    input: ndarray, place: ndarray, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> ndarray:
    """From every window the element at a given place."""
    w = Windows(input.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil)
    x, out = w.padded(input, 0), np.zeros(place.shape, input.dtype)
    for i, tap in enumerate(w.taps()):
        np.copyto(out, x[tap], where=place == i)
    return out


@primitive(rule=lambda place, **_: (place._array.shape, int64), kernel="pool.place_indices", widen=False)
def place_indices(
    place: ndarray, *, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> ndarray:
    """Places in windows as positions in the flattened last dimensions of the input."""
    w = Windows(size, kernel, stride, padding, dilation, ceil)
    out = np.zeros(place.shape, np.int64)
    rest = place.astype(np.int64)
    step = 1
    for d in reversed(range(len(size))):
        rest, within = np.divmod(rest, kernel[d])
        begin = np.arange(w.out[d]) * stride[d] - padding[d]
        begin = begin.reshape((-1,) + (1,) * (len(size) - 1 - d))
        out += (begin + within * w.dilation[d]) * step
        step *= size[d]
    return out


# ---------------------------------------------------------------- public
def check_rank(name: str, input: Tensor, rank: int) -> None:
    if input._array.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor for input, but got: {list(input.shape)}"
        )


def windows(name: str, rank: int, kernel_size: Any, stride: Any, padding: Any) -> tuple[Shape, Shape, Shape]:
    kernel = sizes(name, "kernel_size", kernel_size, rank)
    given = stride is not None and stride != () and stride != []
    return kernel, sizes(name, "stride", stride, rank) if given else kernel, sizes(name, "padding", padding, rank)


def _max_pool(rank: int) -> tuple[Callable, Callable, Callable]:
    name = f"max_pool{rank}d"

    def both(
        input: Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: bool = True,
    ) -> tuple[Tensor, Tensor]:
        check_rank(name, input, rank)
        kernel, stride, padding = windows(name, rank, kernel_size, stride, padding)
        facts = dict(kernel=kernel, stride=stride, padding=padding, ceil=ceil_mode)
        facts["dilation"] = sizes(name, "dilation", dilation, rank)
        places = return_indices or (input._needs_grad and current().grad)
        out, place = max_pool_op(input, places=places, **facts)
        if not return_indices:
            return out, place
        return out, place_indices(place, size=input._array.shape[input.ndim - rank :], **facts)

    def functional(
        input: Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        if rank == 3 and not return_indices:
            return plain(input, kernel_size, stride, padding, dilation, ceil_mode)  # which autocast makes float32
        found = both(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return found if return_indices else found[0]

    def plain(
        input: Tensor,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        return both(input, kernel_size, stride, padding, dilation, ceil_mode, False)[0]

    functional.__doc__ = plain.__doc__ = (
        f"The largest element of every window over the last {rank} dimensions of input (N, C, ...) or (C, ...).\n\n"
        "stride: kernel_size by default. return_indices: also where it was, as a position in the flattened dimensions."
    )
    both.__doc__ = f"{name} with return_indices."
    if rank == 3:
        plain = as_one(plain, {"cpu": "float32"})
    return functional, plain, both


def pool_samples(rank: int, average: bool) -> Any:
    def samples(s: Any) -> list:
        size = (5, 7, 6)[-rank:]
        calls = [
            s.call(s(2, 3, *size), 2),
            s.call(s(3, *size), 3, 2, 1),
            s.call(s(2, 3, *size), 3, stride=2, padding=1, ceil_mode=True),
            s.call(s(1, 2, *size), 2, 1),
            s.call(s(1, 2, *size), (2,) * rank, (3,) * rank, ceil_mode=True),
        ]
        if average:
            calls.append(s.call(s(2, 3, *size), 3, 2, 1, True, False))
            return calls if rank == 1 else [*calls, s.call(s(2, 3, *size), 2, divisor_override=3)]
        return [*calls, s.call(s(2, 2, *size), 2, 1, dilation=2), s.call(s(2, 2, *size), 3, 2, 1, return_indices=True)]

    return samples


def _publish(rank: int) -> None:
    functional, plain, both = _max_pool(rank)
    for function, name in (
        (functional, f"max_pool{rank}d"),
        (plain, f"max_pool{rank}d"),
        (both, f"max_pool{rank}d_with_indices"),
    ):
        function.__name__ = function.__qualname__ = name
    publish(f"max_pool{rank}d", functional, ("nn.functional",), samples=pool_samples(rank, False))
    publish(f"max_pool{rank}d", plain, ("naiad",))
    publish(f"max_pool{rank}d_with_indices", both, ("nn.functional",))


for _rank in (1, 2, 3):
    _publish(_rank)
