"""max, min and their positions; all and any; how many are not zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.core.dtype import bool as bool_
from naiad.core.dtype import int64, uint8
from naiad.core.op import public
from naiad.core.primitive import primitive
from naiad.core.tensor import Tensor, normalize_dim, normalize_dims
from naiad.ops.bounds import maximum, minimum
from naiad.ops.convert import cast
from naiad.ops.forms import in_order, into, named, numpy_names
from naiad.ops.picking import spread_at
from naiad.ops.reduction import Dims, amax, amin, reduced_shape


def one_dim(name: str, input: Tensor, dim: Any) -> int:
    """A dimension with something in it, counted from the front. Raises IndexError, TypeError."""
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): dim must be an int, not {type(dim).__name__}: {dim!r:.80}")
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and not input._array.shape[dim]:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    return dim


def picked_rule(input: Tensor, *, dim: int, keepdim: bool) -> list:
    """The rule of ops with results (values, indices) over one dimension."""
    if input._dtype.kind == 3:
        raise RuntimeError(f"complex numbers have no order: {input.dtype} tensor of shape {list(input.shape)}")
    shape = reduced_shape(input._array.shape, (dim,), keepdim)
    return [(shape, input._dtype), (shape, int64)]


def picked_grad(g: Tensor, out1: Tensor, input_shape: tuple, dim: int, keepdim: bool) -> Tensor:
    """The gradient goes to the element that was picked."""
    return spread_at(g, out1, input_shape, dim, keepdim)


def _with_index(name: str, reduce: Callable, position: Callable) -> Callable:
    @primitive(name=name, rule=picked_rule, kernel=f"extremes.{name}", outputs=2, grad=(picked_grad,))
    def op(input: np.ndarray, *, dim: int, keepdim: bool) -> tuple:
        if input.dtype.kind == "c":
            raise TypeError("complex")
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        return in_order(reduce(input, dim, keepdims=keepdim)), in_order(position(input, dim, keepdims=keepdim))

    return op


_max_op, _min_op = _with_index("max", np.maximum.reduce, np.argmax), _with_index("min", np.minimum.reduce, np.argmin)
_MISSING: Any = object()
_SAMPLES: dict[str, Any] = dict(
    samples=lambda s: [
        s.call(s(2, 3)),
        s.call(s(2, 3), 1),
        s.call(s(3, 4, 2), -2, True),
        s.call(s(3, 4), dim=0, keepdim=True),
        s.call(s(2, 3), s(3)),
        s.call(s.ints(5), 0),
        s.call(s()),
    ]
)


def _extreme(name: str, op: Callable, all_of: Callable, of_two: Callable) -> Callable:
    result = named(name, "values", "indices")

    @numpy_names
    def call(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
        if dim is None:
            if isinstance(other, Tensor):
                return into(of_two(input, other), out)
            if not input.numel():
                raise RuntimeError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            return into(all_of(input, dim=normalize_dims(None, input.ndim), keepdim=False), out)
        if isinstance(dim, Tensor):
            return into(of_two(input, dim), out)
        values, indices = op(input, dim=one_dim(name, input, dim), keepdim=bool(keepdim))
        return into(result(values, indices), out)

    call.__name__ = call.__qualname__ = name
    which = "largest" if name == "max" else "smallest"
    call.__doc__ = (
        f"The {which} element; with `dim` a named tuple (values, indices) over that dimension; with another tensor "
        f"the {which} of each pair. NaN wins."
    )
    return public("naiad", "Tensor", name=name, **_SAMPLES)(call)


max = _extreme("max", _max_op, amax.dims, maximum)  # type: ignore[attr-defined]
min = _extreme("min", _min_op, amin.dims, minimum)  # type: ignore[attr-defined]
AminmaxResult = named("aminmax", "min", "max")


@public(
    "naiad", "Tensor", samples=lambda s: [s.call(s(2, 3)), s.call(s(2, 3), dim=1), s.call(s(2, 3), dim=0, keepdim=True)]
)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False, out: Any = None) -> Any:
    """The named tuple (min, max) of all elements or over one dimension."""
    dims = tuple(range(input.ndim)) if dim is None else (one_dim("aminmax", input, dim),) if input.ndim else ()
    if not input.numel() and dim is None:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    found = AminmaxResult(*[f.dims(input, dim=dims, keepdim=keepdim) for f in (amin, amax)])  # type: ignore[attr-defined]
    return into(found, out)


# ---------------------------------------------------------------- positions
def _arg_rule(input: Tensor, *, dim: int | None, keepdim: bool) -> tuple:
    if input._dtype.kind in (0, 3):
        raise RuntimeError(f"argmax() and argmin() do not support {input.dtype} input")
    dims = tuple(range(input.ndim)) if dim is None else (dim,)
    return reduced_shape(input._array.shape, dims, keepdim), int64


def _argument(name: str, position: Callable) -> Callable:
    @primitive(name=name, rule=_arg_rule, kernel=f"extremes.{name}")
    def op(input: np.ndarray, *, dim: int | None, keepdim: bool) -> np.ndarray:
        if input.dtype.kind in "bc":
            raise TypeError("bool or complex")
        return position(input, dim if input.ndim else None, keepdims=keepdim)

    @numpy_names
    def call(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
        if dim is None:
            if not input.numel():
                raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        else:
            dim = one_dim(name, input, dim)
        return into(op(input, dim=dim, keepdim=keepdim), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The position of the first {name[3:]}imum: in the flattened tensor, or along `dim`."
    samples = lambda s: [s.call(s(2, 3)), s.call(s(2, 3), 1), s.call(s(3, 4), dim=0, keepdim=True), s.call(s.ints(5))]  # noqa: E731
    return public("naiad", "Tensor", name=name, samples=samples)(call)


argmax, argmin = _argument("argmax", np.argmax), _argument("argmin", np.argmin)


# ---------------------------------------------------------------- truth
def _truth_rule(input: Tensor, *, dim: Dims, keepdim: bool) -> tuple:
    return reduced_shape(input._array.shape, dim, keepdim), bool_


def _truth(name: str, reduce: Callable) -> Callable:
    @primitive(name=name, rule=_truth_rule, kernel=f"reduce.{name}", parts="test", widen=False)
    def op(input: np.ndarray, *, dim: Dims, keepdim: bool) -> np.ndarray:
        if input.dtype.kind != "b":
            input = input != 0
        return reduce(input, dim, keepdims=keepdim)

    @numpy_names
    def call(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
        found = op(input, dim=normalize_dims(dim, input.ndim), keepdim=keepdim)
        return into(cast(found, dtype=uint8) if input._dtype is uint8 else found, out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Whether {name} elements are nonzero, of all or over `dim` (one or several)."
    samples = lambda s: [  # noqa: E731
        s.call(s.bools(2, 3)),
        s.call(s.bools(2, 3), 1),
        s.call(s.ints(3, 4, high=2), dim=(0, 1), keepdim=True),
        s.call(s.ints(3, high=2, dtype="uint8")),
        s.call(s.fixed([0.0, float("nan")])),
        s.call(s.bools(0, 2)),
    ]
    return public("naiad", "Tensor", name=name, samples=samples)(call)


all, any = _truth("all", np.logical_and.reduce), _truth("any", np.logical_or.reduce)


@primitive(
    name="count_nonzero",
    rule=lambda input, *, dim: (reduced_shape(input._array.shape, dim, False), int64),
    kernel="reduce.count_nonzero",
    parts="test",
    widen=False,
)
def count_nonzero_op(input: np.ndarray, *, dim: Dims) -> np.ndarray:
    """How many are not 0."""
    return np.count_nonzero(input != 0, dim)


@public("naiad", "Tensor", samples=lambda s: [s.call(s.ints(3, 4, high=2)), s.call(s.ints(3, 4, high=2), 1)])
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0, of all or over `dim`, as int64."""
    return count_nonzero_op(input, dim=normalize_dims(dim, input.ndim))
