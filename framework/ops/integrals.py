"""Small composed functions: distances, covariance, trapezoids, greatest common divisors."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, int32
from naiad.core.inplace import publish_inplace
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive
from naiad.core.state import default_dtype
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.forms import into, named
from naiad.ops.norms import vector_norm


@public("naiad", samples=lambda s: [s.call(s(2, 3), 2.5), s.call(s.ints(3), 7)])
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` with one value everywhere."""
    return input.clone().fill_(value)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), s(3)), s.call(s(4), s(4), 1), s.call(s(4), s(4), p=3.5)],
    autocast={"cuda": "float32"},
)
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return vector_norm(input - other, p)


# ---------------------------------------------------------------- covariance
@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(3, 5)),
        s.call(s(5)),
        s.call(s(2, 4), correction=0),
        s.call(s(2, 4), fweights=s.fixed([1, 2, 1, 3])),
        s.call(s(2, 4), aweights=s.fixed([0.5, 1.0, 2.0, 1.0])),
    ],
)
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance matrix of variables (rows) over observations (columns), which may be counted and weighed."""
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim}")
    x = input if input._dtype.kind >= FLOAT else input.to(default_dtype())
    x = x if x.ndim == 2 else x.reshape((1, -1))
    weights = fweights
    if aweights is not None:
        weights = aweights if weights is None else weights * aweights
    if weights is None:
        n: Any = x.shape[1]
        centred = x - x.mean(1, keepdim=True)
        scaled, freedom = centred, n - correction
    else:
        n = weights.sum()
        centred = x - (x * weights).sum(1, keepdim=True) / n
        scaled = centred * weights
        freedom = n - correction
        if aweights is not None and correction:
            freedom = n - correction * (weights * aweights).sum() / n
    freedom = freedom.clamp(min=0) if isinstance(freedom, Tensor) else max(freedom, 0)
    found = scaled @ centred.conj().transpose(0, 1)
    found = found / freedom if isinstance(freedom, Tensor) or freedom else found * float("inf")
    return found.squeeze()


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 5))])
def corrcoef(input: Tensor) -> Tensor:
    """The correlation matrix of variables (rows) over observations (columns)."""
    found = cov(input)
    if not found.ndim:
        return found / found
    deviation = found.diagonal().sqrt()
    return (found / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1, 1)


# ---------------------------------------------------------------- trapezoids
def _trapezoids(name: str, y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """The areas between neighbours along `dim`."""
    dim = normalize_dim(dim, y.ndim)
    n = max(y._array.shape[dim] - 1, 0)
    narrow = PUBLIC["naiad"]["narrow"]
    pairs = narrow(y, dim, min(1, y._array.shape[dim]), n) + narrow(y, dim, 0, n)
    if x is None:
        return pairs * (dx / 2)
    if x.ndim == 1 and y.ndim != 1:
        if x.numel() != y._array.shape[dim]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point, got {x.numel()} of {n + 1}")
        x = x.reshape([-1 if i == dim else 1 for i in range(y.ndim)])
    along = dim - y.ndim + x.ndim
    return pairs * PUBLIC["naiad"]["diff"](x, 1, along) / 2


_AREAS: Any = lambda s: [  # noqa: E731
    s.call(s(3, 5)),
    s.call(s(3, 5), dx=0.5),
    s.call(s(3, 5), s(5)),
    s.call(s(3, 5), s(3, 5), dim=0),
    s.call(s(1)),
]


@public("naiad", aliases=("trapz",), samples=_AREAS)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral of `y` along `dim` by the trapezoidal rule, at points `x` or `dx` apart."""
    return _trapezoids("trapezoid", y, x, dx, dim).sum(dim)


@public("naiad", samples=_AREAS)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The running integral of `y` along `dim` by the trapezoidal rule."""
    return _trapezoids("cumulative_trapezoid", y, x, dx, dim).cumsum(dim)


# ---------------------------------------------------------------- integers
_INTEGERS: Any = lambda s: [  # noqa: E731
    s.call(s.ints(6, low=-20, high=20), s.ints(6, low=-20, high=20)),
    s.call(s.ints(2, 3), s.ints(3)),
]


def _integers(name: str, ufunc: np.ufunc, doc: str) -> None:
    def rule(input: Tensor, other: Tensor) -> tuple:
        if input._dtype.kind != 1 or other._dtype is not input._dtype:
            raise NotImplementedError(
                f"{name}: it takes two integer tensors of one dtype, not {input.dtype}, {other.dtype}"
            )
        return broadcast_shapes([input._array.shape, other._array.shape]), input._dtype

    def body(input: np.ndarray, other: np.ndarray) -> np.ndarray:
        if input.dtype.kind not in "iu" or input.dtype != other.dtype:
            raise TypeError("integers")
        return ufunc(input, other, out=...)

    op = primitive(name=name, rule=rule, kernel=f"integers.{name}")(body)

    def call(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        return into(op(input, other), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    public("naiad", "Tensor", name=name, samples=_INTEGERS)(call)
    publish_inplace(op.op, ("naiad",))


_integers("gcd", np.gcd, "The greatest common divisor.")
_integers("lcm", np.lcm, "The least common multiple.")

FrexpResult = named("frexp", "mantissa", "exponent")


@primitive(
    name="frexp",
    kernel="integers.frexp",
    rule=lambda input: [(input._array.shape, input._dtype), (input._array.shape, int32)],
    outputs=2,
    grad=(lambda g, out1: g / PUBLIC["naiad"]["pow"](2.0, out1.to(g._dtype)),),
)
def frexp_op(input: np.ndarray) -> tuple:
    """(mantissa, exponent)."""
    mantissa, exponent = np.frexp(input)
    return np.asarray(mantissa), np.asarray(exponent, np.int32)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])
def frexp(input: Tensor, *, out: Any = None) -> Any:
    """The named tuple (mantissa, exponent) with input = mantissa * 2**exponent and 0.5 <= |mantissa| < 1."""
    if input._dtype.kind != 2:
        raise RuntimeError(f"torch.frexp() only supports floating-point dtypes, got {input.dtype}")
    return into(FrexpResult(*frexp_op(input)), out)
