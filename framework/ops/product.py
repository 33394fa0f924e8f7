"""Products under their own names: mm, bmm, mv, dot, outer, tensordot and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naiad.core.dispatch import deliver
from naiad.core.op import as_one, public
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import mul
from naiad.ops.linear import conj, matmul
from naiad.ops.movement import permute_op, reshape
from naiad.ops.reduction import sum_dims

BOTH = ("naiad", "Tensor")


def _given(result: Tensor, out: Tensor | None) -> Tensor:
    return result if out is None else deliver(result, out)


def _need(name: str, **operands: tuple[Tensor, int]) -> None:
    """Raise RuntimeError for an operand of another rank."""
    for which, (operand, rank) in operands.items():
        if not isinstance(operand, Tensor):
            raise TypeError(f"{name}(): argument '{which}' must be Tensor, not {type(operand).__name__}")
        if operand._array.ndim != rank:
            shape = {1: "a vector", 2: "a matrix", 3: "a 3D tensor"}[rank]
            raise RuntimeError(
                f"{name}: {which} must be {shape}, got {operand._array.ndim}D of shape {list(operand.shape)}"
            )


@public(*BOTH, samples=lambda s: [s.call(s(2, 3), s(3, 4)), s.call(s(2, 0), s(0, 3))])
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices, without broadcasting."""
    _need("mm", self=(input, 2), mat2=(mat2, 2))
    return _given(matmul(input, mat2), out)


@public(*BOTH, samples=lambda s: [s.call(s(2, 3, 4), s(2, 4, 2)), s.call(s(0, 2, 3), s(0, 3, 2))])
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of two batches of matrices: (b, n, m) and (b, m, p) give (b, n, p)."""
    _need("bmm", batch1=(input, 3), batch2=(mat2, 3))
    a, b = input._array.shape, mat2._array.shape
    if a[0] != b[0] or a[2] != b[1]:
        raise RuntimeError(
            f"bmm: Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but got: "
            f"[{b[0]}, {b[1]}]."
        )
    return _given(matmul(input, mat2), out)


@public(*BOTH, samples=lambda s: [s.call(s(2, 3), s(3))], autocast={"cpu": "keep", "cuda": "lower"})
def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of a matrix and a vector."""
    _need("mv", input=(input, 2), vec=(vec, 1))
    return _given(matmul(input, vec), out)


def _vectors(name: str, a: Tensor, b: Tensor) -> None:
    if a._array.ndim != 1 or b._array.ndim != 1:
        raise RuntimeError(f"{name}: 1D tensors expected, but got {a._array.ndim}D and {b._array.ndim}D tensors")
    if a._array.shape != b._array.shape:
        raise RuntimeError(
            f"{name}: inconsistent tensor size, expected tensor [{a.numel()}] and src [{b.numel()}] to have the same "
            f"number of elements, but got {a.numel()} and {b.numel()} elements respectively"
        )
    if a._dtype is not b._dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found {a._dtype.name} and {b._dtype.name}"
        )


@public(*BOTH, samples=lambda s: [s.call(s(4), s(4))], autocast={"cpu": "keep", "cuda": "promote"})
def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The sum of the products of two vectors."""
    _vectors("dot", input, tensor)
    return _given(matmul(input, tensor), out)


@public(*BOTH, samples=lambda s: [s.call(s(4), s(4))], autocast={"cpu": "keep", "cuda": "promote"})
def vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """dot of the conjugate of `input` with `other`."""
    _vectors("vdot", input, other)
    return _given(matmul(conj(input), other), out)


@public(
    *BOTH,
    samples=lambda s: [s.call(s(4), s(4)), s.call(s(2, 3), s(4, 5, 3)), s.call(s(), s(3))],
)
def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The dot products over the last dimensions: (..., k) and (*, k) give (..., *)."""
    a, b = input._array.shape, other._array.shape
    if not a or not b:
        return _given(mul(input, other), out)
    if a[-1] != b[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(a)} and {list(b)}"
        )
    if len(a) == len(b) == 1:
        return dot(input, other, out=out)
    return _given(_inner(input, other), out)


def _inner_of(input: Tensor, other: Tensor) -> Tensor:
    a, b = input._array.shape, other._array.shape
    product = matmul(reshape(input, (-1, a[-1])), permute_op(reshape(other, (-1, b[-1])), dims=(1, 0)))
    return reshape(product, a[:-1] + b[:-1])


_inner = as_one(_inner_of, {"cuda": "promote"})


