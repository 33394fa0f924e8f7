"""Elementwise kernels, generated from the trace of a body: one kernel per chain, dtypes and layout.

out[i] = body(x[i], y[i], ...) for any shape. Moves each operand once and the result once; broadcast operands are read
through strides of 0, never copied. Dimensions are collapsed first; an operand that is contiguous in the output's order
is read by the flat index (16-byte accesses where pointer and length allow), one with no extent once per program, any
other through its strides; where one lies in another order, `elementwise_tiles.py` takes over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from math import prod
from typing import Any

from naiad.kernels import printer
from naiad.kernels.geometry import Shape, collapse, is_row_major, needs_int64
from naiad.kernels.launch import bind, block_for, cdiv
from naiad.kernels.source import compile_kernel

BLOCK = 1024
HEADER = """import triton
import triton.language as tl
from triton.language.extra import libdevice

from naiad.kernels import maths

"""
# Names that the kernel itself uses: an operand of such a name gets an underscore.
RESERVED = frozenset("tl triton libdevice maths index rest inside numel BLOCK SIDE result float int repr".split())

FLAT, ONCE, STRIDED = "flat", "once", "strided"  # how an operand is read
SCALAR = "scalar"  # a run-time number


def prepare(
    name: str,
    operands: Sequence[str],
    lines: Sequence[tuple],
    result: Any,
    dtypes: Sequence[str | tuple[str, str]],
    out_dtype: str,
) -> Callable[..., None]:
    """The launcher of a traced body: `launcher(out, *operands)`.

    `lines` are the trace's `(symbol, op, args)`, `result` its last symbol or a number. `dtypes` has one name per
    operand, or ("scalar", dtype) for a run-time number; operands of the launcher are device arrays already broadcast to
    `out.shape`, or numbers. Raises NotImplementedError for functions without a Triton form.
    """
    scalars = tuple(not isinstance(d, str) for d in dtypes)
    names = tuple(d if isinstance(d, str) else d[1] for d in dtypes)
    if any(dtype.startswith("complex") for dtype in (*names, out_dtype)):
        from naiad.kernels import complex_elementwise

        return complex_elementwise.prepare(name, operands, lines, result, names, scalars, out_dtype)
    from naiad.kernels import elementwise_tiles as tiles

    facts = (name, operands, lines, result, names, scalars, out_dtype)
    generator, squares = _Generator(*facts), tiles.TileGenerator(*facts)

    places = tuple(i for i, scalar in enumerate(scalars) if not scalar)  # of the arrays
    values = tuple(i for i, scalar in enumerate(scalars) if scalar)
    numbers = tuple(names[i] for i in values)

    @lru_cache(maxsize=4096)
    def bound(shape: Shape, strides: tuple[Shape, ...]) -> Callable[..., None]:
        """The launch for arrays of these strides, the output first: called with them, then the run-time numbers."""
        sizes, steps, layout, wide = _plan(shape, strides)
        along = tiles.turned(sizes, steps)
        if along is not None:
            return tiles.bound(squares, along, sizes, steps, numbers, wide)
        count = prod(shape)
        block = block_for(count, BLOCK)
        dims = sizes[1:] if STRIDED in layout else ()  # the outermost size is not needed to split the index
        walks = [step for own, how in zip(steps, layout, strict=True) if how == STRIDED for step in own]
        kernel = generator.kernel(layout, len(sizes), wide)
        return bind(kernel, (cdiv(count, block),), len(strides), numbers, (count, *dims, *walks), BLOCK=block)

    def launcher(out: Any, *operands: Any) -> None:
        if 0 in out.shape:
            return
        arrays = [operands[i] for i in places]
        start = bound(out.shape, (out.strides, *[a.strides for a in arrays]))
        start(out, *arrays, *[operands[i] for i in values])

    launcher.bound = bound  # type: ignore[attr-defined]  # for callers that remember it themselves
    launcher.source = generator.source  # type: ignore[attr-defined]  # for readers and tests
    launcher.kernel = generator.kernel  # type: ignore[attr-defined]
    return launcher


@lru_cache(maxsize=8192)
def _plan(shape: Shape, strides: tuple[Shape, ...]) -> tuple[Shape, tuple[Shape, ...], tuple[str, ...], bool]:
    """Collapsed sizes and strides, how each array (the output first) is addressed, and whether in int64."""
    sizes, steps = collapse(shape, strides)
    layout = tuple(FLAT if is_row_major(sizes, s) else ONCE if not any(s) else STRIDED for s in steps)
    return sizes, steps, layout, needs_int64(sizes, steps)


class _Generator:
    """Prints and caches the variants of one kernel."""

    header = HEADER

    def __init__(
        self,
        name: str,
        operands: Sequence[str],
        lines: Sequence[tuple],
        result: Any,
        dtypes: Sequence[str],
        scalars: Sequence[bool],
        out_dtype: str,
    ) -> None:
        self.name = "_" + re.sub(r"\W", "_", name).strip("_")
        self.operands = [_safe(o) for o in operands]
        self.lines, self.result = lines, result
        self.dtypes, self.scalars, self.out_dtype = dtypes, scalars, out_dtype
        self._kernels: dict[tuple, Any] = {}

    def kernel(self, layout: tuple[str, ...], rank: int, wide: bool) -> Any:
        key = (layout, rank if STRIDED in layout else 0, wide)
        return self.compiled(key, lambda: self.source(*key))

    def compiled(self, key: tuple, source: Callable[[], str]) -> Any:
        """The kernel that is kept under a key; `source` prints it at first."""
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = compile_kernel(source(), self.name)
        return found

    def source(self, layout: tuple[str, ...], rank: int = 0, wide: bool = False) -> str:
        """The Triton source of a variant; `layout` has the output's entry first."""
        arrays = [o for o, scalar in zip(self.operands, self.scalars, strict=True) if not scalar]
        parameters = ["result_ptr", *(f"{o}_ptr" for o in arrays)]
        parameters += self._numbers()
        parameters.append("numel")
        if STRIDED in layout:
            parameters += [f"size_{d}" for d in range(1, rank)]
        for o, how in zip(("result", *arrays), layout, strict=True):
            if how == STRIDED:
                parameters += [f"{o}_stride_{d}" for d in range(rank)]
        start = "tl.program_id(0).to(tl.int64)" if wide else "tl.program_id(0)"
        text = [f"index = {start} * BLOCK + tl.arange(0, BLOCK)", "inside = index < numel"]
        if STRIDED in layout:
            text += self._split(rank)
        text += self._loads(dict(zip(("result", *arrays), layout, strict=True)), rank)
        text += self._compute(layout[0], rank)
        head = f"@triton.jit\ndef {self.name}({', '.join(parameters)}, BLOCK: tl.constexpr):\n"
        return self.header + "\n" + head + "".join(f"    {line}\n" for line in text)

    def _numbers(self) -> list[str]:
        """The parameters for run-time numbers."""
        return [o for o, scalar in zip(self.operands, self.scalars, strict=True) if scalar]

    @staticmethod
    def _split(rank: int) -> list[str]:
        """The flat index as one index per dimension."""
        text = ["rest = index"] if rank > 1 else []
        for d in reversed(range(1, rank)):
            text += [f"index_{d} = rest % size_{d}", f"rest = rest // size_{d}"]
        return [*text, "index_0 = rest" if rank > 1 else "index_0 = index"]

    def _loads(self, layout: dict[str, str], rank: int) -> list[str]:
        text = []
        for o, dtype, scalar in zip(self.operands, self.dtypes, self.scalars, strict=True):
            if not scalar:
                text += self._load(o, dtype, layout[o], rank)
        return text

    @staticmethod
    def _load(o: str, dtype: str, how: str, rank: int) -> list[str]:
        wider = printer.WIDENED.get(dtype)
        convert = f".to(tl.{wider})" if wider else ""
        mask = "" if how == ONCE else ", mask=inside, other=0"
        return [f"{o} = tl.load({_address(o, how, rank)}{mask}){convert}"]

    @staticmethod
    def _store(value: str, how: str, rank: int) -> str:
        address = _address("result", how, rank)
        return f"tl.store({address}, tl.broadcast_to({value}, [BLOCK]), mask=inside)"

    def _compute(self, how: str, rank: int) -> list[str]:
        default = printer.WIDENED.get(self.out_dtype, self.out_dtype)
        default = default if default.startswith("float") else "float32"
        types = printer.Typed(self.operands, self.dtypes, default)
        text = printer.body(types, self.lines, _safe)
        if hasattr(self.result, "name"):
            name = _safe(self.result.name)
            value = printer.converted(name, types.of[name], self.out_dtype)
        else:
            value = printer.literal(self.result, printer.WIDENED.get(self.out_dtype, self.out_dtype))
            value = printer.converted(value, default, self.out_dtype) if self.out_dtype in printer.WIDENED else value
        return [*text, self._store(value, how, rank)]


def _safe(name: str) -> str:
    return name + "_" if name in RESERVED else name


def _address(o: str, how: str, rank: int) -> str:
    if how == FLAT:
        return f"{o}_ptr + index"
    if how == ONCE:
        return f"{o}_ptr"
    return f"{o}_ptr + " + " + ".join(f"index_{d} * {o}_stride_{d}" for d in range(rank))


@cache
def device_function(op: Any, dtype: str) -> Any:
    """The body of an elementwise op of one operand as a device function: what other kernels end with.

    `op` has a name, operands, and `traced()`: its lines and their result. `dtype` is what it computes in.
    """
    lines, value = op.traced()
    (operand,) = [_safe(o) for o in op.operands]
    name = "_" + re.sub(r"\W", "_", op.name).strip("_")
    text = printer.body(printer.Typed([operand], [dtype], dtype), lines, _safe)
    body = "".join(f"    {line}\n" for line in [*text, f"return {_safe(value.name)}"])
    return compile_kernel(f"{HEADER}\n@triton.jit\ndef {name}({operand}):\n{body}", name)
