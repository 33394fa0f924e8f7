"""Running sums, products, maxima and log-sum-exps along a dimension; differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dtype import FLOAT, dtype, int64
from naiad.core.op import PUBLIC, public
from naiad.core.primitive import primitive, same_as
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.arithmetic import where_op
from naiad.ops.extremes import picked_rule
from naiad.ops.forms import in_order, inplace_form, into, named, numpy_names
from naiad.ops.picking import unpick_op
from naiad.ops.reduction import converted


@primitive(
    rule=same_as(),
    kernel="scan.cumsum",
    parts="pairs",
    grad=(lambda g, dim: reverse_cumsum(g, dim=dim),),
    autocast={"cuda": "float32"},
)
def cumsum_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """Running sums."""
    return np.add.accumulate(in_order(input), dim, input.dtype) if input.ndim else input.copy()


@primitive(rule=same_as(), kernel="scan.reverse_cumsum", parts="pairs", grad=(lambda g, dim: cumsum_op(g, dim=dim),))
def reverse_cumsum(input: np.ndarray, *, dim: int) -> np.ndarray:
    """Running sums from the end."""
    if not input.ndim:
        return input.copy()
    return np.ascontiguousarray(np.flip(np.add.accumulate(np.flip(input, dim), dim, input.dtype), dim))


def _cumprod_grad(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    if not input.ndim:
        return g
    if not bool((input == 0).any()):
        return reverse_cumsum(g * out.conj(), dim=dim) / input.conj()
    return _cumprod_grad_with_zeros(g, input, dim)


def _cumprod_grad_with_zeros(g: Tensor, input: Tensor, dim: int) -> Tensor:
    """The sum over i >= k of g[i] times the product of all x[j <= i] but x[k]; n * n memory."""
    space = PUBLIC["naiad"]
    n = input._array.shape[dim]
    rows = input.transpose(dim, -1).unsqueeze(-2)  # (..., k, j)
    own = space["eye"](n, device=input._device) != 0
    products = cumprod_op(where_op(own, 1, rows), dim=rows.ndim - 1)
    later = space["triu"](space["ones"](n, n, dtype=input._dtype, device=input._device))
    terms = products.conj() * later * g.transpose(dim, -1).unsqueeze(-2)
    return terms.sum(-1).transpose(dim, -1)


@primitive(
    rule=same_as(),
    kernel="scan.cumprod",
    parts="complex_reduce.cumprod",
    grad=(_cumprod_grad,),
    autocast={"cuda": "float32"},
)
def cumprod_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """Running products."""
    return np.multiply.accumulate(in_order(input), dim, input.dtype) if input.ndim else input.copy()


def _running(name: str, op: Callable, doc: str) -> Callable:
    @numpy_names
    def call(input: Tensor, dim: int, *, dtype: dtype | None = None, out: Tensor | None = None) -> Tensor:
        input = converted(input, int64 if dtype is None and input._dtype.kind < FLOAT else dtype)
        return into(converted(op(input, dim=normalize_dim(dim, input.ndim)), dtype), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    samples = lambda s: [  # noqa: E731
        s.call(s(2, 3), 1),
        s.call(s(3, 4, 2), -2),
        s.call(s.ints(4), 0),
        s.call(s.bools(4), 0),
        s.call(s(2, 3), dim=0, dtype=None),
        s.call(s(), 0),
        s.call(s.fixed([[1.0, 2.0, 0.0, 3.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]], differentiable=True), 1),
    ]
    public("naiad", "Tensor", name=name, samples=samples)(call)
    inplace_form(call, name + "_")
    return call


cumsum = _running("cumsum", cumsum_op, "Running sums along `dim`. bool and integers are summed in int64.")
cumprod = _running("cumprod", cumprod_op, "Running products along `dim`. bool and integers are multiplied in int64.")


# ---------------------------------------------------------------- running extremes
def _running_extreme(name: str, ufunc: np.ufunc) -> Callable:
    result = named(name, "values", "indices")

    @primitive(
        name=name,
        kernel=f"scan.{name}",
        rule=lambda input, *, dim: (
            picked_rule(input, dim=dim, keepdim=True)
            and [(input._array.shape, input._dtype), (input._array.shape, int64)]
        ),
        outputs=2,
        grad=(
            lambda g, out1, input_shape, dim: unpick_op(g, out1, dim=dim, size=input_shape[dim] if input_shape else 1),
        ),
    )
    def op(input: np.ndarray, *, dim: int) -> tuple:
        if input.dtype.kind == "c":
            raise TypeError("complex")
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        input = in_order(input)
        values = ufunc.accumulate(input, dim)
        # The index of the last element that equals the running extreme (NaN equals itself here).
        here = (input == values) | ((input != input) & (values != values))
        shape = [1] * input.ndim
        shape[dim] = -1
        index = np.where(here, np.arange(input.shape[dim], dtype=np.int64).reshape(shape), 0)
        return values, np.maximum.accumulate(index, dim)

    @numpy_names
    def call(input: Tensor, dim: int, *, out: Any = None) -> Any:
        return into(result(*op(input, dim=normalize_dim(dim, input.ndim))), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = (
        f"The named tuple (values, indices) of running {'maxima' if name == 'cummax' else 'minima'} along `dim`."
    )
    samples = lambda s: [s.call(s(3, 5), 1), s.call(s(4, 2), 0), s.call(s.ints(8, high=3), -1)]  # noqa: E731
    return public("naiad", "Tensor", name=name, samples=samples)(call)


cummax, cummin = _running_extreme("cummax", np.maximum), _running_extreme("cummin", np.minimum)


# ---------------------------------------------------------------- running log-sum-exp
def _signed(terms: np.ndarray, logs: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the running sums of the positive and of the negative `terms`, each times exp(logs)."""
    logs = np.log(np.abs(terms)) + logs
    up = np.logaddexp.accumulate(np.where(terms > 0, logs, -np.inf), dim)
    return up, np.logaddexp.accumulate(np.where(terms < 0, logs, -np.inf), dim)


