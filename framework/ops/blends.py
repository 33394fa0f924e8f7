"""Choosing and mixing: where, lerp, addcmul, addcdiv, and matrix products added to something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naiad.core.dtype import uint8
from naiad.core.elementwise import elementwise
from naiad.core.inplace import inplace_call
from naiad.core.op import PUBLIC, as_one, public, publish
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import where_op
from naiad.ops.forms import inplace_form, into
from naiad.ops.linear import matmul_op
from naiad.ops.movement import reshape_op


def _chosen(condition: Tensor, input: Any, other: Any) -> Tensor:
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): argument 'condition' must be a Tensor, not {type(condition).__name__}")
    if condition._dtype.kind and condition._dtype is not uint8:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}. "
            "Compare it with something, as in condition != 0"
        )
    return where_op(condition, input, other)


def where(condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None) -> Any:
    """`input` where `condition` holds, else `other`; both broadcast, and either may be a number.

    With `condition` alone: the indices of its nonzero elements, one int64 vector per dimension.
    """
    if input is None and other is None:
        return PUBLIC["naiad"]["nonzero"](condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where(): give both input and other, or neither")
    return into(_chosen(condition, input, other), out)


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """`self` where `condition` holds, else `other`."""
    return _chosen(condition, self, other)


publish(
    "where",
    where,
    ("naiad",),
    samples=lambda s: [
        s.call(s.bools(2, 3), s(2, 3), s(3)),
        s.call(s.bools(2, 3), s(2, 1), 0.0),
        s.call(s.bools(3), 1.0, s(3)),
        s.call(s.bools(3), 1, s.ints(3)),
        s.call(s.bools(3), 1.0, 2),
        s.call(s.bools(3), True, 2),
        s.call(s.bools(4, 1), s(3), s(4, 3)),
    ],
)
publish("where", _where_method, ("Tensor",), samples=lambda s: [s.call(s(2, 3), s.bools(3), s(3))])


@elementwise(namespaces=(), name="addcmul", kinds=(1, 2, 3), grad={"value": None}, autocast={"cuda": "promote"})
def addcmul_op(m: Any, input: Any, tensor1: Any, tensor2: Any, value: Any) -> Any:
    """input + value * tensor1 * tensor2."""
    return input + value * tensor1 * tensor2


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(3), s(2, 1)), s.call(s(3), s(3), s(3), value=0.5)])
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return into(addcmul_op(input, tensor1, tensor2, value), out)


@elementwise(namespaces=(), name="addcdiv", kinds=(2, 3), grad={"value": None}, autocast={"cuda": "promote"})
def addcdiv_op(m: Any, input: Any, tensor1: Any, tensor2: Any, value: Any) -> Any:
    """input + value * tensor1 / tensor2."""
    return input + value * tensor1 / tensor2


def _check_divided(tensor1: Tensor, tensor2: Tensor) -> None:
    if all(t._dtype.kind < 2 for t in (tensor1, tensor2)):
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported. Use input + value * trunc(tensor1 / tensor2), "
            "or convert to floating point"
        )


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(3), s(2, 1)), s.call(s(3), s(3), s(3), value=0.5)])
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 / tensor2. Integer division this way is an error, as in PyTorch."""
    _check_divided(tensor1, tensor2)
    return into(addcdiv_op(input, tensor1, tensor2, value), out)


_addcmul_into, _addcdiv_into = inplace_call(addcmul_op.op), inplace_call(addcdiv_op.op)


@public("Tensor")
def addcmul_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """In-place version of `addcmul`; returns `self`."""
    return _addcmul_into(self, tensor1, tensor2, value)


@public("Tensor")
def addcdiv_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """In-place version of `addcdiv`; returns `self`."""
    _check_divided(tensor1, tensor2)
    return _addcdiv_into(self, tensor1, tensor2, value)


