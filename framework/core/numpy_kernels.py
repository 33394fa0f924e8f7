"""Kernels of elementwise ops on the CPU: one NumPy function where the body is one, else a program, else the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from naiad.core import numpy_maths
from naiad.core.dispatch import constant
from naiad.core.dtype import FLOAT, HALVES, INT, dtype
from naiad.core.numpy_program import BLOCK, Program, compile_program
from naiad.core.quiet import quiet, quietly
from naiad.core.trace import COMPARISONS, Symbol, trace

ndarray = np.ndarray


def numpy_kernel(op: Any, common: dtype, result: dtype) -> Callable:
    """The kernel of an elementwise op for operands of one dtype."""
    recorded, value = trace(op.body, op.operands)
    if not isinstance(value, Symbol):
        return _constant_kernel(value, result)
    if len(recorded.lines) == 1 and common not in HALVES and not (common.kind <= INT and op.promote == "float"):
        _, name, args = recorded.lines[0]
        ufunc = numpy_maths.UFUNCS.get(name)
        if ufunc is not None and not _keeps(ufunc, common, result):
            ufunc = None
        if ufunc is not None and [getattr(a, "name", None) for a in args] == list(op.operands):
            return _ufunc_kernel(ufunc, len(args))
        if ufunc is not None and [getattr(a, "name", None) for a in args] == list(op.operands[::-1]):
            return _swapped(_ufunc_kernel(ufunc, 2))
        if ufunc is not None and len(args) == 2 and args[0] is recorded.inputs[0] and not isinstance(args[1], Symbol):
            return _ufunc_kernel_with_number(ufunc, constant(args[1], common))
    whole = _body_kernel(op.body, common, result)
    program = _program(op, common, recorded.prune(value), value, result)
    return whole if program is None else _program_kernel(whole, *program, result.np)  # type: ignore[call-arg]


# What is the same in NumPy's integers as in a body's: no line turns them into floats.
_INT_OPS = frozenset("add sub mul neg abs maximum minimum and or xor invert lshift rshift floor_div remainder".split())
_INT_OPS |= COMPARISONS | {"where"}


def _program(op: Any, common: dtype, lines: Sequence[tuple], value: Symbol, result: dtype) -> tuple | None:
    """The body as a program and the dtypes of its operands; None where only the body itself is right."""
    numbers = [a for _, _, args in lines for a in args if not isinstance(a, Symbol)]
    own = common.np
    if not lines or any(isinstance(n, complex) for n in numbers):
        return None
    if all(name == "where" for _, name, _ in lines) and own.itemsize <= 8:  # moves bits, whatever they mean
        compute = own
    elif common.kind == FLOAT:
        compute = np.dtype(np.float32) if common in HALVES else own
    elif common.kind == INT and all(name in _INT_OPS for _, name, _ in lines):
        compute = own
    else:
        return None
    if compute.kind in "biu" and not all(_fits(n, compute) for n in numbers):
        return None
    program = compile_program(
        *(op.name, op.operands, lines, (value,), compute),
        masks=op.flag_names,
        widen=compute != own,
        fresh=result.np,
    )
    return program, [np.dtype(np.bool_) if i in op.flags else own for i in range(len(op.operands))]


def _fits(number: Any, of: np.dtype) -> bool:
    if of.kind == "b":
        return isinstance(number, bool)
    return type(number) is int and np.iinfo(of).min <= number <= np.iinfo(of).max


def _keeps(ufunc: np.ufunc, common: dtype, result: dtype) -> bool:
    """Whether a NumPy function gives the dtype that is promised: rint of integers, for one, would be a float."""
    given = quietly(ufunc, *[np.ones(1, common.np)] * ufunc.nin)
    return given.dtype == result.np


def _ufunc_kernel(ufunc: np.ufunc, arity: int) -> Callable:
    """One NumPy function; `out=...` makes 0-d results arrays too."""

    def binary(a: ndarray, b: ndarray) -> ndarray:
        try:
            return quiet.run(ufunc, a, b, out=...)
        except RuntimeError:
            return quietly(ufunc, a, b, out=...)

    def unary(a: ndarray) -> ndarray:
        try:
            return quiet.run(ufunc, a, out=...)
        except RuntimeError:
            return quietly(ufunc, a, out=...)

    made: Any = unary if arity == 1 else binary
    made.ufunc = ufunc  # in-place ops write through it
    return made


def _swapped(kernel: Callable) -> Callable:
    return lambda a, b: kernel(b, a)


def _ufunc_kernel_with_number(ufunc: np.ufunc, number: ndarray) -> Callable:
    """One NumPy function of the operand and a number, as relu is maximum(x, 0)."""

    def kernel(a: ndarray) -> ndarray:
        try:
            return quiet.run(ufunc, a, number, out=...)
        except RuntimeError:
            return quietly(ufunc, a, number, out=...)

    return kernel


def _body_kernel(body: Callable, common: dtype, result: dtype) -> Callable:
    """The body itself, on halves widened to float32 and rounded once."""
    half = common.np if common in HALVES else None
    target = result.np

    def kernel(*arrays: ndarray) -> ndarray:
        if half is not None:
            arrays = tuple([a.astype(np.float32) if a.dtype == half else a for a in arrays])
        try:
            out = quiet.run(body, numpy_maths, *arrays)
        except RuntimeError:
            out = quietly(body, numpy_maths, *arrays)
        if out.__class__ is not ndarray or (out.dtype is not target and out.dtype != target):
            out = np.asarray(out).astype(target)
        # A body may hand an operand through, or a view of one: the result must own its memory.
        if out.base is None:
            for a in arrays:
                if out is a:
                    return out.copy()
            return out
        return out.copy()

    return kernel


def _program_kernel(whole: Callable, program: Program, dtypes: Sequence[np.dtype], result: np.dtype) -> Callable:
    """The body as a program where the operands lie contiguously and are alike in shape, else the body itself."""
    step, constants, registers, empty = program.step, program.constants, program.registers, np.empty

    def kernel(*arrays: ndarray) -> ndarray:
        shape: tuple[int, ...] = ()
        alike, repeated = True, False
        for a, expected in zip(arrays, dtypes):  # noqa: B905 - `strict` costs a tenth of a microsecond
            if a.dtype is not expected and a.dtype != expected:
                return whole(*arrays)
            if not a.flags.c_contiguous:
                if any(a.strides) or not a.size:
                    return whole(*arrays)
                repeated = True  # one number, as in the gradient of a sum
            elif a.shape != shape and a.shape:
                alike = not shape
                shape = a.shape
        row = 0
        if repeated:
            if not alike or any([a.shape != shape and a.shape for a in arrays]):
                return whole(*arrays)
            arrays = tuple([a if a.flags.c_contiguous else a[(0,) * a.ndim + (...,)] for a in arrays])
        elif not alike:
            found = _rows([a.shape for a in arrays])
            if found is None:
                return whole(*arrays)
            shape, row = found
        out = empty(shape, result)
        if out.size > BLOCK:
            quietly(program.run_blocks, (*arrays, out), shape, row)
            return out
        scratch = [empty(shape, d) for d in registers]
        try:
            quiet.run(step, *arrays, out, *constants, *scratch)
        except RuntimeError:
            quietly(step, *arrays, out, *constants, *scratch)
        return out

    return _alike_kernel(kernel, program, dtypes, result)


_ALIKE = """
def make(general, step, dtypes, result, constants, registers):
    {dtypes}, = dtypes
    {constants}, = constants
    {registers}

    def kernel({xs}):
        shape = {last}.shape
        if {odd} or not 0 < {last}.size <= BLOCK:
            return general({xs})
        out = empty(shape, result)
        {scratch}
        try:
            quiet.run(step, {xs}, out, {constants}, {scratches})
        except RuntimeError:
            quietly(step, {xs}, out, {constants}, {scratches})
        return out

    return kernel
