"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from naiad.core.op import PUBLIC, publish
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


def _matmul_grad_input(g: Tensor, other: Tensor, input_shape: tuple) -> Tensor:
    g = _product_matrix(g, input_shape, other._array.shape)
    return reshape(sum_to(g @ adjoint(_as_matrix(other, True)), _matrix_shape(input_shape, False)), input_shape)  # type: ignore[operator]


def _matmul_grad_other(g: Tensor, input: Tensor, other_shape: tuple) -> Tensor:
    g = _product_matrix(g, input._array.shape, other_shape)
    return reshape(sum_to(adjoint(_as_matrix(input, False)) @ g, _matrix_shape(other_shape, True)), other_shape)  # type: ignore[operator]


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


@primitive(rule=_matmul_rule, kernel="matmul.matmul", grad=(_matmul_grad_input, _matmul_grad_other))
def matmul_op(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The matrix product, batched over leading dimensions."""
    if input.dtype != other.dtype:
        raise TypeError("operands of two dtypes")
    return np.matmul(input, other)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product: vectors, matrices, and batches of matrices that broadcast.

    input: (..., n, k) or (k,); other: (..., k, m) or (k,), of the same dtype.
    Raises RuntimeError for sizes that do not match and for two dtypes.
    """
    return matmul_op(input, other)


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
PUBLIC["Tensor"]["__matmul__"] = matmul


def _reflected(input: Tensor, other: Any) -> Tensor:
    return matmul(other, input)


PUBLIC["Tensor"]["__rmatmul__"] = _reflected
