"""Matrix products: matmul, and the affine map of a linear layer."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from naiad.core.dispatch import deliver
from naiad.core.op import PUBLIC, public, publish
from naiad.core.primitive import primitive
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.ops.movement import permute_op, reshape, sum_to


def _matmul_rule(input: Tensor, other: Tensor) -> tuple:
    a, b = input._array.shape, other._array.shape
    if not a or not b:
        raise RuntimeError(
            f"matmul: both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D. "
            "Use * for a product with a number"
        )
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise RuntimeError(
            f"matmul: mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a))} and {'x'.join(map(str, b))}): "
            f"the last size of input ({a[-1]}) must equal the {'second last' if len(b) > 1 else 'only'} size of other "
            f"({inner})"
        )
    if input._dtype is not other._dtype:
        raise RuntimeError(
            f"matmul: expected m1 and m2 to have the same dtype, but got: {input._dtype.name} != {other._dtype.name}. "
            "Convert one with .to(dtype)"
        )
    batch = broadcast_shapes([a[:-2], b[:-2]])
    return batch + a[-2:-1] + (b[-1:] if len(b) > 1 else ()), input._dtype


def transposed(x: Tensor) -> Tensor:
    """A view with the last two dimensions swapped."""
    n = x._array.ndim
    return permute_op(x, dims=(*range(n - 2), n - 1, n - 2))


def adjoint(x: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    x = transposed(x)
    return PUBLIC["naiad"]["conj"](x) if x._dtype.kind == 3 else x


def _as_matrix(x: Tensor, column: bool) -> Tensor:
    return reshape(x, (-1, 1) if column else (1, -1)) if x._array.ndim == 1 else x


def conj(x: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return PUBLIC["naiad"]["conj"](x) if x._dtype.kind == 3 else x


def _matmul_grad_input(g: Tensor, other: Tensor, input_shape: tuple) -> Tensor:
    if len(input_shape) > 1 and other._array.ndim == 2:
        return linear_op(g, conj(other), None)
    g = _product_matrix(g, input_shape, other._array.shape)
    return reshape(sum_to(g @ adjoint(_as_matrix(other, True)), _matrix_shape(input_shape, False)), input_shape)


def _matmul_grad_other(g: Tensor, input: Tensor, other_shape: tuple) -> Tensor:
    if len(other_shape) == 2 and input._array.ndim > 1:
        return flat_outer(conj(input), g)
    g = _product_matrix(g, input._array.shape, other_shape)
    return reshape(sum_to(adjoint(_as_matrix(input, False)) @ g, _matrix_shape(other_shape, True)), other_shape)


def _matrix_shape(shape: tuple, column: bool) -> tuple:
    return shape if len(shape) > 1 else (shape[0], 1) if column else (1, shape[0])


def _product_matrix(g: Tensor, a: tuple, b: tuple) -> Tensor:
    """The gradient with the dimensions that a vector operand does not have put back."""
    if len(a) > 1 and len(b) > 1:
        return g
    shape = list(g._array.shape)
    if len(b) == 1:
        shape.append(1)
    if len(a) == 1:
        shape.insert(len(shape) - 1, 1)
    return reshape(g, tuple(shape))


@primitive(
    rule=_matmul_rule,
    kernel="matmul.matmul",
    parts="complex_matmul.matmul",
    grad=(_matmul_grad_input, _matmul_grad_other),
    autocast="lower",
)
def matmul_op(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The matrix product, batched over leading dimensions."""
    if input.dtype is not other.dtype and input.dtype != other.dtype:
        raise TypeError("operands of two dtypes")
    if other.ndim != 2 or input.ndim == 1:
        return np.matmul(input, other)
    return input.dot(other) if input.ndim == 2 else flat_product(input, other)  # `dot` has half of matmul's overhead


def flat_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (..., k) times b (k, n) as one product of two matrices; NumPy would make one per batch."""
    out = np.empty(a.shape[:-1] + b.shape[1:], a.dtype)
    rows = prod(a.shape[:-1])
    np.matmul(a.reshape(rows, b.shape[0]), b, out=out.reshape(rows, b.shape[1]))
    return out


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product: vectors, matrices, and batches of matrices that broadcast.

    input: (..., n, k) or (k,); other: (..., k, m) or (k,), of the same dtype.
    Raises RuntimeError for sizes that do not match and for two dtypes.
    """
    return matmul_op(input, other) if out is None else deliver(matmul_op(input, other), out)


