"""Shape functions: view, flatten, squeeze, permute and the like. All are views where PyTorch returns views."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from operator import index as as_int
from typing import Any

import numpy as np

from naiad.core.caution import warn
from naiad.core.dtype import dtype as DType
from naiad.core.op import public
from naiad.core.primitive import view as view_entry
from naiad.core.storage import stride
from naiad.core.strided import DeviceArray, broadcast_shapes
from naiad.core.tensor import Tensor, normalize_dim, wrap
from naiad.ops.movement import expand_op, inferred_size, permute_op, reshape, reshape_op

Shape = tuple[int, ...]


def flat_args(args: tuple) -> Shape:
    """Sizes or dimensions given as one sequence or one by one."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    return tuple(map(as_int, args))


@public(
    "Tensor",
    # Dimensions are only cut apart here, which works for the strided tensors of the suite as well.
    samples=lambda s: [s.call(s(2, 6), 2, 3, 2), s.call(s(4), -1, 2), s.call(s(2, 6), (2, -1, 3)), s.call(s(), 1, 1)],
)
def view(self: Tensor, *shape: Any, size: Any = None, dtype: DType | None = None) -> Tensor:
    """The same memory in another shape, one size of which may be -1, or read as another dtype: ``x.view(int32)``.

    Raises RuntimeError where the elements do not lie so that a view can show them.
    """
    if size is not None or dtype is not None or not shape:
        shape = (*shape, *(given for given in (size, dtype) if given is not None))
        if len(shape) != 1:
            raise TypeError(f"view(): expected the sizes or a dtype, got {shape}")
    size = shape
    if len(shape) == 1 and shape[0].__class__ is not int:
        if isinstance(shape[0], DType):
            return _view_dtype(self, shape[0])
        size = shape[0] if isinstance(shape[0], tuple) else flat_args(shape)
    array = self._array
    try:
        simple = -1 not in size and prod(size) == array.size and min(size, default=0) >= 0
    except TypeError:  # a tensor among the sizes
        simple = False
    if not simple or size.__class__ is not tuple:
        size = inferred_size("view", array.size, array.shape, flat_args((tuple(size),)))
    return reshape_op(self, size=size)


def _view_dtype(self: Tensor, of: DType) -> Tensor:
    array = self._array
    old, new = self._dtype.itemsize, of.itemsize
    if old != new:
        _check_dtype_view(self, of)
    if isinstance(array, DeviceArray):
        shape, strides = array.shape, array.strides
        if old != new:
            shape = (*shape[:-1], shape[-1] * old // new)
            strides = (*(s * old // new for s in strides[:-1]), 1)
        seen: Any = DeviceArray(array.buffer, shape, strides, array.offset * old // new, of.np)
    else:
        seen = array.view(of.np)
    out = wrap(seen, of, self._device)
    out._version = self._version
    return out


def _check_dtype_view(self: Tensor, of: DType) -> None:
    told = f"to view {self._dtype.name} as {of.name} (different element sizes)"
    if not self.ndim:
        raise RuntimeError(f"self.dim() cannot be 0 {told}")
    old, new = self._dtype.itemsize, of.itemsize
    steps, last = stride(self._array), self._array.shape[-1]
    if steps[-1] != 1 and last != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {told}, but got {steps[-1]}")
    if last * old % new:
        raise RuntimeError(f"self.size(-1) must be divisible by {new // old} {told}, but got {last}")
    if any(s * old % new for s in steps[:-1]):
        raise RuntimeError(f"strides must be divisible by {new // old} {told}, but got {list(steps)}")


@public("Tensor", samples=lambda s: [s.call(s(2, 6), s(2, 2, 3))])
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.view(other.size())`."""
    return view(self, other._array.shape)


@public("Tensor", samples=lambda s: [s.call(s(2, 6), s(3, 4))])
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.reshape(other.size())`."""
    return reshape(self, other._array.shape)


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [s.call(s(2, 3, 4)), s.call(s(2, 3, 4), 1), s.call(s(2, 3, 4), 0, -2), s.call(s()), s.call(s(3))],
)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` as one; a view where possible. A 0-d tensor becomes 1-d."""
    shape = input._array.shape
    ndim = len(shape)
    start, end = normalize_dim(start_dim, ndim), normalize_dim(end_dim, ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end and ndim:
        return input
    size = (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])
    array = input._array
    if array.__class__ is np.ndarray and array.flags.c_contiguous:
        return reshape_op(input, size=size)
    return reshape(input, size)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s())])
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension; a view where possible."""
    return reshape(input, (-1,)) if input.numel() else reshape(input, (0,))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(6, 2), 0, (2, 3)), s.call(s(2, 6), -1, (3, -1))])
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension `dim` as several of the given sizes, one of which may be -1."""
    shape = input._array.shape
    dim = normalize_dim(dim, len(shape))
    wanted = flat_args((tuple(sizes),))
    if not wanted:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        found = inferred_size("unflatten", shape[dim], shape[dim : dim + 1], wanted)
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(wanted)} don't multiply up to the size of dim {dim} ({shape[dim]}) in "
            "the input tensor"
        ) from None
    return reshape(input, (*shape[:dim], *found, *shape[dim + 1 :]))


