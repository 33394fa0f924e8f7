"""Complex operands of kernels that know real numbers only, on cuda.

An entry's `parts` facet says how its launch function serves complex numbers too:

    "whole"    it takes complex arrays itself
    "move"     it only moves elements: complex64 goes as int64, complex128 part by part
    "each"     it is linear with real coefficients: the parts of the result come of the parts of the operands
    "pairs"    linear, and along dimensions of its attribute `dim` only: one launch on pairs of numbers
    "product"  a product of its first two operands, to which any others are added: four real products
    "add"      a real result, the sum of what both parts give (a variance)
    "test"     it asks of each element only whether it is 0
    "real"     what it makes is real: its numbers are converted
    "module.function" is another launch function for them

Parts are read where they lie, by strides of two; only results are put together by a launch of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.strided import DeviceArray

_INT64 = np.dtype(np.int64)


def launch(op: Any, start: Callable, outs: Sequence[DeviceArray], arrays: Sequence, attrs: dict) -> None:
    """Run a launch function on operands or outputs of which some are complex.

    Raises NotImplementedError where the entry does not say how.
    """
    mode = op.parts
    if mode is None or (len(outs) > 1 and mode != "whole"):
        shown = op.name.removesuffix("_op")
        raise NotImplementedError(
            f"{shown} has no kernel on cuda for complex tensors yet; run it on the CPU: tensor.cpu()"
        )
    target = outs[0] if len(outs) == 1 else tuple(outs)
    if "." in mode:
        start, mode = backend.launcher(mode, op.name), "whole"
    _MODES[mode](start, target, arrays, attrs)


def _kernels() -> Any:
    return backend.kernels("complex_parts")


def _is_complex(x: Any) -> bool:
    return x is not None and x.dtype.kind == "c"


def _part(x: Any, which: int) -> Any:
    return _kernels().part_of(x, which) if _is_complex(x) else x


def _number(value: Any, which: int) -> Any:
    """A part of an attribute that is a number to write; other attributes as they are."""
    return value.imag if which else value.real


def _part_of_attributes(attrs: dict, which: int) -> dict:
    return {k: _number(v, which) if k == "value" else v for k, v in attrs.items()}


def _whole(start: Callable, out: Any, arrays: Sequence, attrs: dict) -> None:
    start(out, *arrays, **attrs)


def _each(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    made = []
    for which in (0, 1):
        part = out.new(out.shape, _kernels().PARTS[out.dtype])
        start(part, *[_part(x, which) for x in arrays], **_part_of_attributes(attrs, which))
        made.append(part)
    _kernels().join(out, *made)


def _move(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    given = [out, *[x for x in arrays if _is_complex(x)]]
    if attrs.get("value") or any(x.itemsize != 8 for x in given):
        _each(start, out, arrays, attrs)
    else:
        as_int = [_as_int(x) if _is_complex(x) else x for x in arrays]
        start(_as_int(out), *as_int, **_part_of_attributes(attrs, 0))


def _as_int(x: DeviceArray) -> DeviceArray:
    return DeviceArray(x.buffer, x.shape, x.strides, x.offset, _INT64)


def _pairs(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    rank, dim = arrays[0].ndim, attrs["dim"]
    as_real = _kernels().as_real
    seen = [as_real(x if x.ndim else x.view((1,), (1,))) if _is_complex(x) else x for x in arrays]
    counted = (dim % max(rank, 1)) if isinstance(dim, int) else tuple(d % rank for d in dim) if rank else ()
    start(as_real(out), *seen, **{**attrs, "dim": counted})


def _product(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    a, b, *rest = arrays

    def product(i: int, j: int, added: int | None) -> DeviceArray:
        made = out.new(out.shape, _kernels().PARTS[out.dtype])
        start(made, _part(a, i), _part(b, j), *[None if added is None else _part(x, added) for x in rest], **attrs)
        return made

    _kernels().combine(out, product(0, 0, 0), product(1, 1, None), product(0, 1, 1), product(1, 0, None))


def _add(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    made = [out.new(out.shape) for _ in (0, 1)]
    for which in (0, 1):
        start(made[which], *[_part(x, which) for x in arrays], **attrs)
    _kernels().add(out, *made)


def _test(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    start(out, *[_kernels().is_not_zero(x) if _is_complex(x) else x for x in arrays], **attrs)


def _real(start: Callable, out: DeviceArray, arrays: Sequence, attrs: dict) -> None:
    part = out.new(out.shape, _kernels().PARTS[out.dtype])
    start(part, *arrays, **attrs)
    backend.kernels("copy").copy(out, part)


_MODES = {
    **{"whole": _whole, "move": _move, "each": _each, "pairs": _pairs},
    **{"product": _product, "add": _add, "test": _test, "real": _real},
}