publish(
    "matmul",
    matmul,
    ("naiad", "Tensor"),
    samples=lambda s: [
        s.call(s(2, 3), s(3, 4)),
        s.call(s(3), s(3)),
        s.call(s(2, 3), s(3)),
        s.call(s(3), s(3, 2)),
        s.call(s(2, 1, 3, 4), s(5, 4, 2)),
        s.call(s(4), s(2, 4, 3)),
        s.call(s(2, 3, 4), s(4)),
    ],
)
PUBLIC["Tensor"]["__matmul__"] = matmul_op


def _reflected(input: Tensor, other: Any) -> Tensor:
    return matmul(other, input)


PUBLIC["Tensor"]["__rmatmul__"] = _reflected


# ---------------------------------------------------------------- the affine map of a linear layer
# linear(x, w) = x w^T, flat_matmul(x, w) = x w and flat_outer(x, y) = x^T y (over all leading dimensions) are each
# other's derivatives.
def _linear_rule(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple:
    a, w = input._array.shape, weight._array.shape
    if len(w) not in (1, 2) or not a:
        raise RuntimeError(
            f"linear(): weight must be (out, in) or (in,), and input (..., in); got {list(w)}, {list(a)}"
        )
    if a[-1] != w[-1]:
        lead = a[-2] if len(a) == 2 else prod(a[:-1])
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({lead}x{a[-1]} and {w[-1]}x{w[0]}): "
            f"the last size of input ({a[-1]}) must equal the layer's input size ({w[-1]})"
        )
    for name, operand in (("weight", weight), ("bias", bias)):
        if operand is not None and operand._dtype is not input._dtype:
            raise RuntimeError(
                f"linear: mat1 and mat2 must have the same dtype, but got {input._dtype.name} and "
                f"{operand._dtype.name} ({name}). Convert one with .to(dtype)"
            )
    if bias is not None:
        broadcast_shapes([bias._array.shape, w[:-1]])
        if bias._array.ndim > len(w) - 1:
            raise RuntimeError(f"linear: bias must be of shape {list(w[:-1])}, got {list(bias._array.shape)}")
    return a[:-1] + w[:-1], input._dtype


@primitive(
    rule=_linear_rule,
    kernel="matmul.linear",
    parts="complex_matmul.linear",
    grad=(
        lambda g, weight: flat_matmul(g, conj(weight)),
        lambda g, input: flat_outer(g, conj(input)),
        lambda g: sum_to(g, g._array.shape[-1:]),
    ),
    name="linear",
    autocast="lower",
)
def linear_op(input: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """input (..., k) times the transpose of weight (n, k), plus bias (n,)."""
    if input.dtype != weight.dtype or weight.ndim != 2 or (bias is not None and bias.dtype != input.dtype):
        raise TypeError("operands")
    out = flat_product(input, weight.T) if input.ndim > 2 else np.matmul(input, weight.T)
    if bias is not None:
        np.add(out, bias, out=out)
    return out


def _flat_matmul_rule(input: Tensor, other: Tensor) -> tuple:
    return _linear_rule(input, transposed(other))


@primitive(
    rule=_flat_matmul_rule,
    kernel="matmul.matmul",
    parts="complex_matmul.matmul",
    grad=(lambda g, other: linear_op(g, conj(other), None), lambda g, input: flat_outer(conj(input), g)),
)
def flat_matmul(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """input (..., k) times other (k, n)."""
    return flat_product(input, other) if input.ndim > 2 else np.matmul(input, other)


@primitive(
    rule=lambda input, other: ((input._array.shape[-1], other._array.shape[-1]), input._dtype),
    kernel="matmul.flat_outer",
    parts="complex_matmul.flat_outer",
    grad=(lambda g, other: linear_op(conj(other), g, None), lambda g, input: flat_matmul(conj(input), g)),
)
def flat_outer(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sum over all leading dimensions of the outer products of input (..., n) and other (..., k): (n, k)."""
    if input.ndim == 2:  # nothing to flatten
        return input.T.dot(other)
    n, k = input.shape[-1], other.shape[-1]
    rows = prod(input.shape[:-1])
    return np.matmul(input.reshape(rows, n).T, other.reshape(rows, k))


@public(
    "nn.functional",
    samples=lambda s: [
        s.call(s(2, 3), s(4, 3), s(4)),
        s.call(s(2, 3), s(4, 3)),
        s.call(s(3), s(4, 3), s(4)),
        s.call(s(2, 5, 3), s(4, 3), s(4)),
        s.call(s(2, 3), s(3)),
        s.call(s(0, 3), s(4, 3), s(4)),
    ],
)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (..., in) with weight (out, in) and bias (out,) gives (..., out).

    Raises RuntimeError for sizes that do not match and for more than one dtype.
    """
    if weight._array.ndim > 1:
        return linear_op(input, weight, bias)
    out = matmul(input, weight)
    return out if bias is None else out + bias