@elementwise(namespaces=(), name="lerp", kinds=(2, 3))
def lerp_op(m: Any, input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input), from whichever end is nearer."""
    span = end - input
    return m.where(m.abs(weight) < 0.5, input + weight * span, end - span * (1 - weight))


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), s(2, 3), 0.3), s.call(s(2, 3), s(3), s(2, 1, low=0, high=1))]
)
def lerp(input: Tensor, end: Tensor, weight: Any, *, out: Tensor | None = None) -> Tensor:
    """input + weight * (end - input): weight 0 gives `input`, 1 gives `end`. All of one dtype."""
    _check_lerp(input, end, weight)
    return into(lerp_op(input, end, weight), out)


def _check_lerp(input: Tensor, end: Tensor, weight: Any) -> None:
    for what, x in (("end", end), ("weight", weight)):
        if isinstance(x, Tensor) and x._dtype is not input._dtype:
            raise RuntimeError(f"lerp: expected dtype {input.dtype} for `{what}` but got dtype {x.dtype}")


_lerp_into = inplace_call(lerp_op.op)


@public("Tensor")
def lerp_(self: Tensor, end: Tensor, weight: Any) -> Tensor:
    """In-place version of `lerp`; returns `self`."""
    _check_lerp(self, end, weight)
    return _lerp_into(self, end, weight)


# ---------------------------------------------------------------- products of matrices added to something
def _plus(input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta * input + alpha * product; with beta 0 the input is not looked at."""
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product.expand(product.shape)
    return product + (input if beta == 1 else input * beta)


# On the cpu PyTorch's autocast takes only some of them.
LOWER = {"addmm": "lower", "baddbmm": "lower", "addbmm": "lower"}


def _adder(name: str, dims: tuple[int, int], doc: str, product: Callable, samples: Any) -> Callable:
    first, second = ("batch1", "batch2") if dims == (3, 3) else ("mat", "vec") if dims == (2, 1) else ("mat1", "mat2")

    def call(input: Tensor, a: Tensor, b: Tensor, beta: Any, alpha: Any, out: Tensor | None) -> Tensor:
        for what, x, n in ((first, a, dims[0]), (second, b, dims[1])):
            if x.ndim != n:
                raise RuntimeError(f"{name}: expected {what} to be a {n}-D tensor, got shape {list(x.shape)}")
        return into(_plus(input, product(a, b), beta, alpha), out)

    scope: dict[str, Any] = {"call": call, "Tensor": Tensor}
    source = (
        f"def {name}(input: Tensor, {first}: Tensor, {second}: Tensor, *, beta=1, alpha=1, "
        "out: Tensor | None = None) -> Tensor:\n"
        f"    return call(input, {first}, {second}, beta, alpha, out)\n"
    )
    exec(source, scope)  # noqa: S102 - so that the operands have PyTorch's names
    function = scope[name]
    function.__doc__ = doc
    publish(name, as_one(function, LOWER.get(name, {"cuda": "lower"})), ("naiad", "Tensor"), samples=samples)
    inplace_form(function, name + "_")
    return function


addmm = _adder(
    "addmm",
    (2, 2),
    "beta * input + alpha * (mat1 @ mat2).",
    matmul_op,
    lambda s: [
        s.call(s(2, 4), s(2, 3), s(3, 4)),
        s.call(s(4), s(2, 3), s(3, 4), beta=0.5, alpha=2.0),
    ],
)
addmv = _adder(
    "addmv",
    (2, 1),
    "beta * input + alpha * (mat @ vec).",
    matmul_op,
    lambda s: [s.call(s(2), s(2, 3), s(3)), s.call(s(2), s(2, 3), s(3), beta=0.5, alpha=2.0)],
)
baddbmm = _adder(
    "baddbmm",
    (3, 3),
    "beta * input + alpha * (batch1 @ batch2), batch by batch.",
    matmul_op,
    lambda s: [s.call(s(2, 3, 5), s(2, 3, 4), s(2, 4, 5)), s.call(s(3, 5), s(2, 3, 4), s(2, 4, 5), beta=0.5, alpha=2)],
)
addbmm = _adder(
    "addbmm",
    (3, 3),
    "beta * input + alpha * sum over the batch of batch1 @ batch2.",
    lambda a, b: matmul_op(a, b).sum(0),
    lambda s: [s.call(s(3, 5), s(2, 3, 4), s(2, 4, 5)), s.call(s(3, 5), s(2, 3, 4), s(2, 4, 5), beta=0.5, alpha=2)],
)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3), s(2), s(3)), s.call(s(2, 3), s(2), s(3), beta=2, alpha=3)],
    autocast={"cuda": "lower"},
)
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Tensor | None = None
) -> Tensor:
    """beta * input + alpha * (the outer product of two vectors)."""
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"addr: expected two 1-D tensors, got shapes {list(vec1.shape)} and {list(vec2.shape)}")
    column = reshape_op(vec1, size=(vec1.numel(), 1))
    return into(_plus(input, column * vec2, beta, alpha), out)


inplace_form(addr, "addr_")
