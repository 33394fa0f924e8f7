"""Elementwise kernels of which an operand or the result is complex: generated as the real ones, on pairs of numbers.

An array of n complex numbers is read and written as one of n pairs, both parts in one access. A complex run-time number
enters as two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from naiad.kernels import complex_printer, printer
from naiad.kernels.complex_printer import PART, parts
from naiad.kernels.elementwise import BLOCK, FLAT, HEADER, ONCE, STRIDED, _Generator, _plan, _safe
from naiad.kernels.geometry import Shape, needs_int64
from naiad.kernels.launch import bind, block_for, cdiv

# Elements of a program: functions of more than four, or two, elements a thread would not fit into its registers.
BLOCKS = {"complex64": 512, "complex128": 256}
COMPLEX_HEADER = HEADER.replace("import maths", "import complex_maths, maths")
PARTS = {np.dtype(name): np.dtype(part) for name, part in PART.items()}


def as_real(x: Any) -> Any:
    """A complex array seen as pairs of real numbers, in one more dimension; any other array itself."""
    part = PARTS.get(x.dtype)
    if part is None:
        return x
    return x.__class__(x.buffer, (*x.shape, 2), (*(2 * s for s in x.strides), 1), 2 * x.offset, part)


def part_of(x: Any, which: int) -> Any:
    """The real (0) or imaginary (1) parts of a complex array, where they lie."""
    return x.__class__(x.buffer, x.shape, tuple(2 * s for s in x.strides), 2 * x.offset + which, PARTS[x.dtype])


def prepare(
    name: str,
    operands: Sequence[str],
    lines: Sequence[tuple],
    result: Any,
    dtypes: Sequence[str],
    scalars: Sequence[bool],
    out_dtype: str,
) -> Callable[..., None]:
    """The launcher of a traced body of which some value is complex; see `elementwise.prepare`."""
    generator = _ComplexGenerator(name, operands, lines, result, dtypes, scalars, out_dtype)
    places = tuple(i for i, scalar in enumerate(scalars) if not scalar)
    values = tuple(i for i, scalar in enumerate(scalars) if scalar)
    numbers = tuple(d for i in values for d in ((PART[dtypes[i]],) * 2 if dtypes[i] in PART else (dtypes[i],)))

    on_gpu = min(BLOCKS.get(d, BLOCK) for d in (*dtypes, out_dtype))

    def split(value: Any, dtype: str) -> tuple:
        return (value.real, value.imag) if dtype in PART else (value,)

    @lru_cache(maxsize=4096)
    def bound(shape: Shape, strides: tuple[Shape, ...]) -> Callable[..., None]:
        sizes, steps, layout, _ = _plan(shape, strides)
        wide = needs_int64((2, *sizes), [(1, *(2 * s for s in own)) for own in steps])
        count = prod(shape)
        block = block_for(count, on_gpu)
        dims = sizes[1:] if STRIDED in layout else ()
        walks = [step for own, how in zip(steps, layout, strict=True) if how == STRIDED for step in own]
        kernel = generator.kernel(layout, len(sizes), wide)
        start = bind(kernel, (cdiv(count, block),), len(strides), numbers, (count, *dims, *walks), BLOCK=block)
        arrays = len(strides)

        def launch(*given: Any) -> None:
            own = [v for i, x in zip(values, given[arrays:], strict=True) for v in split(x, dtypes[i])]
            start(*map(as_real, given[:arrays]), *own)

        return launch

    def launcher(out: Any, *given: Any) -> None:
        if 0 in out.shape:
            return
        arrays = [given[i] for i in places]
        bound(out.shape, (out.strides, *[a.strides for a in arrays]))(out, *arrays, *[given[i] for i in values])

    launcher.bound = bound  # type: ignore[attr-defined]
    launcher.source = generator.source  # type: ignore[attr-defined]
    launcher.kernel = generator.kernel  # type: ignore[attr-defined]
    return launcher


class _ComplexGenerator(_Generator):
    """Prints the variants of a kernel with complex values."""

    header = COMPLEX_HEADER

    def _numbers(self) -> list[str]:
        given = zip(self.operands, self.dtypes, self.scalars, strict=True)
        return [p for o, d, scalar in given if scalar for p in (parts(o) if d in PART else (o,))]

    def _loads(self, layout: dict[str, str], rank: int) -> list[str]:
        text = []
        for o, dtype, scalar in zip(self.operands, self.dtypes, self.scalars, strict=True):
            if dtype not in PART:
                text += [] if scalar else self._load(o, dtype, layout[o], rank)
            elif scalar:  # a block of one, as all that `complex_maths` takes
                one = f"tl.full([1], 1, tl.{PART[dtype]})"
                text.append(f"{o}_re, {o}_im = {o}_re * {one}, {o}_im * {one}")
            elif layout[o] == ONCE:
                text.append(f"{o}_re, {o}_im = tl.load({o}_ptr + tl.arange(0, 1)), tl.load({o}_ptr + tl.arange(1, 2))")
            else:
                text.append(f"{o}_re, {o}_im = complex_maths.load({o}_ptr, {_offset(o, layout[o], rank)}, inside)")
        return text

    def _compute(self, how: str, rank: int) -> list[str]:
        out = self.out_dtype
        default = PART.get(out) or printer.WIDENED.get(out, out)
        default = default if default.startswith("float") else "float32"
        types = complex_printer.Typed(self.operands, self.dtypes, default)
        text = complex_printer.body(types, self.lines, _safe)
        symbol = printer._renamed(self.result, _safe)
        if hasattr(symbol, "name"):
            text += complex_printer.assigned("made", types, symbol, out)
        elif out in PART:
            text.append("made_re, made_im = " + ", ".join(complex_printer.converted(types, symbol, out)))
        else:
            return [*text, *super()._compute(how, rank)]
        if out not in PART:
            return [*text, self._store("made", how, rank)]
        shown = [f"tl.broadcast_to({p}, [BLOCK])" for p in parts("made")]
        return [*text, f"complex_maths.store(result_ptr, {_offset('result', how, rank)}, {', '.join(shown)}, inside)"]


def _offset(o: str, how: str, rank: int) -> str:
    """Where a complex array's elements begin, counted in parts: an even number, which lets both be one access."""
    if how == FLAT:
        return "2 * index"
    if how == ONCE:
        return "index * 0"
    return "2 * (" + " + ".join(f"index_{d} * {o}_stride_{d}" for d in range(rank)) + ")"
