"""einsum: sums of products by letters, as permutations, sums and batched matrix products from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from naiad.core.op import public
from naiad.core.tensor import Tensor
from naiad.ops.arithmetic import mul
from naiad.ops.linear import matmul
from naiad.ops.movement import permute_op, reshape
from naiad.ops.reduction import sum_dims

Label = str | int  # a letter, or the number of a dimension that the ellipsis stands for


def _parse(equation: str, tensors: Sequence[Tensor]) -> tuple[list[list[Label]], list[Label]]:
    """The labels of every operand and of the result."""
    sides = equation.replace(" ", "").split("->")
    if len(sides) > 2:
        raise RuntimeError(f"einsum(): more than one '->' in {equation!r}")
    terms = sides[0].split(",")
    if len(terms) != len(tensors):
        raise RuntimeError(
            f"einsum(): {'more' if len(tensors) > len(terms) else 'fewer'} operands were provided than specified in "
            f"the equation {equation!r}: {len(tensors)} for {len(terms)} terms"
        )
    labels = [_labels(term, tensor, i) for i, (term, tensor) in enumerate(zip(terms, tensors, strict=True))]
    wide = sorted({n for operand in labels for n in operand if isinstance(n, int)}, reverse=True)
    if len(sides) == 1:
        letters = [n for operand in labels for n in operand if isinstance(n, str)]
        return labels, [*wide, *sorted(n for n in set(letters) if letters.count(n) == 1)]
    result: list[Label] = []
    for part in _split(sides[1], "the output"):
        result += wide if part == "..." else [part]
    if len(set(result)) != len(result):
        raise RuntimeError(f"einsum(): a subscript appears more than once in the output of {equation!r}")
    known = {n for operand in labels for n in operand}
    for n in result:
        if n not in known:
            raise RuntimeError(f"einsum(): output subscript {n} does not appear in the equation for any input operand")
    return labels, result


def _split(term: str, where: str) -> list[str]:
    before, dots, after = term.partition("...")
    letters = before + after
    if not all(c.isalpha() and c.isascii() for c in letters):
        raise RuntimeError(f"einsum(): subscripts must be in [a-zA-Z], with at most one '...', but {where} is {term!r}")
    return [*before, *(["..."] if dots else []), *after]


def _labels(term: str, tensor: Tensor, number: int) -> list[Label]:
    parts = _split(term, f"operand {number}")
    rest = tensor._array.ndim - sum(part != "..." for part in parts)
    if rest < 0 or (rest and "..." not in parts):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(parts)}, {term!r}) does not match the number of "
            f"dimensions ({tensor.ndim}) for operand {number} and no ellipsis was given"
        )
    found: list[Label] = []
    for part in parts:
        found += range(rest - 1, -1, -1) if part == "..." else [part]  # counted from the last, so that they broadcast
    return found


def _distinct(tensor: Tensor, labels: list[Label]) -> tuple[Tensor, list[Label]]:
    """Labels that occur twice in an operand become its diagonal."""
    while len(set(labels)) != len(labels):
        twice = next(n for n in labels if labels.count(n) > 1)
        i = labels.index(twice)
        j = labels.index(twice, i + 1)
        if tensor._array.shape[i] != tensor._array.shape[j]:
            raise RuntimeError(
                f"einsum(): subscript {twice} is repeated for an operand but the sizes don't match, "
                f"{tensor._array.shape[j]} != {tensor._array.shape[i]}"
            )
        tensor = tensor.diagonal(0, i, j)
        labels = [n for k, n in enumerate(labels) if k not in (i, j)] + [twice]
    return tensor, labels


def _summed(tensor: Tensor, labels: list[Label], keep: set) -> tuple[Tensor, list[Label]]:
    """Labels that nobody else wants are summed away."""
    gone = tuple(i for i, n in enumerate(labels) if n not in keep)
    if not gone:
        return tensor, labels
    return sum_dims(tensor, dim=gone, keepdim=False), [n for n in labels if n in keep]


def _pair(a: Tensor, of_a: list[Label], b: Tensor, of_b: list[Label], keep: set) -> tuple[Tensor, list[Label]]:
    """The product of two operands, summed over the labels that are not kept."""
    size_a, size_b = dict(zip(of_a, a._array.shape, strict=True)), dict(zip(of_b, b._array.shape, strict=True))
    # A label of size 1 in one operand broadcasts: there it is summed away before the product, which drops it.
    for n in set(of_a) & set(of_b):
        if size_a[n] != size_b[n]:
            if size_a[n] == 1:
                a, of_a = _summed(a, of_a, set(of_a) - {n})
            elif size_b[n] == 1:
                b, of_b = _summed(b, of_b, set(of_b) - {n})
    shared = [n for n in of_a if n in of_b]
    batch, inner = [n for n in shared if n in keep], [n for n in shared if n not in keep]
    a, of_a = _summed(a, of_a, keep | set(shared))
    b, of_b = _summed(b, of_b, keep | set(shared))
    left, right = [n for n in of_a if n not in shared], [n for n in of_b if n not in shared]

    def sizes(labels: list[Label]) -> list[int]:
        return [size_a.get(n, 1) if n in of_a else size_b[n] for n in labels]

    out = [*batch, *left, *right]
    if not inner:  # nothing to sum: an elementwise product
        wide_a = reshape(permute_op(a, dims=_places(of_a, batch + left)), (*sizes(batch + left), *(1 for _ in right)))
        wide_b = reshape(
            permute_op(b, dims=_places(of_b, batch + right)), (*sizes(batch), *(1 for _ in left), *sizes(right))
        )
        return mul(wide_a, wide_b), out
    matrix_a = reshape(
        permute_op(a, dims=_places(of_a, batch + left + inner)),
        (*sizes(batch), prod(sizes(left)), prod(sizes(inner))),
    )
    matrix_b = reshape(
        permute_op(b, dims=_places(of_b, batch + inner + right)),
        (*sizes(batch), prod(sizes(inner)), prod(sizes(right))),
    )
    return reshape(matmul(matrix_a, matrix_b), tuple(sizes(out))), out


def _places(have: list[Label], want: list[Label]) -> tuple[int, ...]:
    return tuple(have.index(n) for n in want)


def _check_sizes(labels: list[list[Label]], tensors: Sequence[Tensor]) -> None:
    sizes: dict[Label, int] = {}
    for number, (operand, tensor) in enumerate(zip(labels, tensors, strict=True)):
        for n, size in zip(operand, tensor._array.shape, strict=True):
            before = sizes.get(n, 1)
            if before != size and before != 1 and size != 1:
                raise RuntimeError(
                    f"einsum(): subscript {n} has size {size} for operand {number} which does not broadcast with "
                    f"previously seen size {before}"
                )
            sizes[n] = max(before, size) if size else 0


def _from_lists(args: Sequence[Any]) -> tuple[str, list[Tensor]]:
    """einsum(tensor, [0, 1], tensor, [1, 2], [0, 2]) as an equation."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def term(numbers: Sequence[Any]) -> str:
        return "".join("..." if n is Ellipsis else letters[n] for n in numbers)

    tensors, lists = list(args[0 : len(args) // 2 * 2 : 2]), args[1::2]
    equation = ",".join(term(numbers) for numbers in lists)
    return equation + ("->" + term(args[-1]) if len(args) % 2 else ""), tensors


def _samples(s: Any) -> list:
    return [
        s.call("ij,jk->ik", s(2, 3), s(3, 4)),
        s.call("bij,bjk->bik", s(2, 3, 4), s(2, 4, 2)),
        s.call("bhqd,bhkd->bhqk", s(2, 2, 3, 4), s(2, 2, 5, 4)),
        s.call("ii->i", s(3, 3)),
        s.call("ii", s(3, 3)),
        s.call("ij->ji", s(2, 3)),
        s.call("ji", s(2, 3)),
        s.call("...ij,...jk", s(2, 1, 2, 3), s(4, 3, 2)),
        s.call("i,j->ij", s(2), s(3)),
        s.call("i,i", s(3), s(3)),
        s.call("bn,anm,bm->ba", s(2, 5), s(3, 5, 4), s(2, 4)),
        s.call("ij,ij,jk->k", s(2, 3), s(2, 3), s(3, 4)),
        s.call("b...->...", s(2, 3, 4)),
        s.call("ij,jk->ik", s(2, 1), s(3, 4)),
    ]


@public("naiad", samples=_samples, autocast={"cuda": "lower"})
def einsum(*args: Any) -> Tensor:
    """Sum products of operands over labelled dimensions: einsum("bij,bjk->bik", a, b).

    Without "->" the result has the labels that occur once, in order. "..." stands for dimensions that broadcast, a
    repeated label in one operand for its diagonal. Operands are combined from left to right.
    """
    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand")
    if isinstance(args[0], Tensor):
        equation, tensors = _from_lists(args)
    else:
        equation, tensors = args[0], list(args[1:])
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = list(tensors[0])
    if not tensors:
        raise RuntimeError("einsum(): must provide at least one operand")
    labels, result = _parse(equation, tensors)
    _check_sizes(labels, tensors)
    operands = [_distinct(t, of) for t, of in zip(tensors, labels, strict=True)]
    out, of_out = operands[0]
    for i in range(1, len(operands)):
        later = {n for _, labels in operands[i + 1 :] for n in labels} | set(result)
        out, of_out = _pair(out, of_out, *operands[i], later)
    out, of_out = _summed(out, of_out, set(result))
    missing = [n for n in result if n not in of_out]
    if missing:  # broadcast labels of size 1 everywhere that a sum has dropped
        out = reshape(out, (*out._array.shape, *(1 for _ in missing)))
        of_out = of_out + missing
    return permute_op(out, dims=_places(of_out, result))
