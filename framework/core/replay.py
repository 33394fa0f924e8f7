"""Launching again what an op launched before for the same geometry.

A launch function of naiad's kernels turns shapes, strides, dtypes and attributes into launches, by Python that takes
tens of microseconds. The launches depend on nothing else, but for the addresses. So when a geometry comes the second
time they are written down, with each address as an offset from an operand, an output or a piece of working memory;
from the third time on only memory is taken and the launches are made.

Not written down: launch functions that are not ours, calls during which values went between host and device, on which
the launches might depend, and launches that read memory which outlives the call. A setting that changes how kernels are
launched must call `forget`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from naiad.core import backend
from naiad.core.device import device
from naiad.core.strided import DeviceArray

LIMIT = 4096  # geometries that are known at a time
NEVER, UNKNOWN = object(), object()
_plans: dict[tuple, Any] = {}  # key -> None (met once), NEVER, or a function of the operands


def forget() -> None:
    """Forget all plans: something has changed that launch functions look at."""
    _plans.clear()


def run(op: Any, xs: Sequence, arrays: Sequence, attrs: dict, home: device, general: Callable) -> Sequence:
    """The outputs of `op`, by `general` or by what it was seen to launch."""
    launching = _launching()
    if launching.observers or launching.watchers or not isinstance(op.kernel, str):
        return general(op, xs, arrays, attrs, home)
    try:
        key = _key(op, arrays, attrs)
        plan = _plans.get(key, UNKNOWN)
    except TypeError:  # an attribute that cannot be hashed
        return general(op, xs, arrays, attrs, home)
    if plan is UNKNOWN:
        if len(_plans) >= LIMIT:
            _plans.clear()
        _plans[key] = None
        return general(op, xs, arrays, attrs, home)
    if plan is None:
        outs, _plans[key] = _learn(op, xs, arrays, attrs, home, general)
        return outs
    return general(op, xs, arrays, attrs, home) if plan is NEVER else plan(arrays)


def _key(op: Any, arrays: Sequence, attrs: dict) -> tuple:
    """All that launches depend on but for addresses: geometry, attributes, and which operands share memory, where."""
    parts: list[Any] = [op]
    buffers = []
    for x in arrays:
        if x is None:
            parts.append(None)
            continue
        parts += (x.shape, x.strides, x.dtype.num)
        buffers.append(x.buffer)
    if len(buffers) > 1:
        for i, buffer in enumerate(buffers):
            first = buffers.index(buffer)
            if first != i:
                given = [x for x in arrays if x is not None]
                parts += (i, first, given[i].ptr - given[first].ptr)
    if attrs:
        parts += (*attrs, *attrs.values(), *map(type, attrs.values()))
    return tuple(parts)


@cache
def _launching() -> Any:
    return import_module("naiad.kernels.launch")


@dataclass(frozen=True)
class Seen:
    """An array that a launch was given: its memory, held weakly, and its offset there in bytes."""

    buffer: weakref.ref
    nbytes: int
    offset: int
    ptr: int
    dtype: Any


def _learn(op: Any, xs: Sequence, arrays: Sequence, attrs: dict, home: device, general: Callable) -> tuple:
    """Run the general way and write down what is launched: the outputs, and the plan or NEVER."""
    made: list[tuple] = []
    mine = threading.get_ident()

    def watch(kernel: Any, grid: tuple, args: Sequence, constexprs: dict, options: tuple) -> None:
        if threading.get_ident() == mine:
            made.append((kernel, grid, [_seen(arg) for arg in args], constexprs, options))

    before, watchers = backend.transfers.count, _launching().watchers
    watchers.append(watch)
    try:
        outs = general(op, xs, arrays, attrs, home)
    finally:
        watchers.remove(watch)
    if backend.transfers.count != before or not made:
        return outs, NEVER
    return outs, _plan(arrays, outs, made) or NEVER


def _seen(arg: Any) -> Any:
    if not hasattr(arg, "buffer"):
        return arg
    buffer = arg.buffer
    return Seen(weakref.ref(buffer), buffer.nbytes, arg.ptr - buffer.ptr, arg.ptr, arg.dtype)


def _plan(arrays: Sequence, outs: Sequence[DeviceArray], made: Sequence[tuple]) -> Callable | None:
    """The plan of the launches in `made`; None if one of them used memory that outlives the call."""
    fix = import_module("naiad.kernels.driver").fix
    given = [i for i, x in enumerate(arrays) if x is not None]
    known = [arrays[i] for i in given] + list(outs)
    # Where an address may be found: operands, then outputs, then working memory in the order of its first use.
    sources = [(weakref.ref(x.buffer), x.ptr - x.buffer.ptr) for x in known]
    working: list[int] = []
    starts = []
    for kernel, grid, args, constexprs, options in made:
        picks = []
        for arg in args:
            if not isinstance(arg, Seen):
                continue
            place = next((i for i, (buffer, _) in enumerate(sources) if buffer is arg.buffer), None)
            if place is None:
                if arg.buffer() is not None:
                    return None
                place = len(sources)
                sources.append((arg.buffer, 0))
                working.append(arg.nbytes)
            picks.append((place, arg.offset - sources[place][1]))
        starts.append((fix(kernel, grid, args, constexprs, options), tuple(picks)))
    shapes = [(out.buffer.nbytes, tuple(map(int, out.shape)), tuple(map(int, out.strides)), out.dtype) for out in outs]
    return _player(given, shapes, working, starts)


PLAYER = """
def make(starts, kinds, several, current_device, on_device, DeviceArray):
    {names}, = starts
    {dtypes}, = kinds

    def play(arrays):
        like = arrays[{first}].buffer
        index = like.device_index
        if several and current_device() != index:
            with on_device(index):
                return play(arrays)
        {steps}
        return [{outs}]

    return play
"""


def _player(given: list[int], shapes: list[tuple], working: list[int], starts: list[tuple]) -> Callable:
    """The function that takes memory and makes the launches, written out."""
    steps = [f"b{i} = like.allocate({nbytes})" for i, nbytes in enumerate([s[0] for s in shapes] + working)]
    places = [f"arrays[{i}].ptr" for i in given] + [f"b{i}.ptr" for i in range(len(shapes) + len(working))]
    for i, (_, picks) in enumerate(starts):
        addresses = [f"{places[at]} + {offset}" if offset else places[at] for at, offset in picks]
        steps.append(f"start{i}(index, like, {', '.join(addresses)})")
    text = PLAYER.format(
        names=", ".join(f"start{i}" for i in range(len(starts))),
        dtypes=", ".join(f"kind{i}" for i in range(len(shapes))),
        first=given[0],
        steps="\n        ".join(steps),
        outs=", ".join(
            f"DeviceArray(b{i}, {shape}, {strides}, 0, kind{i})" for i, (_, shape, strides, _) in enumerate(shapes)
        ),
    )
    scope: dict[str, Any] = {}
    exec(text, scope)  # noqa: S102 - our own text, of numbers
    around = (backend.device_count() > 1, backend.gpu_current_device(), backend.on_device, DeviceArray)
    return scope["make"]([start for start, _ in starts], [s[3] for s in shapes], *around)
