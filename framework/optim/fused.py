"""An update rule on the cuda device: one kernel launch for all parameters whose numbers and dtypes agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

import naiad
from naiad.core import backend
from naiad.core.dtype import int64
from naiad.core.strided import DeviceArray
from naiad.optim.program import trace_rule

Row = tuple[naiad.Tensor, naiad.Tensor, tuple[naiad.Tensor, ...], dict[str, Any]]


class Addresses(DeviceArray):
    """A table of addresses in device memory; `reaches` are the buffers that a kernel gets at through it."""

    __slots__ = ("reaches",)


def fits(row: Row) -> bool:
    """Whether a kernel can update this parameter: contiguous real floats, gradient and state of the same shape."""
    param, grad, state, _ = row
    arrays = [t._array for t in (param, *state, grad)]
    return all(
        t._dtype.kind == 2 and t._dtype.itemsize > 1 and a.shape == arrays[0].shape and a.is_contiguous
        for t, a in zip((param, *state, grad), arrays, strict=True)
    )


def update(rule: Callable[..., tuple], rows: Sequence[Row]) -> None:
    """Apply `rule` in place to parameters of one device, all of which fit."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        dtypes = tuple([t._dtype.name for t in (row[0], *row[2], row[1])])
        groups.setdefault((dtypes, tuple(row[3].items())), []).append(row)
    for (dtypes, _), group in groups.items():
        _update(rule, group, dtypes)


def _update(rule: Callable[..., tuple], rows: list[Row], dtypes: tuple[str, ...]) -> None:
    rows = [row for row in rows if row[0].numel()]
    if not rows:
        return
    ops, results, constants = trace_rule(rule, len(rows[0][2]), rows[0][3])
    arrays = [[t._array for t in (param, *state, grad)] for param, grad, state, _ in rows]
    table = np.array([[*(a.ptr for a in own), own[0].size] for own in arrays], np.int64)
    home = rows[0][0]._device
    blocks, block = _blocks(tuple(table[:, -1].tolist()), home)
    held = backend.upload(table, int64, home)
    addresses: Any = Addresses(held.buffer, held.shape, held.strides, held.offset, held.dtype)
    addresses.reaches = [a.buffer for own in arrays for a in own]
    backend.launcher("optimizer.update", rule.__name__)(
        rule.__name__, ops, results, constants, dtypes, addresses, blocks, block, bool((table % 16 == 0).all())
    )
    for param, _, state, _ in rows:
        for tensor in (param, *state):
            tensor._version[0] += 1


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], home: Any) -> tuple[DeviceArray, int]:
    """Which block of which parameter each program takes, in device memory."""
    blocks, size = backend.launcher("optimizer.blocks_of", "optimizer")(sizes)
    return backend.upload(blocks, int64, home), size