# ---------------------------------------------------------------- dimensions of size 1
def _squeezed(shape: Shape, strides: Shape, offset: int, *, dims: Shape) -> tuple:
    kept = [i for i in range(len(shape)) if i not in dims]
    return tuple(shape[i] for i in kept), tuple(strides[i] for i in kept), offset


@view_entry(geometry=_squeezed, grad=lambda g, dims: unsqueeze_op(g, dims=dims))
def squeeze_op(input: np.ndarray, *, dims: Shape) -> np.ndarray:
    """Without some dimensions, which have size 1."""
    return input.squeeze(dims)


def _unsqueezed(shape: Shape, strides: Shape, offset: int, *, dims: Shape) -> tuple:
    sizes, steps = list(shape), list(strides)
    for d in dims:
        steps.insert(d, sizes[d] * steps[d] if d < len(sizes) else 1)
        sizes.insert(d, 1)
    return tuple(sizes), tuple(steps), offset


@view_entry(geometry=_unsqueezed, grad=lambda g, dims: squeeze_op(g, dims=dims))
def unsqueeze_op(input: np.ndarray, *, dims: Shape) -> np.ndarray:
    """With new dimensions of size 1 at places (in the result) that ascend."""
    if len(dims) == 1:
        return input[(slice(None),) * dims[0] + (None, ...)]
    # With an Ellipsis, or indexing a 0-d array by () would give a number.
    return input[(*[None if i in dims else slice(None) for i in range(input.ndim + len(dims))], ...)]


