"""Views of a part of a tensor, each element at most once: slicing, select, narrow, diagonal, split and their like.

They share one derivative, `embed`: the gradient in its place among zeros. It is told the view op and its attributes,
so a new window needs a body and a geometry and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naiad.core import backend
from naiad.core.device import CUDA, device
from naiad.core.dispatch import apply
from naiad.core.op import PUBLIC, Op, public
from naiad.core.outputs import record_outputs
from naiad.core.primitive import Primitive, View, view
from naiad.core.state import current
from naiad.core.strided import contiguous_strides
from naiad.core.tensor import Tensor, normalize_dim

Shape = tuple[int, ...]


# ---------------------------------------------------------------- the derivative of a window, and writing through one
def _embedded(input: np.ndarray, *, view: View, given: dict, shape: Shape) -> np.ndarray:
    """Zeros of `shape` with `input` in the window that `view` shows of them."""
    out = np.zeros(shape, input.dtype)
    view.body(out, **given)[...] = input
    return out


def _scattered(input: np.ndarray, src: np.ndarray, *, view: View, given: dict) -> np.ndarray:
    """A copy of `input` with `src` in a window."""
    out = np.array(input, order="C")
    seen = view.body(out, **given)
    if seen.shape != src.shape:
        raise ValueError("shape")
    seen[...] = src
    return out


def _embed_rule(input: Tensor, *, view: View, given: dict, shape: Shape) -> tuple:
    return shape, input._dtype


def _scatter_rule(input: Tensor, src: Tensor, *, view: View, given: dict) -> tuple:
    shape = input._array.shape
    seen, _, _ = view.geometry(shape, contiguous_strides(shape), 0, **given)
    if seen != src._array.shape:
        raise RuntimeError(
            f"{view.name.removesuffix('_op')}_scatter: expected src to have a size equal to the slice of self, which "
            f"is {list(seen)}, but src has {list(src.shape)}"
        )
    return shape, input._dtype


class _IntoWindow(Primitive):
    """On a device the kernels are told the window, as a view of the result: its geometry is not theirs to know."""

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        shape, of = self.infer(xs, attrs)
        out = backend.empty(shape, of, home)
        if home.kind == CUDA:
            window = out.view(*attrs["view"].geometry(out.shape, out.strides, 0, **attrs["given"]))
            if len(arrays) == 1:
                backend.launcher("embed.embed", self.name)(out, arrays[0], window)
            else:
                backend.launcher("copy.copy", self.name)(out, arrays[0])
                backend.launcher("copy.copy", self.name)(window, arrays[1])
        return [out]


_EMBED = _IntoWindow(
    "embed_op",
    _embedded,
    rule=_embed_rule,
    kernel="embed.embed",
    widen=False,
    grad=(lambda g, view, given: apply(view, (g,), given),),
)
_SCATTER = _IntoWindow(
    "window_scatter_op",
    _scattered,
    rule=_scatter_rule,
    kernel="copy.copy",
    widen=False,
    grad=(
        lambda g, src_shape, src_dtype, view, given: scatter_window(
            g, _zeros(src_shape, src_dtype, g._device), view, given
        ),
        lambda g, view, given: apply(view, (g,), given),
    ),
)


def _zeros(shape: Shape, dtype: Any, device: Any) -> Tensor:
    from naiad.ops.creation import full_op

    return full_op(shape=shape, value=0, dtype=dtype, device=device)


def embed(g: Tensor, view: Any, shape: Shape, **given: Any) -> Tensor:
    """Zeros of `shape` with `g` in the window that the view op shows with the attributes `given`."""
    return apply(_EMBED, (g,), {"view": view.op, "given": given, "shape": shape})


def scatter_window(input: Tensor, src: Tensor, view: View, given: dict) -> Tensor:
    """A copy of `input` with `src` in a window."""
    return apply(_SCATTER, (input, src), {"view": view, "given": given})


# ---------------------------------------------------------------- slicing
def _sliced(shape: Shape, strides: Shape, offset: int, *, index: tuple) -> tuple:
    if not isinstance(index, tuple):
        index = (index,)
    consumed = sum(1 for e in index if e is not None and e is not Ellipsis)
    if consumed > len(shape):
        raise IndexError(_too_many(index, len(shape)))
    sizes: list[int] = []
    steps: list[int] = []
    new: list[int] = []
    dim = 0
    for entry in (*index, *(() if Ellipsis in index else (Ellipsis,))):
        if entry is None:
            new.append(len(sizes))
            sizes.append(1)
            steps.append(1)
        elif entry is Ellipsis:
            rest = len(shape) - consumed
            sizes += shape[dim : dim + rest]
            steps += strides[dim : dim + rest]
            dim += rest
        elif isinstance(entry, slice):
            start, stop, step = entry.indices(shape[dim])
            sizes.append(max(0, -(-(stop - start) // step)))
            steps.append(strides[dim] * step)
            offset += min(start, shape[dim]) * strides[dim]
            dim += 1
        else:
            size = shape[dim]
            if not -size <= entry < size:
                raise IndexError(f"index {entry} is out of bounds for dimension {dim} with size {size}")
            offset += (entry + size if entry < 0 else entry) * strides[dim]
            dim += 1
    for i in reversed(new):  # a new dimension has the stride that a longer one would have there
        steps[i] = sizes[i + 1] * steps[i + 1] if i + 1 < len(sizes) else 1
    return tuple(sizes), tuple(steps), offset


def _too_many(index: tuple, ndim: int) -> str:
    if ndim:
        return f"too many indices for tensor of dimension {ndim}"
    if any(isinstance(e, slice) for e in index):
        return "slice() cannot be applied to a 0-dim tensor."
    return (
        "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
        "0-dim tensor to a number"
    )


@view(geometry=_sliced, grad=lambda g, input_shape, index: embed(g, slice_op, input_shape, index=index))
def slice_op(input: np.ndarray, *, index: Any) -> np.ndarray:
    """`input[index]` for ints, slices with positive steps, None and Ellipsis; with ints for all dims, `...` last."""
    return input[index]


def _at(dim: int, entry: Any) -> tuple:
    """The index that says something about one dimension."""
    return (slice(None),) * dim + (entry, ...)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), 0, 1), s.call(s(3, 4, 2), -2, -1), s.call(s(3), 0, 2)])
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one position along `dim`, which vanishes. Raises IndexError out of range."""
    shape = input._array.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, len(shape))
    index = index.__index__()
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    return slice_op(input, index=_at(dim, index))


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(5, 4), 0, 1, 3), s.call(s(5, 4), -1, -3, 2), s.call(s(5), 0, 2, 0)]
)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A view of `length` positions along `dim` from `start` on. Raises IndexError or RuntimeError out of range."""
    shape = input._array.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim, start, length = normalize_dim(dim, len(shape)), start.__index__(), length.__index__()
    size = shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return slice_op(input, index=_at(dim, slice(start, start + length)))


@public("naiad", samples=lambda s: [s.call(s(5, 4), 0, 1, 3), s.call(s(5, 4), -1, -3, 2)])
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """What `narrow` shows, in memory of its own."""
    return narrow(input, dim, start, length).clone()


# ---------------------------------------------------------------- pieces
class _Parts(Op):
    """What split and unbind are to autograd: one op with many results, whose gradients are joined once."""

    def __init__(self) -> None:
        super().__init__("parts", ("input",), ("dim", "joined"))
        self.differentiable = True
        self.pull = self._pull

    def _pull(self, task: Any, node: Any, gradients: list) -> None:
        dim, joined, shapes = node.attrs["dim"], node.attrs["joined"], node.attrs["shapes"]
        parts = [
            _zeros(shape, node.dtype, node.device) if g is None else g
            for g, shape in zip(gradients, shapes, strict=True)
        ]
        task.send(node.edges[0], PUBLIC["naiad"][joined](parts, dim))


_PARTS = _Parts()


def _together(input: Tensor, outs: tuple[Tensor, ...], dim: int, joined: str) -> tuple[Tensor, ...]:
    """Views that between them show all of `input`: `joined` ("cat" or "stack") puts them together again."""
    if input._needs_grad and len(outs) > 1 and current().grad:
        shapes = [o._array.shape for o in outs]
        record_outputs(_PARTS, input, outs, {"dim": dim, "joined": joined, "shapes": shapes})
    return outs


def _pieces(input: Tensor, dim: int, bounds: Sequence[int]) -> tuple[Tensor, ...]:
    lead = (slice(None),) * dim
    outs = tuple([slice_op(input, index=(*lead, slice(bounds[i], bounds[i + 1]))) for i in range(len(bounds) - 1)])
    covers = bounds[0] == 0 and bounds[-1] == input._array.shape[dim] and list(bounds) == sorted(bounds)
    return _together(input, outs, dim, "cat") if covers else outs


def _nonscalar(name: str, input: Tensor, dim: int) -> int:
    if not input._array.shape:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return normalize_dim(dim, input.ndim)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(5, 4), 2), s.call(s(5, 4), [1, 3], dim=-1), s.call(s(6), 3), s.call(s(0, 2), 3)],
)
def split(
    tensor: Tensor, split_size: Any = None, dim: int = 0, *, split_size_or_sections: Any = None
) -> tuple[Tensor, ...]:
    """Views of `split_size` positions each along `dim` (the last may be shorter), or of the sizes in a list."""
    if split_size is None:
        split_size = split_size_or_sections
    if not isinstance(split_size, int):
        return split_with_sizes(tensor, split_size, dim)
    dim = _nonscalar("split", tensor, dim)
    size = tensor._array.shape[dim]
    if split_size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={split_size}")
    if split_size == 0:
        if size:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}")
        return _pieces(tensor, dim, (0, 0))
    return _pieces(tensor, dim, (*range(0, size, split_size), size) if size else (0, 0))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(5, 4), [2, 3]), s.call(s(5, 4), [1, 0, 3], -1)])
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of the given sizes along `dim`. Raises RuntimeError unless they sum to its size."""
    dim = _nonscalar("split", input, dim)
    sizes = [n.__index__() for n in split_sizes]
    if any(n < 0 for n in sizes):
        raise RuntimeError(f"split_with_sizes expects split_sizes have only non-negative entries, but got {sizes}")
    size = input._array.shape[dim]
    if sum(sizes) != size:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension {dim}), "
            f"but got split_sizes={sizes}"
        )
    return _pieces(input, dim, [sum(sizes[:i]) for i in range(len(sizes) + 1)])


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(5, 4), 2), s.call(s(5, 4), 3, -1), s.call(s(2), 5), s.call(s(5), 4)]
)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size along `dim`, the last of them maybe shorter."""
    dim = _nonscalar("chunk", input, dim)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input._array.shape[dim]
    if not size:
        return _pieces(input, dim, (0,) * (chunks + 1))
    return split(input, -(-size // chunks), dim)


def _section_bounds(size: int, indices_or_sections: Any) -> list[int]:
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        if n <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {n}")
        return [i * (size // n) + min(i, size % n) for i in range(n + 1)]
    points = [slice(None, i).indices(size)[1] for i in indices_or_sections]
    return [0, *points, size]


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        s.call(s(7, 4), 3),
        s.call(s(7, 4), (1, 5)),
        s.call(s(4, 7), (2, 3, 9), 1),
        s.call(s(3), (2, 1)),
    ],
)
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of `n` nearly equal sections along `dim`, or cut before each of the given indices."""
    dim = _nonscalar("tensor_split", input, dim)
    return _pieces(input, dim, _section_bounds(input._array.shape[dim], indices_or_sections))


