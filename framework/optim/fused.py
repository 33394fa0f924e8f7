"""An update rule on the cuda device: one kernel launch for all parameters whose numbers and dtypes agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import naiad
from naiad.core import backend
from naiad.core.tables import addresses
from naiad.optim.program import trace_rule

Row = tuple[naiad.Tensor, naiad.Tensor, tuple[naiad.Tensor, ...], dict[str, Any]]


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
        if row[0].numel():
            dtypes = tuple([t._dtype.name for t in (row[0], *row[2], row[1])])
            groups.setdefault((dtypes, tuple(row[3].items())), []).append(row)
    for (dtypes, _), group in groups.items():
        _update(rule, group, dtypes)


def _update(rule: Callable[..., tuple], rows: list[Row], dtypes: tuple[str, ...]) -> None:
    traced = trace_rule(rule, len(rows[0][2]), rows[0][3])
    arrays = [[t._array for t in (param, *state, grad)] for param, grad, state, _ in rows]
    table = addresses(arrays, rows[0][0]._device)
    backend.launcher("optimizer.update", rule.__name__)(rule.__name__, *traced, dtypes, *table)
    for param, _, state, _ in rows:
        for tensor in (param, *state):
            tensor._version[0] += 1
