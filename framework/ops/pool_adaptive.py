"""Pooling to a given size (adaptive), and undoing max pooling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from naiad.core.device import device
from naiad.core.dtype import COMPLEX, dtype, int64
from naiad.core.op import as_one, publish
from naiad.core.primitive import factory, primitive
from naiad.core.tensor import Tensor
from naiad.ops.conv import sizes
from naiad.ops.linear import linear_op
from naiad.ops.pool_avg import avg_pool_op

ndarray = np.ndarray
Shape = tuple[int, ...]


def _edges(n: int, out: int) -> list[tuple[int, int]]:
    """Where the windows of an adaptive pooling begin and end."""
    return [(i * n // out, -((-(i + 1) * n) // out)) for i in range(out)]


def _target(name: str, input: Tensor, output_size: Any, rank: int) -> Shape:
    have = input._array.shape[input.ndim - rank :]
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(f"{name}: Expected {rank + 1}D or {rank + 2}D tensor, but got {list(input.shape)}")
    if isinstance(output_size, (tuple, list)):
        if len(output_size) != rank:
            raise RuntimeError(f"{name}: output_size must be {rank} numbers, got {list(output_size)}")
        return tuple(h if n is None else int(n) for h, n in zip(have, output_size, strict=True))
    return have if output_size is None else (int(output_size),) * rank


# ---------------------------------------------------------------- mean
@factory(kernel="ranges.averaging")
def averaging(*, shape: Shape, dtype: dtype, device: device) -> ndarray:
    """The (out, n) matrix that takes the mean of each window."""
    out, n = shape
    matrix = np.zeros(shape)
    for i, (start, stop) in enumerate(_edges(n, out)):
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix.astype(dtype.np)


def _adaptive_avg(rank: int, name: str, input: Tensor, output_size: Any) -> Tensor:
    target = _target(name, input, output_size, rank)
    have = input._array.shape[input.ndim - rank :]
    if all(n and t and n % t == 0 for n, t in zip(have, target, strict=True)):
        kernel = tuple(n // t for n, t in zip(have, target, strict=True))
        zeros = (0,) * rank
        return avg_pool_op(
            input, kernel=kernel, stride=kernel, padding=zeros, ceil=False, include_pad=True, override=None
        )
    for d, (n, t) in enumerate(zip(have, target, strict=True), input.ndim - rank):
        moved = input.transpose(d, -1)
        means = averaging(shape=(t, n), dtype=input._dtype.to_real(), device=input._device).to(input._dtype)
        input = linear_op(moved, means, None).transpose(d, -1)
    return input.contiguous()


# ---------------------------------------------------------------- maximum
@primitive(
    rule=lambda input, *, target: [
        ((*input._array.shape[: input._array.ndim - len(target)], *target), input._dtype),
        ((*input._array.shape[: input._array.ndim - len(target)], *target), int64),
    ],
    kernel="windows.adaptive_max",
    outputs=2,
    grad=(
        lambda g, out1, input_shape, target: plane_put(
            g, out1, size=input_shape[len(input_shape) - len(target) :], add=True
        ),
    ),
)
def adaptive_max_op(input: ndarray, *, target: Shape) -> tuple:
    """The largest element of every window, and where it is in the flattened last dimensions."""
    rank = len(target)
    size, lead = input.shape[-rank:], input.shape[:-rank]
    positions = np.arange(prod(size)).reshape(size)
    out, where = np.empty((*lead, *target), input.dtype), np.empty((*lead, *target), np.int64)
    edges = [_edges(n, t) for n, t in zip(size, target, strict=True)]
    for cell in product(*[range(t) for t in target]):
        window = tuple(slice(*edges[d][i]) for d, i in enumerate(cell))
        flat = input[(..., *window)].reshape(*lead, -1)
        best = flat.argmax(-1)
        out[(..., *cell)] = np.take_along_axis(flat, best[..., None], -1)[..., 0]
        where[(..., *cell)] = positions[window].ravel()[best]
    return out, where


def _planes(x: ndarray, rank: int) -> ndarray:
    return x.reshape(prod(x.shape[: x.ndim - rank]), prod(x.shape[x.ndim - rank :]))


def _at(index: ndarray, rank: int, room: int) -> tuple[ndarray, ndarray]:
    """Index of planes and positions. Raises IndexError for a position outside of [0, room)."""
    at = _planes(index, rank)
    if at.size and (at.min() < 0 or at.max() >= room):
        raise IndexError(f"found an invalid index: positions must lie in [0, {room}), got {at.min()} to {at.max()}")
    return np.arange(at.shape[0])[:, None], at


@primitive(
    rule=lambda input, index, *, size, add: (
        (*input._array.shape[: input._array.ndim - len(size)], *size),
        input._dtype,
    ),
    kernel="places.plane_put",
    parts="each",
    grad=(lambda g, index, size: plane_take(g, index, rank=len(size)), None),
)
def plane_put(input: ndarray, index: ndarray, *, size: Shape, add: bool) -> ndarray:
    """A zero array with elements written (or added) at positions of its flattened last dimensions."""
    rank = len(size)
    values = _planes(input, rank)
    out = np.zeros((values.shape[0], prod(size)), input.dtype)
    at = _at(index, rank, prod(size))
    if add:
        np.add.at(out, at, values)
    else:
        out[at] = values
    return out.reshape(*input.shape[: input.ndim - rank], *size)


@primitive(
    rule=lambda input, index, *, rank: (index._array.shape, input._dtype),
    kernel="places.plane_take",
    parts="move",
    widen=False,
    grad=(
        lambda g, index, input_shape, rank: plane_put(g, index, size=input_shape[len(input_shape) - rank :], add=True),
        None,
    ),
)
def plane_take(input: ndarray, index: ndarray, *, rank: int) -> ndarray:
    """The elements at positions of the flattened last dimensions."""
    planes = _planes(input, rank)
    return planes[_at(index, rank, planes.shape[1])].reshape(index.shape)


def _adaptive_max(rank: int) -> tuple[Callable, Callable]:
    name = f"adaptive_max_pool{rank}d"

    def both(input: Tensor, output_size: Any, return_indices: bool = True) -> tuple[Tensor, Tensor]:
        target = _target(name, input, output_size, rank)
        if input._dtype.kind == COMPLEX:
            raise NotImplementedError(
                f"\"{name}\" not implemented for '{input._dtype.name}': complex numbers have no order"
            )
        return adaptive_max_op(input, target=target)

    def call(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        found = both(input, output_size)
        return found if return_indices else found[0]

    call.__doc__ = (
        f"Max pooling of the last {rank} dimensions of input (N, C, ...) or (C, ...) to output_size (None: as it is)."
    )
    both.__doc__ = f"{name} with return_indices."
    return call, both


# ---------------------------------------------------------------- undoing
def _unpool(rank: int) -> Callable:
    name = f"max_unpool{rank}d"

    def call(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Tensor:
        kernel = sizes(name, "kernel_size", kernel_size, rank)
        steps = kernel if stride is None else sizes(name, "stride", stride, rank)
        pads = sizes(name, "padding", padding, rank)
        have = input._array.shape[input.ndim - rank :]
        if indices._array.shape != input._array.shape:
            raise RuntimeError(
                f"{name}: Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but "
                f"got indices tensor with shape: {list(indices.shape)}"
            )
        default = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(have, steps, pads, kernel, strict=True))
        size = default
        if output_size is not None:
            size = tuple(int(n) for n in output_size)[-rank:]
            if any(abs(n - d) >= s for n, d, s in zip(size, default, steps, strict=True)):
                raise ValueError(f"{name}: invalid output_size {list(size)}: within {list(steps)} of {list(default)}")
        return plane_put(input, indices, size=size, add=False)

    call.__doc__ = "The elements back at the indices of a max pooling, zeros elsewhere."
    return call


def _publish(rank: int) -> None:
    def average(input: Tensor, output_size: Any) -> Tensor:
        return _adaptive_avg(rank, f"adaptive_avg_pool{rank}d", input, output_size)

    average.__doc__ = f"The mean over windows that give output_size (None: as it is) in the last {rank} dimensions."
    size = (5, 7, 6)[-rank:]
    largest, both = _adaptive_max(rank)
    unpool = _unpool(rank)
    top = ("nn.functional", "naiad") if rank == 1 else ("nn.functional",)

    def samples(s: Any) -> list:
        calls = [s.call(s(2, 3, *size), 1), s.call(s(3, *size), (3, 2, 4)[:rank]), s.call(s(2, 2, *size), 3)]
        return calls if rank == 1 else [*calls, s.call(s(2, 2, *size), (None, *(2, 3)[: rank - 1]))]

    def unpool_samples(s: Any) -> list:
        positions = np.stack([s.random.permutation(4**rank)[: 2**rank] for _ in range(6)])
        return [s.call(s(2, 3, *(2,) * rank), s.fixed(positions.reshape(2, 3, *(2,) * rank)), 2)]

    for function, name, spaces, given in (
        (average, f"adaptive_avg_pool{rank}d", top, samples),
        (largest, f"adaptive_max_pool{rank}d", ("nn.functional",), samples),
        (both, f"adaptive_max_pool{rank}d_with_indices", ("nn.functional",), None),
        (unpool, f"max_unpool{rank}d", ("nn.functional",), unpool_samples),
    ):
        function.__name__ = function.__qualname__ = name
        rules = {"cuda": "keep", "cpu": "float32" if rank == 3 or function is unpool else "keep"}
        publish(name, as_one(function, rules), spaces, samples=given)
    if rank == 1:
        publish("adaptive_max_pool1d", both, ("naiad",))


for _rank in (1, 2, 3):
    _publish(_rank)