@public(*BOTH, aliases=("ger",), samples=lambda s: [s.call(s(3), s(4))])
def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of the elements of two vectors: (n,) and (m,) give (n, m)."""
    _need("outer", self=(input, 1), vec2=(vec2, 1))
    return _given(mul(reshape(input, (-1, 1)), vec2), out)


# ---------------------------------------------------------------- several dimensions, several factors
@public(
    "naiad",
    samples=lambda s: [
        s.call(s(2, 3, 4), s(3, 4, 5)),
        s.call(s(2, 3, 4), s(4, 3, 2), dims=([1, 2], [1, 0])),
        s.call(s(2, 3), s(4), dims=0),
        s.call(s(2, 3), s(3, 2), 1),
    ],
    autocast={"cuda": "promote"},
)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """Sum products over dimensions: the last `dims` of a with the first of b, or lists of dimensions of each."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims >= 0 and at most the operands' ranks, but got dims={dims}")
        over_a: Sequence[int] = range(a.ndim - dims, a.ndim)
        over_b: Sequence[int] = range(dims)
    else:
        over_a, over_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    over_a, over_b = [d % max(a.ndim, 1) for d in over_a], [d % max(b.ndim, 1) for d in over_b]
    sizes_a, sizes_b = [a._array.shape[d] for d in over_a], [b._array.shape[d] for d in over_b]
    if sizes_a != sizes_b:
        raise RuntimeError(
            f"tensordot: contracted dimensions need to match, but first has sizes {sizes_a} in dims {list(over_a)} and "
            f"second has sizes {sizes_b} in dims {list(over_b)}"
        )
    kept_a, kept_b = ([d for d in range(x.ndim) if d not in over] for x, over in ((a, over_a), (b, over_b)))
    shape = tuple(a._array.shape[d] for d in kept_a) + tuple(b._array.shape[d] for d in kept_b)
    inner_size = 1
    for n in sizes_a:
        inner_size *= n
    left = reshape(
        permute_op(a, dims=(*kept_a, *over_a)),
        (a.numel() // inner_size if inner_size else _size(a, kept_a), inner_size),
    )
    right = reshape(
        permute_op(b, dims=(*over_b, *kept_b)),
        (inner_size, b.numel() // inner_size if inner_size else _size(b, kept_b)),
    )
    return _given(reshape(matmul(left, right), shape), out)


def _size(x: Tensor, dims: Sequence[int]) -> int:
    n = 1
    for d in dims:
        n *= x._array.shape[d]
    return n


def _order(sizes: Sequence[int]) -> list[list[int]]:
    """Where to split a chain of matrices (sizes[i], sizes[i + 1]) for the fewest multiplications (Cormen et al.)."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            tried = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(tried)
    return split


@public(
    "linalg",
    samples=lambda s: [s.call([s(2, 3), s(3, 4), s(4, 5)]), s.call([s(3), s(3, 4), s(4)]), s.call([s(2, 3), s(3)])],
    autocast={"cuda": "lower"},
)
def multi_dot(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The product of matrices in the order that costs least; the first and the last may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0], tensors[-1]
    chain = [reshape(first, (1, -1)) if first.ndim == 1 else first, *tensors[1:-1]]
    chain.append(reshape(last, (-1, 1)) if last.ndim == 1 else last)
    for i, tensor in enumerate(chain):
        if tensor.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {tensor.ndim}D")
    sizes = [chain[0]._array.shape[0], *[t._array.shape[1] for t in chain]]
    split = _order(sizes)

    def product(i: int, j: int) -> Tensor:
        return chain[i] if i == j else matmul(product(i, split[i][j]), product(split[i][j] + 1, j))

    result = product(0, len(chain) - 1)
    shape = (sizes[:1] if first.ndim > 1 else []) + (sizes[-1:] if last.ndim > 1 else [])
    return _given(reshape(result, tuple(shape)), out)


@public(
    "naiad",
    samples=lambda s: [s.call(s(2, 3), s(3, 4), s(4, 2))],
    oracle=lambda torch: lambda *matrices: torch.linalg.multi_dot(matrices),  # chain_matmul warns there
    autocast={"cuda": "lower"},
)
def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices in the order that costs least."""
    return multi_dot(matrices, out=out) if len(matrices) > 1 else _given(matrices[0], out)


@public(*BOTH, samples=lambda s: [s.call(s(2, 3), s(4, 2)), s.call(s(2), s(2, 3)), s.call(s(2, 1, 2), s(3, 2))])
def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The Kronecker product: every element of `input` times all of `other`."""
    rank = max(input.ndim, other.ndim)
    a = (1,) * (rank - input.ndim) + input._array.shape
    b = (1,) * (rank - other.ndim) + other._array.shape
    left = reshape(input, tuple(n for pair in zip(a, (1,) * rank, strict=True) for n in pair))
    right = reshape(other, tuple(n for pair in zip((1,) * rank, b, strict=True) for n in pair))
    return _given(reshape(mul(left, right), tuple(m * n for m, n in zip(a, b, strict=True))), out)


@public(
    "nn.functional",
    "naiad",
    samples=lambda s: [
        s.call(s(3, 2), s(3, 4), s(5, 2, 4), s(5)),
        s.call(s(2, 3, 2), s(2, 3, 4), s(5, 2, 4)),
        s.call(s(2), s(3), s(4, 2, 3)),
    ],
    autocast={"cuda": "promote"},
)
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1^T weight[o] input2 + bias[o]: (..., i), (..., j), weight (o, i, j), bias (o,) give (..., o)."""
    a, b, w = input1._array.shape, input2._array.shape, weight._array.shape
    if a[:-1] != b[:-1]:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {list(a)} and {list(b)}")
    if len(w) != 3 or (a[-1], b[-1]) != w[1:]:
        raise RuntimeError(f"bilinear(): input sizes {a[-1]} and {b[-1]} do not match weight size {list(w)}")
    rows = reshape(input1, (-1, a[-1]))
    mixed = reshape(matmul(rows, reshape(permute_op(weight, dims=(1, 0, 2)), (a[-1], w[0] * w[2]))), (-1, w[0], w[2]))
    result = sum_dims(mul(mixed, reshape(input2, (-1, 1, b[-1]))), dim=(2,), keepdim=False)
    if bias is not None:
        result = result + bias
    return reshape(result, (*a[:-1], w[0]))
