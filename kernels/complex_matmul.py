"""Products of complex matrices as one product of real ones.

The pairs in which a row of complex numbers lies are a real row of twice the length, and so is a row of the result:

    (a b)  =  (ar ai) ( br  bi)
                      (-bi  br)

So one operand, and the result, stay where they are; the other is written out in two by two blocks, which reads it once
and writes it twice. The real product has as many operations as the four real products of the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from naiad.kernels import elementwise
from naiad.kernels import matmul as real
from naiad.kernels.complex_elementwise import as_real
from naiad.kernels.copy import Operand, contiguous, copy

# What becomes of one number: a block's second row is it times i; transposed, and of its conjugate.
TIMES_I, CONJUGATE, CONJUGATE_TIMES_I = "times i", "conjugate", "conjugate times i"


@cache
def _writer(dtype: str, what: str) -> Callable:
    """The launcher that writes numbers turned as said."""
    x, re, im, back, out = (Operand(n) for n in ("x", "re", "im", "back", "out"))
    parts = [(re, "real", (x,)), (im, "imag", (x,))]
    if what == TIMES_I:
        lines = [*parts, (back, "neg", (im,)), (out, "pair", (back, re))]
    elif what == CONJUGATE:
        lines = [(out, "conj", (x,))]
    else:
        lines = [*parts, (out, "pair", (im, re))]
    return elementwise.prepare(f"complex {what}", ("x",), lines, out, (dtype,), dtype)


def _row(x: Any) -> Any:
    """x (..., n) as pairs (..., 2n) where they lie together, else of a copy."""
    if x.shape[-1] != 1 and x.strides[-1] != 1:
        x = contiguous(x)
    seen = as_real(x)
    return seen.view((*x.shape[:-1], 2 * x.shape[-1]), (*seen.strides[:-2], 1))


def _once(x: Any) -> Any:
    """x with leading dimensions that only repeat it of size 1."""
    shape = tuple(1 if s == 0 else n for n, s in zip(x.shape[:-2], x.strides[:-2], strict=True))
    return x.view((*shape, *x.shape[-2:]), x.strides)


def _blocks(x: Any, first: str | None, second: str) -> Any:
    """x (..., k, n) as real rows (..., 2k, 2n): each row turned one way, then the other."""
    *lead, k, n = x.shape
    whole = x.new((*lead, k, 2, n))
    steps = (*whole.strides[:-2], whole.strides[-1])
    for i, what in enumerate((first, second)):
        into = whole.view(x.shape, steps, whole.offset + i * n)
        if what is None:
            copy(into, x)
        else:
            _writer(x.dtype.name, what)(into, x)
    return _row(whole.view((*lead, 2 * k, n), (*whole.strides[:-3], n, 1)))


def matmul(out: Any, a: Any, b: Any) -> None:
    """out = a @ b, all complex, by PyTorch's rules for 1-d, 2-d and batched operands."""
    if 0 in out.shape:
        return
    if len(b.shape) == 1:
        b = b.view((*b.shape, 1), (*b.strides, 0))
        out = out.view((*out.shape, 1), (*out.strides, 1))
    real.matmul(_row(out), _row(a), _blocks(_once(b), None, TIMES_I))


def linear(out: Any, x: Any, weight: Any, bias: Any = None) -> None:
    """out = x @ weight.T + bias, all complex."""
    if 0 in out.shape:
        return
    added = None if bias is None else _row(contiguous(bias.broadcast(weight.shape[:1])))
    real.linear(_row(out), _row(x), _blocks(weight, CONJUGATE, CONJUGATE_TIMES_I), added)


def flat_outer(out: Any, a: Any, b: Any) -> None:
    """out = the sum over all leading dimensions of the outer products of a (..., n) and b (..., k), all complex."""
    if 0 in out.shape:
        return
    pairs = as_real(real._rows(a))  # (m, n, 2): its real rows and its imaginary ones take turns
    m, n, _ = pairs.shape
    step, along, between = pairs.strides
    turned = contiguous(pairs.view((m, 2, n), (step, between, along)))
    rows = turned.view((2 * m, n), (n, 1))
    real.matmul(_row(out), rows.view((n, 2 * m), (1, n)), _blocks(real._rows(b), None, TIMES_I))
