"""Rows of a table by number: embedding and one_hot."""

from __future__ import annotations

import numpy as np

from naiad.core.dtype import float32, int32, int64
from naiad.core.inplace import inplace_call
from naiad.core.op import public
from naiad.core.primitive import primitive, same_as
from naiad.core.state import no_grad
from naiad.core.tensor import Tensor


def _check_index_dtype(index: Tensor, name: str) -> None:
    if index._dtype is not int64 and index._dtype is not int32:
        raise RuntimeError(
            f"{name}(): Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, "
            f"Int; but got {index._dtype.name} instead. Convert it with .long()"
        )


def _embedding_rule(weight: Tensor, index: Tensor, *, padding_idx: int | None, by_frequency: bool) -> tuple:
    _check_index_dtype(index, "embedding")
    if weight._array.ndim != 2:
        raise RuntimeError(f"embedding(): 'weight' must be 2-D, got shape {list(weight._array.shape)}")
    numbers = index._array
    if isinstance(numbers, np.ndarray) and numbers.size:
        rows = weight._array.shape[0]
        wrong = numbers[(numbers < 0) | (numbers >= rows)]
        if wrong.size:
            raise IndexError(f"embedding(): index out of range in self: index {wrong[0]} in a table of {rows} rows")
    return (*index._array.shape, weight._array.shape[1]), weight._dtype


def _gathered(g: Tensor, index: Tensor, padding_idx: int | None, by_frequency: bool) -> Tensor:
    """The transpose of `embedding_grad`: rows of g, without those that get no gradient."""
    out = embedding_op(g, index, padding_idx=None, by_frequency=False)
    scale = _scale(index, g._array.shape[0], padding_idx, by_frequency)
    return out if scale is None else out * scale.to(g._dtype)


def _scale(index: Tensor, rows: int, padding_idx: int | None, by_frequency: bool) -> Tensor | None:
    if padding_idx is None and not by_frequency:
        return None
    return row_scale(index, rows=rows, padding_idx=padding_idx, by_frequency=by_frequency)


@primitive(
    rule=lambda index, *, rows, padding_idx, by_frequency: ((*index._array.shape, 1), float32),
    kernel="embedding.row_scale",
    widen=False,
)
def row_scale(index: np.ndarray, *, rows: int, padding_idx: int | None, by_frequency: bool) -> np.ndarray:
    """What each looked-up row's gradient is multiplied by: 0 for padding, 1 / count when scaled by frequency."""
    return _row_scale(index, rows, padding_idx, by_frequency)[..., None].astype(np.float32)


def _row_scale(index: np.ndarray, rows: int, padding_idx: int | None, by_frequency: bool) -> np.ndarray:
    scale = np.ones(index.shape)
    if by_frequency:
        scale /= np.bincount(index.ravel(), minlength=rows)[index]
    if padding_idx is not None:
        scale[index == padding_idx] = 0
    return scale


@primitive(
    rule=_embedding_rule,
    kernel="embedding.embedding",
    parts="move",
    widen=False,
    grad=(
        lambda g, index, weight_shape, padding_idx, by_frequency: embedding_grad(
            g, index, rows=weight_shape[0], padding_idx=padding_idx, by_frequency=by_frequency
        ),
        None,
    ),
)
def embedding_op(weight: np.ndarray, index: np.ndarray, *, padding_idx: int | None, by_frequency: bool) -> np.ndarray:
    """The rows of weight (V, D) that index (...) names: (..., D)."""
    if index.dtype.kind != "i" or weight.ndim != 2:
        raise TypeError("operands")
    if index.size and index.min() < 0:
        raise IndexError("negative index")
    return np.take(weight, index, 0)