"""


def _alike_kernel(general: Callable, program: Program, dtypes: Sequence[np.dtype], result: np.dtype) -> Callable:
    """The same with less ado for operands of one shape, of a block at most; others go to `general`."""
    xs, scratch = [f"x{i}" for i in range(len(dtypes))], [f"r{i}" for i in range(len(program.registers))]
    constants = [f"c{i}" for i in range(len(program.constants))]
    odd = [f"{x}.dtype is not d{i}" for i, x in enumerate(xs)] + [f"{x}.shape != shape" for x in xs[:-1]]
    # An operand may repeat one number, as the gradient of a sum does, but not the last one.
    odd += [f"not {x}.flags.c_contiguous and any({x}.strides)" for x in xs[:-1]]
    odd += [f"not {xs[-1]}.flags.c_contiguous"]
    text = _ALIKE.format(
        xs=", ".join(xs),
        last=xs[-1],
        dtypes=", ".join(f"d{i}" for i in range(len(xs))),
        constants=", ".join(constants),
        registers=f"{', '.join('d' + r for r in scratch)}, = registers" if scratch else "",
        scratch="; ".join(f"{r} = empty(shape, d{r})" for r in scratch),
        scratches=", ".join(scratch),
        odd=" or ".join(odd),
    )
    return _written(text)(general, program.step, dtypes, result, program.constants, program.registers)


@cache
def _written(text: str) -> Callable:
    scope = {"quiet": quiet, "quietly": quietly, "empty": np.empty, "BLOCK": BLOCK}
    exec(text, scope)  # noqa: S102 - our own text
    return scope["make"]  # type: ignore[return-value]


def _rows(shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], int] | None:
    """The full shape and the size of what repeats in it, where all other operands are of one trailing part of it."""
    full = max(shapes, key=lambda s: (len(s), prod(s)))
    row = 0
    for shape in shapes:
        own = shape
        while own and own[0] == 1 and own != full:
            own = own[1:]
        if not shape or own == full:
            continue
        size = prod(own)
        if not own or own != full[len(full) - len(own) :] or size > BLOCK or row not in (0, size):
            return None
        row = size
    return full, row


def _constant_kernel(value: Any, result: dtype) -> Callable:
    def kernel(*arrays: ndarray) -> ndarray:
        return np.full(np.broadcast_shapes(*[a.shape for a in arrays]), value, result.np)

    return kernel