def _along(name: str, least: int, dim_of: Any) -> Any:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, but got a "
                f"tensor with {input.ndim} dimensions!"
            )
        dim = dim_of(input.ndim)
        size = input._array.shape[dim]
        if isinstance(indices_or_sections, int) and (indices_or_sections <= 0 or size % indices_or_sections):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {size} is not "
                f"divisible by the split_size {indices_or_sections}!"
            )
        return tensor_split(input, indices_or_sections, dim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`tensor_split` along dimension {least - 1}; a number of sections must divide its size."
    return function


hsplit = public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 4), 2), s.call(s(4), (1, 3))])(
    _along("hsplit", 1, lambda ndim: 0 if ndim == 1 else 1)
)
vsplit = public("naiad", "Tensor", samples=lambda s: [s.call(s(4, 2), 2)])(_along("vsplit", 2, lambda ndim: 0))
dsplit = public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3, 4), 2)])(_along("dsplit", 3, lambda ndim: 2))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), -1), s.call(s(3))])
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """One view per position along `dim`, which vanishes."""
    if not input._array.shape:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    dim = normalize_dim(dim, input.ndim)
    lead = (slice(None),) * dim
    outs = tuple([slice_op(input, index=(*lead, i, ...)) for i in range(input._array.shape[dim])])
    return _together(input, outs, dim, "stack")


