"""Views and their histories.

A view remembers its base and the chain of view ops that leads there. When someone writes into the base or into
another view of it, histories are rewritten as PyTorch does: the base becomes the result of that write, and every other
live view is derived from the base anew. A base's version cell keeps weak references to its views for that.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from naiad.core.dispatch import apply
from naiad.core.op import Op
from naiad.core.tensor import Tensor, wrap


class ViewOf(NamedTuple):
    """Where a view comes from: `apply` each op of the chain to the base in turn."""

    base: Tensor
    chain: tuple[tuple[Op, dict], ...]

    def replay(self, tensor: Tensor) -> Tensor:
        """What this view shows, of another tensor of the base's shape."""
        for op, attrs in self.chain:
            tensor = apply(op, (tensor,), attrs)
        return tensor


class _Unrecorded:
    """What a view made under no_grad has for a base: nobody knows its history."""

    base = None
    chain = ()


UNRECORDED: Any = _Unrecorded()


def link_view(x: Tensor, out: Tensor, op: Op, attrs: dict) -> None:
    """Note that `out` is a view of `x`."""
    above = x._base
    if above is UNRECORDED:
        out._base = above
        return
    step = ((op, attrs),)
    out._base = ViewOf(x, step) if above is None else ViewOf(above.base, above.chain + step)
    cell = x._version
    if cell[1] is None:
        cell[1] = set()
    cell[1].add(weakref.ref(out, cell[1].discard))


def refresh_views(base: Tensor, but: Tensor | None = None) -> None:
    """After a recorded write: derive the histories of the live views of `base` from its new one."""
    for reference in list(base._version[1] or ()):
        view = reference()
        if view is None or view is but or view._base is None or view._base.base is not base:
            continue
        fresh = view._base.replay(alias(base))
        view._node, view._needs_grad = fresh._node, fresh._needs_grad


def alias(x: Tensor) -> Tensor:
    """Another handle on the same array with the same history and no views of its own."""
    out = wrap(x._array, x._dtype, x._device)
    out._node, out._needs_grad = x._node, x._needs_grad
    out._version = [x._version[0], None]
    return out