@public(
    "naiad",
    "Tensor",
    samples=lambda s: [
        *(s.call(s(2, 1, 3, 1)), s.call(s(2, 1, 3), 1), s.call(s(2, 1, 3), 0), s.call(s(2, 1, 1), (1, 2))),
        *(s.call(s(1, 3, 1), (0, 1)), s.call(s()), s.call(s(1, 1), -1)),
    ],
)
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """A view without the dimensions of size 1: all of them, or those in `dim`."""
    shape = input._array.shape
    if dim is None:
        dims = tuple(i for i, n in enumerate(shape) if n == 1)
    elif isinstance(dim, int):
        dim = normalize_dim(dim, len(shape))
        dims = (dim,) if shape and shape[dim] == 1 else ()
    else:
        found = [normalize_dim(d, len(shape)) for d in dim]
        if len(set(found)) != len(found):
            raise RuntimeError(f"dim {list(dim)} appears multiple times in the list of dims")
        dims = tuple(sorted(d for d in found if shape and shape[d] == 1))
    return squeeze_op(input, dims=dims)


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3), 0), s.call(s(2, 3), -1), s.call(s(2, 3), 1), s.call(s(), 0)]
)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a dimension of size 1 inserted before dimension `dim` of the result."""
    return unsqueeze_op(input, dims=(normalize_dim(as_int(dim), input._array.ndim + 1),))


def _at_least(n: int) -> Any:
    def function(*tensors: Any) -> Any:
        if len(tensors) != 1:
            return tuple(map(function, tensors))
        x = tensors[0]
        if isinstance(x, (tuple, list)):
            return tuple(map(function, x))
        missing = n - x.ndim
        if missing <= 0:
            return x
        if n == 3 and x.ndim == 2:
            return unsqueeze_op(x, dims=(2,))
        if n == 3:  # a vector becomes (1, n, 1)
            return reshape(x, (1, x.numel(), 1))
        return unsqueeze_op(x, dims=tuple(range(missing)))

    function.__name__ = function.__qualname__ = f"atleast_{n}d"
    function.__doc__ = f"A view of each tensor with at least {n} dimension{'s' if n > 1 else ''}."
    return function


atleast_1d, atleast_2d, atleast_3d = (
    public("naiad", samples=lambda s: [s.call(s()), s.call(s(3)), s.call(s(2, 3)), s.call([s(), s(2)])])(_at_least(n))
    for n in (1, 2, 3)
)


# ---------------------------------------------------------------- the order of dimensions
@lru_cache(1024)
def _order(dims: Shape, ndim: int) -> Shape:
    """An order of all dimensions, counted from the front."""
    if len(dims) != ndim:
        raise RuntimeError(
            "permute: number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(dims)}"
        )
    found = tuple([normalize_dim(as_int(d), ndim) for d in dims])
    if len(set(found)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return found


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3, 4), (2, 0, 1)), s.call(s(2, 3), (-1, 0)), s.call(s(), ())])
def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """A view with the dimensions in another order."""
    if dims is not None:
        order = (dims,)
    given = order[0] if len(order) == 1 and isinstance(order[0], (tuple, list)) else order
    return permute_op(input, dims=_order(tuple(given), input._array.ndim))


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s(3)), s.call(s())])
def t(input: Tensor) -> Tensor:
    """A view of a matrix with rows and columns swapped; vectors and 0-d tensors as they are."""
    ndim = input._array.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return permute_op(input, dims=(1, 0) if ndim == 2 else tuple(range(ndim)))


def _property(function: Any) -> Any:
    """Publish as a property of Tensor."""
    function.is_property = True
    return public("Tensor")(function)


@_property
def T(self: Tensor) -> Tensor:
    """A view with all dimensions in reverse order."""
    ndim = self._array.ndim
    if ndim not in (0, 2):
        warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it will "
            "throw an error in a future release. Consider `x.mT` to transpose batches of matrices or "
            "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor."
        )
    return permute_op(self, dims=tuple(range(ndim - 1, -1, -1)))


@_property
def mT(self: Tensor) -> Tensor:
    """A view with the last two dimensions swapped."""
    ndim = self._array.ndim
    if ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor.")
    return permute_op(self, dims=(*range(ndim - 2), ndim - 1, ndim - 2))


def _conj(x: Tensor) -> Tensor:
    return x.conj() if x.is_complex() else x


@_property
def H(self: Tensor) -> Tensor:
    """A matrix transposed and conjugated."""
    if self.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor. For batches of "
            "matrices, consider using tensor.mH"
        )
    return _conj(t(self))


@_property
def mH(self: Tensor) -> Tensor:
    """Matrices in the last two dimensions transposed and conjugated."""
    return adjoint(self)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s(2, 3, 4))])
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions swapped, and the values conjugated."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return _conj(mT(input))


@public(
    "naiad",
    "Tensor",
    aliases=("moveaxis",),
    samples=lambda s: [s.call(s(2, 3, 4), 0, -1), s.call(s(2, 3, 4), (0, 1), (2, 0)), s.call(s(2), 0, 0)],
)
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """A view with dimensions moved to new places, the others in their order."""
    ndim = input.ndim
    sources, targets = ((d,) if isinstance(d, int) else tuple(d) for d in (source, destination))
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should contain the same "
            f"number of dims as destination ({list(targets)} dims)"
        )
    sources, targets = (tuple(normalize_dim(d, ndim) for d in dims) for dims in (sources, targets))
    for name, dims in (("source", sources), ("destination", targets)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    order = [d for d in range(ndim) if d not in sources]
    for target, d in sorted(zip(targets, sources, strict=True)):
        order.insert(target, d)
    return permute_op(input, dims=tuple(order))


# ---------------------------------------------------------------- broadcasting
@public("Tensor", samples=lambda s: [s.call(s(3, 1), s(2, 3, 4))])
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.expand(other.size())`."""
    return expand_op(self, size=other._array.shape)


@public("naiad", "Tensor", samples=lambda s: [s.call(s(3, 1), (2, 3, 4)), s.call(s(1), (5,))])
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """A view of `input` with the shape `size`, repeated without copying."""
    return input.expand(size)


@public("naiad", samples=lambda s: [s.call(s(3, 1), s(1, 4)), s.call(s(2, 1, 2), s(3, 1), s())])
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of all tensors with their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    size = broadcast_shapes([x._array.shape for x in given])
    return tuple(expand_op(x, size=size) for x in given)