# ---------------------------------------------------------------- diagonals
def _diagonal_of(shape: Shape, strides: Shape, offset: int, *, shift: int, dim1: int, dim2: int) -> tuple:
    rows, columns = shape[dim1], shape[dim2]
    length = max(min(rows, columns - shift) if shift >= 0 else min(rows + shift, columns), 0)
    if length:
        offset += shift * strides[dim2] if shift >= 0 else -shift * strides[dim1]
    rest = [d for d in range(len(shape)) if d not in (dim1, dim2)]
    sizes, steps = tuple(shape[d] for d in rest), tuple(strides[d] for d in rest)
    return (*sizes, length), (*steps, strides[dim1] + strides[dim2]), offset


@view(
    geometry=_diagonal_of,
    grad=lambda g, input_shape, shift, dim1, dim2: embed(
        g, diagonal_op, input_shape, shift=shift, dim1=dim1, dim2=dim2
    ),
)
def diagonal_op(input: np.ndarray, *, shift: int, dim1: int, dim2: int) -> np.ndarray:
    """The elements at (i, i + shift) of two dimensions, as a last dimension."""
    shape, strides, _ = _diagonal_of(input.shape, input.strides, 0, shift=shift, dim1=dim1, dim2=dim2)
    if 0 in shape:
        return np.ndarray(shape, input.dtype)
    start = (slice(-shift, None), slice(None)) if shift < 0 else (slice(None), slice(shift, None))
    index: list = [slice(None)] * input.ndim
    index[dim1], index[dim2] = start
    return np.lib.stride_tricks.as_strided(input[tuple(index)], shape, strides)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(3, 4)), s.call(s(3, 4), 1), s.call(s(2, 4, 3), -1, 1, 2), s.call(s(3, 3), 5)],
)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of the elements at (i, i + offset) of dimensions `dim1` and `dim2`, as a new last dimension."""
    a, b = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diagonal_op(input, shift=offset, dim1=a, dim2=b)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(3)), s.call(s(2, 3), 1), s.call(s(2, 3), -2, 0, 2), s.call(s(2, 2), dim1=0, dim2=1)],
)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros with the last dimension of `input` on a diagonal of dimensions `dim1` and `dim2`."""
    ndim = input.ndim + 1
    a, b = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(input._array.shape[:-1])
    side = input._array.shape[-1] + abs(offset)
    for d in sorted((a, b)):
        shape.insert(d, side)
    return embed(input, diagonal_op, tuple(shape), shift=offset, dim1=a, dim2=b)


# ---------------------------------------------------------------- writing into a copy
@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 4), s(4), 0, 1), s.call(s(3, 4), s(3), -1, -1)])
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` at one position along `dim`."""
    dim = normalize_dim(dim, input.ndim)
    return scatter_window(input, src, slice_op.op, {"index": _at(dim, index)})


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(5, 4), s(2, 4), 0, 1, 3), s.call(s(3, 4), s(3, 2), -1, None, None, 2)],
)
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` in the positions `start:end:step` along `dim`."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    dim = normalize_dim(dim, input.ndim)
    return scatter_window(input, src, slice_op.op, {"index": _at(dim, slice(start, end, step))})


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 3), s(3)), s.call(s(3, 4), s(2), -1)])
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal of dimensions `dim1` and `dim2`."""
    given = {"shift": offset, "dim1": normalize_dim(dim1, input.ndim), "dim2": normalize_dim(dim2, input.ndim)}
    return scatter_window(input, src, diagonal_op.op, given)
