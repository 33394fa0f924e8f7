"""Views: the same memory with another geometry."""

from __future__ import annotations

from functools import lru_cache
from operator import index
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as numpy_as_strided

from naiad.core.op import public
from naiad.core.primitive import view
from naiad.core.storage import stride
from naiad.core.strided import broadcast_strides, reshape_strides
from naiad.core.tensor import Tensor, normalize_dim
from naiad.ops.convert import clone_op

Shape = tuple[int, ...]


def _permuted(shape: Shape, strides: Shape, offset: int, *, dims: Shape) -> tuple:
    return tuple(shape[d] for d in dims), tuple(strides[d] for d in dims), offset


def inverse(dims: Shape) -> Shape:
    """The permutation that undoes `dims`."""
    return tuple(int(i) for i in np.argsort(dims))


@view(geometry=_permuted, grad=lambda g, dims: permute_op(g, dims=inverse(dims)))
def permute_op(input: np.ndarray, *, dims: Shape) -> np.ndarray:
    """Dimensions in another order."""
    return input.transpose(dims)


@public(
    "naiad",
    "Tensor",
    aliases=("swapaxes", "swapdims"),
    samples=lambda s: [s.call(s(2, 3, 4), 0, -1), s.call(s(2, 3), 0, 1)],
)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions swapped."""
    return permute_op(input, dims=_swapped(input._array.ndim, dim0, dim1))


@lru_cache(1024)
def _swapped(ndim: int, dim0: int, dim1: int) -> Shape:
    a, b = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    dims = list(range(ndim))
    if ndim:
        dims[a], dims[b] = dims[b], dims[a]
    return tuple(dims)


def _expanded(shape: Shape, strides: Shape, offset: int, *, size: Shape) -> tuple:
    lead = len(size) - len(shape)
    if lead < 0 or any(n != 1 and n != w for n, w in zip(shape, size[lead:], strict=False)):
        raise RuntimeError(
            f"expand: the expanded size {list(size)} must match the existing size {list(shape)} at non-singleton "
            "dimensions, counted from the last"
        )
    return size, broadcast_strides(shape, strides, size), offset


@view(geometry=_expanded, grad=lambda g, input_shape: sum_to(g, input_shape))
def expand_op(input: np.ndarray, *, size: Shape) -> np.ndarray:
    """Size-1 and new leading dimensions repeated without copying."""
    if not input.ndim:  # any gradient of a full sum: quicker than as_strided
        return np.ndarray(size, input.dtype, input, 0, (0,) * len(size))
    lead = len(size) - input.ndim
    _expanded(input.shape, input.strides, 0, size=size)
    kept = [0 if n == 1 and w != 1 else s for n, s, w in zip(input.shape, input.strides, size[lead:], strict=True)]
    return numpy_as_strided(input, size, (0,) * lead + tuple(kept))


def sum_to(g: Tensor, shape: Shape) -> Tensor:
    """Sum a gradient over the dimensions along which its operand was broadcast."""
    have = g._array.shape
    lead = len(have) - len(shape)
    dims = tuple(range(lead))
    if have[lead:] != shape:
        dims += tuple(i + lead for i, n in enumerate(shape) if n == 1 and have[i + lead] != 1)
    if dims:
        g = _reduction.sum_dims(g, dim=dims, keepdim=False)
    return g if g._array.shape == shape else reshape_op(g, size=shape)


@public("Tensor", samples=lambda s: [s.call(s(3, 1), 2, -1, 4), s.call(s(1), (5,)), s.call(s(), 2)])
def expand(self: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """A view with size-1 dimensions repeated; -1 keeps a size."""
    if size is not None:
        sizes = size
    wanted = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else list(sizes)
    lead = len(wanted) - self.ndim
    for i, n in enumerate(wanted):
        if n == -1:
            if i < lead:
                raise RuntimeError(
                    f"expand: -1 keeps a size, but dimension {i} of {wanted} is new to {list(self.shape)}"
                )
            wanted[i] = self._array.shape[i - lead]
    return expand_op(self, size=tuple(wanted))


def _reshaped(shape: Shape, strides: Shape, offset: int, *, size: Shape) -> tuple:
    found = reshape_strides(shape, strides, size)
    if found is None:
        raise RuntimeError(
            f"view size is not compatible with input tensor's size and stride: {list(shape)} with strides "
            f"{list(strides)} as {list(size)} (at least one dimension spans across two contiguous subspaces). "
            "Use .reshape(...) instead."
        )
    return size, found, offset


@view(geometry=_reshaped, grad=lambda g, input_shape: reshape(g, input_shape))
def reshape_op(input: np.ndarray, *, size: Shape) -> np.ndarray:
    """Another shape over the same elements in the same order, where a view can show it."""
    if input.flags.c_contiguous:
        return input.reshape(size)
    _, found, _ = _reshaped(input.shape, stride(input), 0, size=size)
    return numpy_as_strided(input, size, tuple(s * input.itemsize for s in found))


def inferred_size(name: str, numel: int, shape: Shape, size: Shape) -> Shape:
    """`size` with its -1 filled in. Raises RuntimeError where the element counts differ."""
    known, unknown = 1, -1
    for i, n in enumerate(size):
        if n == -1 and unknown < 0:
            unknown = i
        elif n < 0:
            raise RuntimeError(f"{name}: invalid shape dimension {n} in {list(size)}: at most one -1 can be inferred")
        else:
            known *= n
    if unknown >= 0 and known and numel % known == 0:
        return (*size[:unknown], numel // known, *size[unknown + 1 :])
    if unknown >= 0 or known != numel:
        raise RuntimeError(f"{name}: shape '{list(size)}' is invalid for input of size {numel} (shape {list(shape)})")
    return size


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 6), (3, 4)), s.call(s(4, 3), (-1,)), s.call(s(2, 3, 2), (6, -1))]
)
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The elements in another shape: a view where possible, else a copy. One size may be -1."""
    if shape is not None:
        sizes = tuple(shape)
    wanted = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    array = input._array
    contiguous = array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous
    size = inferred_size("reshape", array.size, array.shape, tuple(map(index, wanted)))
    if contiguous or array.shape == size:
        return reshape_op(input, size=size)
    if reshape_strides(array.shape, stride(array), size) is None:
        input = clone_op(input)
    return reshape_op(input, size=size)


# Last, because it needs what is above; inside `sum_to` the import would cost more than the rest of the call.
import naiad.ops.reduction as _reduction  # noqa: E402
