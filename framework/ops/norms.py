"""Norms of vectors and matrices."""

from __future__ import annotations

from math import inf
from typing import Any

from naiad.core.dtype import FLOAT, dtype
from naiad.core.elementwise import elementwise
from naiad.core.op import PUBLIC, public
from naiad.core.tensor import Tensor, normalize_dim, normalize_dims
from naiad.ops.forms import into
from naiad.ops.reduction import Dims, amax, amin, converted, sum_dims
from naiad.ops.rounding import abs as abs_
from naiad.ops.statistics import root_of_square


@elementwise(namespaces=(), name="square_of_size", result="real", grad={"input": lambda m, g, input: g * 2 * input})
def square_of_size(m: Any, input: Any) -> Any:
    """|input| ** 2."""
    return m.real(input * m.conj(input))


def _power_grad(m: Any, g: Any, input: Any, p: Any) -> Any:
    safe = m.where(input == 0, 1, input)
    return m.where(input == 0, 0, g * p * m.pow(m.abs(safe), p - 1) * m.sgn(safe))


@elementwise(namespaces=(), name="power_of_size", grad={"input": _power_grad, "p": None}, kinds=(2,))
def power_of_size(m: Any, input: Any, p: Any) -> Any:
    """|input| ** p, whose gradient at 0 is 0."""
    return m.pow(m.abs(input), p)


def _root_grad(m: Any, g: Any, input: Any, p: Any) -> Any:
    safe = m.where(input == 0, 1, input)
    return m.where(input == 0, 0, g * m.pow(safe, 1 / p - 1) / p)


@elementwise(namespaces=(), name="root_of_power", grad={"input": _root_grad, "p": None}, kinds=(2,))
def root_of_power(m: Any, input: Any, p: Any) -> Any:
    """input ** (1 / p), whose gradient at 0 is 0."""
    return m.pow(input, 1 / p)


@elementwise(namespaces=(), name="one_unless_zero", result="real")
def one_unless_zero(m: Any, input: Any) -> Any:
    """1, or 0 where the input is 0."""
    return m.where(input == 0, 0, 1)


def vector_norm_dims(input: Tensor, p: float, dim: Dims, keepdim: bool) -> Tensor:
    """(sum |x| ** p) ** (1 / p) over dimensions."""
    if p == 2:
        return root_of_square(sum_dims(square_of_size(input), dim=dim, keepdim=keepdim))
    if p == 0:
        return sum_dims(one_unless_zero(input), dim=dim, keepdim=keepdim)
    size = abs_(input)
    if p == 1:
        return sum_dims(size, dim=dim, keepdim=keepdim)
    if p in (inf, -inf):
        if not input.numel() and any(not input._array.shape[d] for d in dim):
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {p} norm on an empty tensor: the operation has no identity"
            )
        return (amax if p > 0 else amin).dims(size, dim=dim, keepdim=keepdim)  # type: ignore[attr-defined]
    return root_of_power(sum_dims(power_of_size(size, p), dim=dim, keepdim=keepdim), p)


def _floating(name: str, x: Tensor, of: dtype | None) -> Tensor:
    x = converted(x, of)
    if x._dtype.kind < FLOAT:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype}. Use .float()")
    return x


@public(
    "linalg",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3), 3.5, dim=1),
        s.call(s(2, 3), float("inf"), dim=0, keepdim=True),
        s.call(s(2, 3), -float("inf")),
        s.call(s(2, 3), 1, dim=(0, 1)),
        s.call(s.complex(3)),
    ],
    autocast={"cuda": "float32"},
)
def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """(sum |x| ** ord) ** (1 / ord) over `dim` (default: all); ±inf: the extreme |x|; 0: how many."""
    x = _floating("linalg.vector_norm", x, dtype)
    return into(vector_norm_dims(x, ord, normalize_dims(dim, x.ndim), keepdim), out)


def _pair(name: str, x: Tensor, dim: Any) -> tuple[int, int]:
    if len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {tuple(dim)}")
    first, second = (normalize_dim(d, x.ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return first, second


@public(
    "linalg",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3, 4), 1),
        s.call(s(2, 3, 4), -1, (0, 1)),
        s.call(s(2, 3, 4), float("inf"), (0, -1), True),
        s.call(s(2, 3), -float("inf")),
    ],
    autocast={"cuda": "float32"},
)
def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """A norm of matrices: "fro"; ±1 and ±inf (extreme column or row sum); "nuc" and ±2 by singular values."""
    A = _floating("linalg.matrix_norm", A, dtype)
    if A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions. Got {A.ndim}")
    first, second = _pair("linalg.matrix_norm", A, dim)
    if ord == "fro":
        return into(vector_norm_dims(A, 2, tuple(sorted((first, second))), keepdim), out)
    if ord in (1, -1, inf, -inf):
        summed, over = (first, second) if ord in (1, -1) else (second, first)
        sums = sum_dims(abs_(A), dim=(summed,), keepdim=True)
        found = (amax if ord > 0 else amin)(sums, over, True)
        return into(found if keepdim else found.squeeze((first, second)), out)
    if ord not in ("nuc", 2, -2):
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord!r} not supported: use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        )
    if "svdvals" not in PUBLIC["linalg"]:
        raise NotImplementedError(f"linalg.matrix_norm: order {ord!r} needs singular values, which naiad has not yet")
    values = PUBLIC["linalg"]["svdvals"](A.movedim((first, second), (-2, -1)))
    found = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    if keepdim:
        for d in sorted((first, second)):
            found = found.unsqueeze(d)
    return into(found, out)


@public(
    "linalg",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3), "fro"),
        s.call(s(2, 3), 1),
        s.call(s(4), 3),
        s.call(s(2, 3, 4), dim=(0, 1)),
        s.call(s(2, 3, 4), 2, dim=-1, keepdim=True),
    ],
    autocast={"cuda": "float32"},
)
def norm(
    A: Tensor,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Tensor | None = None,
    dtype: dtype | None = None,
) -> Tensor:
    """A vector norm over one dimension (or the flattened tensor without `ord`), a matrix norm over two."""
    dims = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if ord is not None and (len(dims) == 2 if dims is not None else A.ndim == 2):
        return matrix_norm(A, ord, dims or (-2, -1), keepdim, dtype=dtype, out=out)
    if ord is not None and dims is None and A.ndim != 1:
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
        )
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: order {ord!r} is one of matrices, over two dimensions. Got dim={dim}")
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype, out=out)


@public(
    "naiad",
    "Tensor",
    name="norm",
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3), 1),
        s.call(s(2, 3), 2, 1),
        s.call(s(2, 3), p=2, dim=-1, keepdim=True),
        s.call(s(2, 3), "fro", (0, 1)),
        s.call(s(2, 3), float("inf"), 0),
        s.call(s(2, 3), 3),
    ],
    autocast={"cuda": "float32"},
)
def norm_of(
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: Tensor | None = None,
    dtype: dtype | None = None,
) -> Tensor:
    """The p-norm of all elements or over `dim`; "fro" (and None) is 2, "nuc" the sum of the singular values."""
    if p == "nuc":
        return matrix_norm(input, "nuc", dim or (-2, -1), keepdim, dtype=dtype, out=out)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm: only the strings 'fro' and 'nuc' name a norm, not {p!r}")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype, out=out)
