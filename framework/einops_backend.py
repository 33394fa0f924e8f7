"""einops on tensors: a backend for it, made when both einops and naiad have been imported, in either order.

einops finds backends as subclasses of its own base class, so the class can only be made once einops is there. If it
comes later than naiad, a finder that answers for this one module waits for it, and goes away then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from naiad.core.op import PUBLIC
from naiad.core.tensor import Tensor

_MODULE = "einops._backends"
_functions = PUBLIC["naiad"]
_registered: list[type] = []  # a class knows its subclasses weakly: without this the collector would take ours


def install() -> None:
    """Register the backend now if einops has been imported, else as soon as it is."""
    module = sys.modules.get(_MODULE)
    if module is not None:
        register(module)
    else:
        sys.meta_path.insert(0, _Waiting())


def register(module: ModuleType) -> type:
    """Make einops's backend for naiad; being a subclass of its base class is all that einops asks."""

    class NaiadBackend(module.AbstractBackend):  # type: ignore[name-defined]
        framework_name = "naiad"

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, Tensor)

        def from_numpy(self, x: Any) -> Tensor:
            return _functions["from_numpy"](x)

        def to_numpy(self, x: Any) -> Any:
            return x.detach().cpu().numpy()

        def arange(self, start: int, stop: int) -> Tensor:
            return _functions["arange"](start, stop)

        def transpose(self, x: Any, axes: Sequence[int]) -> Tensor:
            return x.permute(tuple(axes))

        def reduce(self, x: Any, operation: str, axes: Sequence[int]) -> Tensor:
            if operation in ("any", "all", "prod"):
                for axis in sorted(axes, reverse=True):
                    x = getattr(x, operation)(dim=axis)
                return x
            return getattr(x, {"min": "amin", "max": "amax"}.get(operation, operation))(dim=tuple(axes))

        def stack_on_zeroth_dimension(self, tensors: list) -> Tensor:
            return _functions["stack"](tensors)

        def add_axis(self, x: Any, new_position: int) -> Tensor:
            return x.unsqueeze(new_position)

        def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, int]) -> Tensor:
            size = [-1] * n_axes
            for position, length in pos2len.items():
                x, size[position] = x.unsqueeze(position), length
            return x.expand(size)

        def tile(self, x: Any, repeats: Sequence[int]) -> Tensor:
            return x.repeat(tuple(repeats))

        def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
            return _functions["cat"](tensors, axis)

        def is_float_type(self, x: Any) -> bool:
            return x.is_floating_point()

        def einsum(self, pattern: str, *x: Tensor) -> Tensor:
            return _functions["einsum"](pattern, *x)

    _registered.append(NaiadBackend)
    return NaiadBackend


class _Waiting:
    """A finder that registers the backend once einops's own module has been executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
