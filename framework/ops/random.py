"""Random tensors, all drawn from the Philox stream of `naiad.core.random`: the same numbers on every device.

What each draw takes from the stream, and how it makes its values of it, is told beside it. A lane is 32 random bits; a
draw takes a run of lanes, and the stream moves on by whole counters of four.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.device import CPU_DEVICE, CUDA, device
from naiad.core.dispatch import deliver
from naiad.core.dtype import FLOAT, INT, dtype, int64
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import factory
from naiad.core.random import Generator, generator_for, lanes, lanes_per_value, unit_uniform
from naiad.core.state import current, default_dtype
from naiad.core.tensor import Tensor, wrap
from naiad.ops.convert import transfer
from naiad.ops.creation import finish, home, listed, shape_from, whole


@factory(kernel="random.uniform", name="uniform_op")
def uniform_op(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, low: float, high: float
) -> np.ndarray:
    """Uniforms in [low, high)."""
    unit = unit_uniform(seed, offset, prod(shape), dtype.np)
    wide = unit.astype(dtype.compute.np, copy=False)
    span = dtype.compute.np.type(high) - dtype.compute.np.type(low)
    return (dtype.compute.np.type(low) + span * wide).astype(dtype.np, copy=False).reshape(shape)


def draw_uniform(
    shape: tuple[int, ...],
    of: dtype,
    where: device,
    low: float = 0.0,
    high: float = 1.0,
    generator: Generator | None = None,
) -> Tensor:
    """Uniforms from a generator's stream, which moves on; of complex numbers both parts."""
    if of.kind == 3:
        pairs = draw_uniform((*shape, 2), of.to_real(), where, low, high, generator)
        return PUBLIC["naiad"]["view_as_complex"](pairs)
    seed, offset = generator_for(where, generator).advance(prod(shape) * lanes_per_value(of.np))
    return uniform_op(shape=shape, dtype=of, device=where, seed=seed, offset=offset, low=low, high=high)


# ---------------------------------------------------------------- draws in host memory
def _lanes_of_normals(n: int, wide: bool) -> int:
    return (n + n % 2) * (2 if wide else 1)


def _normals(seed: int, offset: int, n: int, of: np.dtype) -> np.ndarray:
    """Standard normals by Box-Muller.

    Uniforms u[2k] and u[2k + 1] give values 2k and 2k + 1: r cos(t) and r sin(t), where r = sqrt(-2 log(1 - u[2k]))
    and t = 2 pi u[2k + 1]. An odd n takes the lanes of n + 1.
    """
    u = unit_uniform(seed, offset, n + n % 2, of).reshape(-1, 2)
    r = np.sqrt(of.type(-2) * np.log1p(-u[:, 0]))
    t = u[:, 1] * of.type(2 * np.pi)
    out = np.empty_like(u)
    np.multiply(r, np.cos(t), out=out[:, 0])
    np.multiply(r, np.sin(t), out=out[:, 1])
    return out.reshape(-1)[:n]


@factory(kernel="draws.normal", name="normal_op")
def normal_op(
    *,
    shape: tuple[int, ...],
    dtype: dtype,
    device: device,
    seed: int,
    offset: int,
    mean: float,
    std: float,
    log: bool = False,
) -> np.ndarray:
    """Normals of a mean and a deviation; log: exp of them."""
    values = _normals(seed, offset, prod(shape), np.dtype(np.float64 if dtype.itemsize == 8 else np.float32))
    if std != 1:
        values *= values.dtype.type(std)
    if mean != 0:
        values += values.dtype.type(mean)
    if log:
        np.exp(values, out=values)
    return np.ascontiguousarray(values.astype(dtype.np, copy=False)).reshape(shape)


_NARROW = 1 << 24


def integers(n: int, low: int, high: int, where: device, generator: Generator | None) -> np.ndarray:
    """n integers in [low, high), as int64."""
    seed, offset = generator_for(where, generator).advance(n if high - low <= _NARROW else 2 * n)
    return _integers(seed, offset, n, low, high)


def _integers(seed: int, offset: int, n: int, low: int, high: int) -> np.ndarray:
    """Up to 2**24 choices take one lane each: the high half of lane * choices. More take two lanes each: the 64-bit
    number they make (first lane high) modulo the choices. Either is even to within choices / 2**32 (2**64).
    """
    choices = high - low
    if choices <= _NARROW:
        drawn = lanes(seed, offset, n).astype(np.uint64) * np.uint64(choices) >> np.uint64(32)
    else:
        drawn = _pairs_at(seed, offset, n)
        if choices < 1 << 64:
            drawn = drawn % np.uint64(choices)
    return (drawn.astype(np.uint64) + np.uint64(low & (2**64 - 1))).view(np.int64)


@factory(kernel="draws.integers", name="integers_op")
def integers_op(
    *, shape: tuple[int, ...], dtype: dtype, device: device, seed: int, offset: int, low: int, high: int
) -> np.ndarray:
    """Integers in [low, high)."""
    return _integers(seed, offset, prod(shape), low, high).astype(dtype.np, copy=False).reshape(shape)


def draw_integers(
    shape: tuple[int, ...], of: dtype, where: device, low: int, high: int, generator: Generator | None
) -> Tensor:
    """Integers in [low, high) from a generator's stream, in a real dtype."""
    n = prod(shape)
    seed, offset = generator_for(where, generator).advance(n if high - low <= _NARROW else 2 * n)
    return integers_op(shape=shape, dtype=of, device=where, seed=seed, offset=offset, low=low, high=high)


