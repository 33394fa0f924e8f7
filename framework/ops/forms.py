"""Shapes that many public functions share: in-place forms, NumPy's spelling of arguments, named results, `out=`."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from naiad.core.dispatch import deliver
from naiad.core.guard import SPELLINGS
from naiad.core.inplace import check_result
from naiad.core.op import publish
from naiad.core.state import current
from naiad.core.tensor import Tensor
from naiad.ops.convert import clone_op


def inplace_form(function: Callable, *names: str, namespaces: tuple[str, ...] = ("Tensor",)) -> Callable:
    """Publish `name_` for a function composed of ops: its result is written into the first operand.

    Ops of their own have a quicker form (`naiad.core.inplace.publish_inplace`).
    """
    name = names[0]

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # What the function saves for backward is about to be overwritten, so it works on a copy then.
        recorded = current().grad and any(isinstance(x, Tensor) and x._needs_grad for x in (self, *args))
        result = function(clone_op(self) if recorded else self, *args, **kwargs)
        check_result(name, self, result._array.shape, result._dtype)
        return self.copy_(result)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place version of `{name.rstrip('_')}`; returns `self`."
    publish(name, call, namespaces, names[1:])
    return call


def numpy_names(function: Callable) -> Callable:
    """Let callers write `axis=` and `keepdims=` for `dim=` and `keepdim=`, as PyTorch does."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for theirs, ours in SPELLINGS.items():
                if theirs in kwargs:
                    if ours in kwargs:
                        raise TypeError(f"{function.__name__}(): got both {ours}= and {theirs}=, which are the same")
                    kwargs[ours] = kwargs.pop(theirs)
        return function(*args, **kwargs)

    return call


def in_order(array: np.ndarray) -> np.ndarray:
    """The array with its elements in order in memory: what NumPy makes of transposed operands may be transposed too,
    where PyTorch's result is contiguous and can be viewed in any shape."""
    return np.asarray(array, order="C")


def named(name: str, *fields: str) -> Any:
    """A named tuple for a function with several results: `return_types.max(values, indices)`."""
    base = namedtuple(name, fields)  # type: ignore[misc]

    def show(self: Any) -> str:
        shown = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True))
        return f"naiad.return_types.{name}(\n{shown})"

    made = type(name, (base,), {"__slots__": (), "__repr__": show, "__module__": "naiad.return_types"})
    RETURN_TYPES[name] = made
    return made


RETURN_TYPES: dict[str, Any] = {}


def into(result: Any, out: Any) -> Any:
    """A result, or `out` after the result has been written there; for several results `out` is a tuple."""
    if out is None:
        return result
    if isinstance(result, tuple):
        return type(result)(*[deliver(r, o) for r, o in zip(result, out, strict=True)])
    return deliver(result, out)