@primitive(
    rule=lambda grad, index, *, rows, padding_idx, by_frequency: ((rows, grad._array.shape[-1]), grad._dtype),
    kernel="embedding.embedding_grad",
    parts="each",
    grad=(lambda g, index, padding_idx, by_frequency: _gathered(g, index, padding_idx, by_frequency), None),
)
def embedding_grad(
    grad: np.ndarray, index: np.ndarray, *, rows: int, padding_idx: int | None, by_frequency: bool
) -> np.ndarray:
    """Each row of grad (..., D) added to the row of the (rows, D) result that index (...) names."""
    width = grad.shape[-1]
    flat, numbers = grad.reshape(-1, width) if grad.size else grad.reshape(0, width), index.reshape(-1)
    out = np.zeros((rows, width), grad.dtype)
    if not flat.size:
        return out
    if by_frequency:
        flat = flat * _row_scale(numbers, rows, None, True)[:, None].astype(grad.dtype)
    _add_rows(out, numbers, flat)
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _add_rows(out: np.ndarray, numbers: np.ndarray, rows: np.ndarray) -> None:
    """out[numbers] += rows, where a number may occur more than once."""
    # Sorted, equal numbers are runs. NumPy sums few long runs fastest run by run; many short ones are added up in
    # rounds instead, the k-th of every run at once.
    order = np.argsort(numbers, kind="stable")
    ranked = numbers[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    lengths = np.diff(starts, append=ranked.size)
    rounds = int(lengths.max())
    if rounds > starts.size:
        out[ranked[starts]] = np.add.reduceat(rows[order], starts, 0)
        return
    out[ranked[starts]] = rows[order[starts]]
    for k in range(1, rounds):
        longer = lengths > k
        starts, lengths = starts[longer], lengths[longer]
        out[ranked[starts]] += rows[order[starts + k]]


def _renormalize(weight: np.ndarray, index: np.ndarray, *, max_norm: float, norm_type: float) -> None:
    rows = np.unique(index)
    norms = np.linalg.norm(weight[rows].astype(np.float64), norm_type, 1)
    long = norms > max_norm
    scaled = weight[rows[long]] * (max_norm / (norms[long] + 1e-7))[:, None]
    weight[rows[long]] = scaled.astype(weight.dtype)


@primitive(rule=same_as(), kernel="embedding.renorm", widen=False, into=_renormalize)
def embedding_renorm(weight: np.ndarray, index: np.ndarray, *, max_norm: float, norm_type: float) -> np.ndarray:
    """weight, with the rows that index names scaled down to a norm of at most max_norm."""
    out = weight.copy()
    _renormalize(out, index, max_norm=max_norm, norm_type=norm_type)
    return out


_renorm_into = inplace_call(embedding_renorm.op)


def _padding(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError(f"Padding_idx must be within num_embeddings: {padding_idx} with {rows} rows")
    return padding_idx % rows


def _refuse_sparse(name: str, sparse: bool) -> None:
    if sparse:
        raise NotImplementedError(f"{name}(): sparse gradients are not supported, use sparse=False")


@public(
    "nn.functional",
    samples=lambda s: [
        s.call(s.ints(2, 3), s(5, 4)),
        s.call(s.ints(6), s(5, 4), padding_idx=1),
        s.call(s.ints(), s(5, 4), -2),
        s.call(s.ints(2, 4, dtype="int32"), s(5, 3), scale_grad_by_freq=True),
        s.call(s.ints(0), s(5, 4)),
    ],
)
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of weight (V, D) that input (int32 or int64, any shape) names: shape (..., D).

    padding_idx: a row that gets no gradient. max_norm: rows that are used are first scaled down in place to this norm.
    Raises IndexError for a number outside of [0, V).
    """
    _refuse_sparse("embedding", sparse)
    padding_idx = _padding(padding_idx, weight._array.shape[0])
    if max_norm is not None:
        _embedding_rule(weight, input, padding_idx=None, by_frequency=False)
        with no_grad():
            _renorm_into(weight, input, max_norm=max_norm, norm_type=norm_type)
    return embedding_op(weight, input, padding_idx=padding_idx, by_frequency=bool(scale_grad_by_freq))


@public(
    "naiad",
    name="embedding",
    samples=lambda s: [
        s.call(s(5, 4), s.ints(2, 3)),
        s.call(s(5, 4), s.ints(6), padding_idx=1, scale_grad_by_freq=True),
    ],
)
def embedding_of(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """As nn.functional.embedding, with the table first; a padding_idx of -1 means none."""
    return embedding(indices, weight, None if padding_idx == -1 else padding_idx, None, 2.0, scale_grad_by_freq, sparse)


def _one_hot_rule(input: Tensor, *, classes: int) -> tuple:
    if input._dtype is not int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {input._dtype.name}")
    numbers = input._array
    if isinstance(numbers, np.ndarray) and numbers.size:
        if numbers.min() < 0:
            raise RuntimeError(f"one_hot: Class values must be non-negative, got {numbers.min()}.")
        if classes != -1 and numbers.max() >= classes:
            raise RuntimeError(
                f"one_hot: Class values must be smaller than num_classes ({classes}), got {numbers.max()}."
            )
    elif classes <= 0:
        raise RuntimeError("one_hot: Can not infer total number of classes from empty tensor, give num_classes.")
    return (*input._array.shape, classes), int64


@primitive(rule=_one_hot_rule, kernel="embedding.one_hot", widen=False)
def one_hot_op(input: np.ndarray, *, classes: int) -> np.ndarray:
    """1 where the number of a class stands, else 0."""
    if input.dtype != np.int64 or (input.size and input.min() < 0) or (classes <= 0 and not input.size):
        raise TypeError("classes")
    if input.size and input.max() >= classes:
        raise ValueError("class")
    out = np.zeros((*input.shape, classes), np.int64)
    np.put_along_axis(out, input[..., None], 1, -1)
    return out


@public("nn.functional", samples=lambda s: [s.call(s.ints(2, 3)), s.call(s.ints(4), 7), s.call(s.ints(), 5)])
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 of shape (..., num_classes): 1 at the class that tensor (int64) names. -1: the largest class plus 1."""
    if num_classes == -1 and tensor._dtype is int64 and tensor.numel():
        num_classes = int(tensor.max()) + 1
    return one_hot_op(tensor, classes=num_classes)
