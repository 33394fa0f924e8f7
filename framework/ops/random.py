"""Random tensors, all drawn from the Philox stream of `naiad.core.random`."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.device import device
from naiad.core.dtype import dtype
from naiad.core.op import public
from naiad.core.primitive import factory
from naiad.core.random import Generator, generator_for, lanes_per_value, unit_uniform
from naiad.core.state import default_dtype
from naiad.core.tensor import Tensor
from naiad.ops.creation import finish, home, sizes


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
    """Uniforms from a generator's stream, which moves on."""
    seed, offset = generator_for(where, generator).advance(prod(shape) * lanes_per_value(of.np))
    return uniform_op(shape=shape, dtype=of, device=where, seed=seed, offset=offset, low=low, high=high)


@public("naiad")
def rand(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    made = draw_uniform(sizes(size), dtype or default_dtype(), home(device), generator=generator)
    return finish(made, requires_grad)