def _pairs_at(seed: int, offset: int, n: int) -> np.ndarray:
    both = lanes(seed, offset, 2 * n).reshape(n, 2).astype(np.uint64)
    return both[:, 0] << np.uint64(32) | both[:, 1]


def delivered(values: np.ndarray, shape: tuple[int, ...], of: dtype, where: device) -> Tensor:
    """Drawn values as a tensor of a dtype on a device."""
    array = np.ascontiguousarray(values.astype(of.np, copy=False)).reshape(shape)
    return transfer(wrap(array, of, CPU_DEVICE, current().inference), where)


def draw_normal(
    shape: tuple[int, ...],
    of: dtype,
    where: device,
    mean: float,
    std: float,
    generator: Generator | None,
    log: bool = False,
) -> Tensor:
    """Normals from a generator's stream; log: exp of them. Complex ones have parts of variance std**2 / 2 each."""
    n = prod(shape)
    if of.kind == 3:
        pairs = draw_normal((*shape, 2), of.to_real(), where, 0.0, std / 2**0.5, generator)
        made = PUBLIC["naiad"]["view_as_complex"](pairs)
        return made + mean if mean else made
    seed, offset = generator_for(where, generator).advance(_lanes_of_normals(n, of.itemsize == 8))
    return normal_op(shape=shape, dtype=of, device=where, seed=seed, offset=offset, mean=mean, std=std, log=log)


# ---------------------------------------------------------------- creation
def _floating(name: str, of: dtype | None) -> dtype:
    of = of or default_dtype()
    if of.kind < FLOAT:
        raise NotImplementedError(f"\"{name}\" not implemented for '{of.name}': it draws floating-point numbers")
    return of


@public("naiad")
def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    of = _floating("rand", dtype or (out._dtype if out is not None else None))
    made = draw_uniform(shape_from(sizes, size), of, home(device), generator=generator)
    return finish(made, requires_grad) if out is None else deliver(made, out)


@public("naiad")
def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and variance 1."""
    of = _floating("randn", dtype or (out._dtype if out is not None else None))
    made = draw_normal(shape_from(sizes, size), of, home(device), 0.0, 1.0, generator)
    return finish(made, requires_grad) if out is None else deliver(made, out)


def _check_bounds(name: str, low: int, high: int) -> None:
    if low >= high:
        raise RuntimeError(f"{name} expects 'from' to be less than 'to', but got from={low} >= to={high}")


@public("naiad")
def randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Random integers in [low, high) of a size: ``randint(high, size)`` or ``randint(low, high, size)``."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None or low is None:
        low, high = 0, low if high is None else high
    if size is None:
        raise TypeError("randint(): give the size: randint(high, size) or randint(low, high, size)")
    low, high = whole(low, "low"), whole(high, "high")
    _check_bounds("randint", low, high)
    shape, where = listed("randint", size), home(device)
    of = dtype or (int64 if out is None else out._dtype)
    if of.kind == INT and not (np.iinfo(of.np).min <= low and high - 1 <= np.iinfo(of.np).max):
        raise RuntimeError(f"randint: from = {low} or to - 1 = {high - 1} is out of bounds for {of.name}")
    n = prod(shape)
    if of.kind == 3:
        made = delivered(integers(n, low, high, where, generator), shape, of, where)
    else:
        made = draw_integers(shape, of, where, low, high, generator)
    return finish(made, requires_grad) if out is None else deliver(made, out)


@public("naiad")
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A random permutation of 0 .. n - 1: the order of n random keys of two lanes each.

    The low bits of a key give way to its position, so that one sort of numbers does it.
    """
    n = whole(n, "n")
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    where, bits = home(device), max(n - 1, 0).bit_length()
    seed, offset = generator_for(where, generator).advance(2 * n)
    if where.kind == CUDA:
        made = _device_order(n, where, seed, offset, bits).to(dtype or int64)
    else:
        keys = _pairs_at(seed, offset, n) >> np.uint64(bits) << np.uint64(bits) | np.arange(n, dtype=np.uint64)
        keys.sort()
        order = (keys & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1))).view(np.int64)
        made = delivered(order, (n,), dtype or int64, where)
    return finish(made, requires_grad) if out is None else deliver(made, out)


def _device_order(n: int, where: device, seed: int, offset: int, bits: int) -> Tensor:
    """The same permutation by a sort on the device, which is stable: equal keys stay in the order of their places."""
    from naiad.ops.sorting import sort_op

    keys = integers_op(shape=(n,), dtype=int64, device=where, seed=seed, offset=offset, low=-(2**63), high=2**63)
    return sort_op(keys >> bits, dim=0, descending=False)[1]


def _where(input: Tensor, target: Any) -> device:
    return input._device if target is None else home(target)


@public("naiad")
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """`rand` with the size, dtype and device of `input`."""
    of = _floating("rand_like", dtype or input._dtype)
    return finish(draw_uniform(input._array.shape, of, _where(input, device), generator=generator), requires_grad)


@public("naiad")
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """`randn` with the size, dtype and device of `input`."""
    of = _floating("randn_like", dtype or input._dtype)
    return finish(draw_normal(input._array.shape, of, _where(input, device), 0.0, 1.0, generator), requires_grad)


@public("naiad")
def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """`randint` with the size, dtype and device of `input`."""
    return randint(
        low if high is not None else 0,
        low if high is None else high,
        input._array.shape,
        generator=generator,
        dtype=dtype or input._dtype,
        device=_where(input, device),
        requires_grad=requires_grad,
    )
