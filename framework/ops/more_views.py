"""Views changed in place (squeeze_ and the like), and the rarer names around shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from naiad.core import strided
from naiad.core.dtype import INT
from naiad.core.layout import layout
from naiad.core.layout import strided as strided_layout
from naiad.core.op import PUBLIC, public
from naiad.core.state import current
from naiad.core.tensor import Size, Tensor
from naiad.ops.creation import as_subclass
from naiad.ops.movement import sum_to, transpose
from naiad.ops.shape import squeeze, t, unsqueeze
from naiad.ops.strides import as_strided
from naiad.ops.windows import chunk, narrow_copy, split, split_with_sizes


# ---------------------------------------------------------------- geometry changed in place
def _in_place(function: Callable, *names: str) -> None:
    """Publish `name_`, after which a tensor is what `name` shows of it."""

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._needs_grad and self._node is None and current().grad:
            raise RuntimeError(
                f"{names[0]}: a leaf Variable that requires grad is being used in an in-place operation. Use "
                f"{names[0][:-1]}() for a view of it"
            )
        seen = function(self, *args, **kwargs)
        if seen is self:
            return self
        self._array = seen._array
        if seen._node is not None:
            self._node, self._needs_grad = seen._node, True
        if self._base is not None:
            self._base = seen._base
        return self

    call.__name__ = call.__qualname__ = names[0]
    call.__doc__ = f"Make this tensor the view that `{names[0][:-1]}` gives."
    for name in names:
        PUBLIC["Tensor"][name] = call


_in_place(squeeze, "squeeze_")
_in_place(unsqueeze, "unsqueeze_")
_in_place(t, "t_")
_in_place(transpose, "transpose_", "swapaxes_", "swapdims_")
_in_place(as_strided, "as_strided_")
PUBLIC["naiad"]["as_strided_"] = PUBLIC["Tensor"]["as_strided_"]


@public("naiad", "Tensor")
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of `input` with `src` in the places that `as_strided` would show."""
    out = input.clone()
    seen = as_strided(out, size, stride, storage_offset)
    if seen._array.shape != src._array.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(seen.shape)}"
        )
    seen.copy_(src)
    return out


# ---------------------------------------------------------------- pieces under other names
for _name, _function in (
    ("unsafe_chunk", chunk),
    ("unsafe_split", split),
    ("unsafe_split_with_sizes", split_with_sizes),
):
    PUBLIC["naiad"][_name] = PUBLIC["Tensor"][_name] = _function
PUBLIC["Tensor"]["narrow_copy"] = narrow_copy


# ---------------------------------------------------------------- shapes
@public("naiad")
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to. Raises RuntimeError where they do not."""
    return Size(strided.broadcast_shapes([(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


@public("Tensor", samples=lambda s: [s.call(s(2, 3, 4), 3, 1), s.call(s(2, 3), (1, 3)), s.call(s(2), 2)])
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions along which a tensor of `size` would be broadcast to this one's shape."""
    wanted = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    have = self._array.shape
    lead = len(have) - len(wanted)
    if lead < 0 or any(w not in (1, n) for n, w in zip(have[lead:], wanted, strict=True)):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(have)}}}.")
    return sum_to(self, wanted)


@public("naiad", samples=lambda s: [s.call(s.fixed([5, 7, 11]), (3, 4)), s.call(s.fixed([[1], [23]]), (2, 3, 4))])
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of `shape`, of the elements with the numbers `indices`; one tensor per dimension."""
    if not isinstance(indices, Tensor) or indices._dtype.kind != INT:
        raise ValueError(f"unravel_index(): expected 'indices' to be an integer tensor, not {indices!r:.60}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    return tuple((indices // prod(sizes[d + 1 :])) % n for d, n in enumerate(sizes))


# ---------------------------------------------------------------- facts
def _layout(self: Tensor) -> layout:
    """How the elements are stored: always naiad.strided."""
    return strided_layout


def _as_subclass(self: Tensor, cls: type) -> Any:
    """This tensor as an instance of a subclass of Tensor; both share memory and history."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass(): {cls!r} is not a subclass of Tensor")
    return as_subclass(self, cls)


_layout.is_property = True  # type: ignore[attr-defined]
PUBLIC["Tensor"].update({"layout": _layout, "as_subclass": _as_subclass})