def _times(a: Tensor, b: Tensor) -> Tensor:
    return a * b


# Each of the next two is linear in its first operand, and is the other one's transpose.
@primitive(
    rule=same_as(),
    kernel="scan.weigh_after",
    grad=(
        lambda g, input, out_of, dim: weigh_before(g, input, out_of, dim=dim),
        lambda g, out: _times(g, out),
        lambda g, terms, input, out_of, dim: -_times(terms, weigh_before(g, input, out_of, dim=dim)),
    ),
)
def weigh_after(terms: np.ndarray, input: np.ndarray, out_of: np.ndarray, *, dim: int) -> np.ndarray:
    """At k the sum over i >= k of terms[i] exp(input[k] - out_of[i]): the gradient of logcumsumexp."""
    if not input.ndim:
        return terms * np.exp(input - out_of)
    up, down = _signed(np.flip(terms, dim), np.flip(-out_of, dim), dim)
    return np.exp(np.flip(up, dim) + input) - np.exp(np.flip(down, dim) + input)


@primitive(
    rule=same_as(),
    kernel="scan.weigh_before",
    grad=(
        lambda g, input, out_of, dim: weigh_after(g, input, out_of, dim=dim),
        lambda g, terms, input, out_of, dim: _times(terms, weigh_after(g, input, out_of, dim=dim)),
        lambda g, out: -_times(g, out),
    ),
)
def weigh_before(terms: np.ndarray, input: np.ndarray, out_of: np.ndarray, *, dim: int) -> np.ndarray:
    """At i the sum over k <= i of terms[k] exp(input[k] - out_of[i])."""
    if not input.ndim:
        return terms * np.exp(input - out_of)
    up, down = _signed(terms, input, dim)
    return np.exp(up - out_of) - np.exp(down - out_of)


@primitive(
    name="logcumsumexp",
    rule=same_as(),
    kernel="scan.logcumsumexp",
    grad=(lambda g, input, out, dim: weigh_after(g, input, out, dim=dim),),
)
def logcumsumexp_op(input: np.ndarray, *, dim: int) -> np.ndarray:
    """Running log-sum-exps."""
    return np.logaddexp.accumulate(in_order(input), dim) if input.ndim else input.copy()


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 5), 1), s.call(s(3, 2), 0)])
@numpy_names
def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """log(cumsum(exp(input))) along `dim`, without overflow."""
    return into(logcumsumexp_op(input, dim=normalize_dim(dim, input.ndim)), out)


# ---------------------------------------------------------------- differences
@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(2, 5)),
        s.call(s(5, 2), 2, 0),
        s.call(s(3), prepend=s(2), append=s(1)),
        s.call(s.ints(4)),
        s.call(s.bools(4)),
    ],
)
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """The differences of neighbours along `dim`, taken `n` times; `prepend` and `append` are put on first."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = normalize_dim(dim, input.ndim)
    space = PUBLIC["naiad"]
    if prepend is not None or append is not None:
        input = space["cat"]([x for x in (prepend, input, append) if x is not None], dim)
    for _ in range(n):
        size = max(input._array.shape[dim] - 1, 0)
        start = min(1, input._array.shape[dim])
        after, before = space["narrow"](input, dim, start, size), space["narrow"](input, dim, 0, size)
        input = after != before if input._dtype.kind == 0 else after - before
    return into(input, out)
