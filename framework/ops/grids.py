"""Grids and combinations of vectors' elements."""

from __future__ import annotations

from itertools import combinations as _combinations
from itertools import combinations_with_replacement as _with_replacement
from typing import Any

import numpy as np

from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor
from naiad.ops.creation import placed
from naiad.ops.movement import expand_op, reshape_op


@public(
    "naiad",
    samples=lambda s: [
        s.call(s(2), s(3), indexing="ij"),
        s.call([s(2), s(3), s()], indexing="ij"),
        s.call(s(2), s(3), s(4), indexing="xy"),
    ],
)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Every vector spread over the grid of all of them: views of shape (n1, n2, ...); "xy" swaps the first two."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in tensors:
        if t.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(t.shape)}")
    swap = indexing == "xy" and len(tensors) > 1
    order = (tensors[1], tensors[0], *tensors[2:]) if swap else tensors
    size = tuple(t.numel() for t in order)
    grids = []
    for i, t in enumerate(order):
        shape = tuple(n if i == j else 1 for j, n in enumerate(size))
        grids.append(expand_op(reshape_op(t, size=shape), size=size))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@public("naiad", samples=lambda s: [s.call(s(2), s(3)), s.call(s(3)), s.call(s.ints(2), s.ints(2), s.ints(2))])
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All ways to take one element of each vector: (product of lengths, number of vectors); one vector itself."""
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return PUBLIC["naiad"]["stack"]([g.flatten() for g in meshgrid(*tensors, indexing="ij")], -1)


@public("naiad", samples=lambda s: [s.call(s(4)), s.call(s(4), 3), s.call(s(3), 2, True), s.call(s(3), 1)])
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to take `r` of a vector's elements in order: (ways, r)."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    ways = list((_with_replacement if with_replacement else _combinations)(range(input.numel()), r))
    if not r or not ways:
        return input.new_empty((0, r) if r else (0,))
    index = placed(np.array(ways, np.int64).reshape(-1), input._device)
    return input.index_select(0, index).reshape((len(ways), r))
