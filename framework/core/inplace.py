"""In-place ops: `name_` computes like `name`, writes into its first operand and rewrites that tensor's history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from naiad.autograd.record import record
from naiad.core import backend
from naiad.core.device import CPU, CUDA
from naiad.core.dispatch import apply, constant, gradient_mask
from naiad.core.dtype import COMPLEX, FLOAT, INT, dtype
from naiad.core.dtype import bool as bool_
from naiad.core.elementwise import Elementwise
from naiad.core.op import OPS, Op, publish
from naiad.core.primitive import Primitive
from naiad.core.quiet import quietly
from naiad.core.state import State, replace
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor
from naiad.core.views import UNRECORDED, alias, refresh_views

# Ops that use nothing of the tensor that they write into, and the kernel that writes it.
_OVERWRITING = {"copy": "copy.copy", "fill_op": "copy.fill"}
_KIND_NAMES = ("a bool", "an integer", "a floating-point", "a complex")


class InPlace(Op):
    """The op `name_` for an op `name`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op.name + "_", op.operands, op.attributes)
        self.name = _shown(op)
        self.op = op
        self.differentiable = op.differentiable

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        return self.op.infer(xs, attrs)

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Tensor:
        x = xs[0]
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): expected a Tensor to write into, not {type(x).__name__}")
        mask = gradient_mask(xs) if state.grad and self.differentiable and x._dtype.kind >= FLOAT else 0
        if mask:
            check_writable(self.name, x)
        before = alias(x)
        if mask:
            plan = self.op.plans.get(mask) or self.op.plan(mask)
            if 0 in plan.keys:
                # A formula needs the old values, which are about to be overwritten.
                before._array = _copy(x)
        _write(self, state, x, xs, attrs)
        x._version[0] += 1
        if mask:
            record_write(self.op, (before, *xs[1:]), mask, x, attrs)
        return x


def _shown(op: Op) -> str:
    """The name that users know: `fill_` for the op `fill_op`."""
    return op.name.removesuffix("_op") + "_"


def check_writable(name: str, x: Tensor) -> None:
    """Raise RuntimeError for a write that autograd cannot follow: into a leaf that requires grad, or a view of one."""
    if x._base is UNRECORDED:
        raise RuntimeError(
            f"{name}: a view was created in no_grad mode and is being modified inplace with grad mode enabled. Given "
            "that this use case is ambiguous and error-prone, it is forbidden. Make the view outside of no_grad(), or "
            "write into it under no_grad()"
        )
    if x._base is not None:
        base = x._base.base
        if base._needs_grad and base._node is None:
            raise RuntimeError(
                f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation. "
                "Write under no_grad(), or into a clone()"
            )
    elif x._needs_grad and x._node is None:
        raise RuntimeError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation. "
            f"Use {name.rstrip('_')}() for a new tensor, or write under no_grad()"
        )


def record_write(op: Op, xs: Sequence, mask: int, x: Tensor, attrs: dict | None) -> None:
    """Give `x`, which has been overwritten, the history `op(*xs)`, and its base and views theirs."""
    written = alias(x)
    written._version = x._version
    record(op, xs, mask, written, attrs)
    link = x._base
    if link is None:
        x._node, x._needs_grad = written._node, True
        refresh_views(x)
        return
    base = link.base
    before = alias(base)
    record(COPY_SLICES, (before, written), gradient_mask((before, written)), base, {"link": link})
    refresh_views(base)


class _CopySlices(Op):
    """A base in which one view has been overwritten: operands are the base as it was and what the view became."""

    def __init__(self) -> None:
        super().__init__("copy_slices", ("base", "view"), ("link",))
        self.set_formulas((_outside_of_view, _inside_of_view))


def _outside_of_view(g: Tensor, link: Any) -> Tensor:
    """The gradient, with 0 where the view was overwritten: by the same write, so that it is differentiable itself."""
    outside = g.clone()
    link.replay(outside).fill_(0)
    return outside


def _inside_of_view(g: Tensor, link: Any) -> Tensor:
    return link.replay(g)


COPY_SLICES = _CopySlices()


# ---------------------------------------------------------------- writing
def _copy(x: Tensor) -> Any:
    return x._array.copy() if x._device.kind == CPU else x.clone()._array


def _write(own: InPlace, state: State, x: Tensor, xs: Sequence, attrs: dict | None) -> None:
    op = own.op
    if x._device.kind == CPU and _write_directly(op, x, xs, attrs):
        return
    if x._device.kind == CUDA and _launch_directly(op, x, xs, attrs):
        return
    replace(State(False, inference=state.inference))
    try:
        result = apply(op, xs, attrs)
    finally:
        replace(state)
    result = result[0] if isinstance(result, tuple) else result
    check_result(own.name, x, result._array.shape, result._dtype)
    if x._device.kind == CPU:
        x._array[...] = result._array if x._dtype.kind == result._dtype.kind else result._array.astype(x._dtype.np)
    elif x._device.kind == CUDA:
        backend.launcher("copy.copy", own.name)(x._array, result._array)


def _write_directly(op: Op, x: Tensor, xs: Sequence, attrs: dict | None) -> bool:
    """The quick ways on the CPU: one NumPy function with `out=`, or the entry's own `into`."""
    if isinstance(op, Primitive):
        if op.into is None or any(y is not None and not isinstance(y, Tensor) for y in xs):
            return False
        shape, of = op.infer(xs, attrs or {})
        check_result(_shown(op), x, shape, of)
        quietly(op.into, *[y._array if y is not None else None for y in xs], **(attrs or {}))
        return True
    if not isinstance(op, Elementwise) or len(xs) != 2:
        return False
    y = xs[1]
    found = op.tables[CPU].get(x._dtype)
    ufunc = getattr(found[0], "ufunc", None) if found else None
    if found is None or ufunc is None or found[1] is not x._dtype:
        return False
    if isinstance(y, Tensor):
        if y._dtype is not x._dtype or y._device is not x._device or y._array.shape != x._array.shape:
            return False
        other = y._array
    elif y.__class__ in x._dtype.scalars and (op.takes_bools or y.__class__ is not bool):
        other = constant(y, x._dtype) if x._dtype.kind == INT else y
    else:
        return False
    _check_overlap(_shown(op), x)
    quietly(ufunc, x._array, other, x._array)
    return True


def _launch_directly(op: Op, x: Tensor, xs: Sequence, attrs: dict | None) -> bool:
    """The quick way on cuda: the op's own kernel, writing where x lies.

    Each program reads an element before it writes that element, so x itself may be read, but nothing that lies in x's
    memory otherwise.
    """
    if isinstance(op, Elementwise):
        return _launch_elementwise(op, x, xs)
    if op.name not in _OVERWRITING or x._dtype.kind == COMPLEX:
        return False
    if not all(isinstance(y, Tensor) and y._device is x._device and y._dtype.kind != COMPLEX for y in xs):
        return False
    _check_overlap(_shown(op), x)
    sources = [y._array for y in xs[1:]]
    if any(_entangled(x._array, y) or broadcast_shapes([x._array.shape, y.shape]) != x._array.shape for y in sources):
        return False
    backend.launcher(_OVERWRITING[op.name], op.name)(x._array, *sources, **(attrs or {}))
    return True


def _launch_elementwise(op: Elementwise, x: Tensor, xs: Sequence) -> bool:
    common = op.common_dtype(xs)
    if common is not x._dtype:
        return False
    kernel, result = op.kernel(x._device, common)
    if result is not common:
        return False
    operands = []
    for i, y in enumerate(xs):
        if not isinstance(y, Tensor):
            if y.__class__ not in common.scalars or i in op.flags or (y.__class__ is bool and not op.takes_bools):
                return False
            operands.append(constant(y, common.compute)[()])
        elif y._device is not x._device or y._dtype is not (bool_ if i in op.flags else common):
            return False
        else:
            operands.append(y._array)
    shapes = [y._array.shape for y in xs if isinstance(y, Tensor)]
    if broadcast_shapes(shapes) != x._array.shape or any(_entangled(x._array, y) for y in operands):
        return False
    _check_overlap(_shown(op), x)
    kernel.into(x._array, *operands)  # type: ignore[attr-defined]
    return True


def _entangled(x: Any, y: Any) -> bool:
    """Whether a write of x's elements may change what is yet to be read of y."""
    shared = getattr(y, "buffer", None) is x.buffer
    return shared and (x.offset, x.shape, x.strides) != (y.offset, y.shape, y.strides)


def check_result(name: str, x: Tensor, shape: tuple[int, ...], of: dtype) -> None:
    """Raise RuntimeError where a result of this shape and dtype cannot be written into `x`."""
    if shape != x._array.shape:
        raise RuntimeError(
            f"{name}: output with shape {list(x._array.shape)} doesn't match the broadcast shape {list(shape)}"
        )
    if of.kind > x._dtype.kind:
        raise RuntimeError(
            f"{name}: result type {of.name} can't be cast to the desired output type {x._dtype.name}: "
            f"{_KIND_NAMES[of.kind]} result does not fit {_KIND_NAMES[x._dtype.kind]} tensor. Convert the tensor first"
        )
    _check_overlap(name, x)


def _check_overlap(name: str, x: Tensor) -> None:
    array = x._array
    if 0 not in array.strides or not array.size:  # NumPy's empty arrays may have strides of 0
        return
    if any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
        raise RuntimeError(
            f"{name}: unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location (it was expanded). Please clone() the tensor before performing the operation."
        )


# ---------------------------------------------------------------- publishing
def inplace_call(op: Op) -> Callable:
    """`name_` as a function."""
    own = OPS.get(op.name + "_") or InPlace(op)
    attributes = op.attributes

    def call(input: Tensor, *others: Any, **named: Any) -> Tensor:
        attrs = {k: named.pop(k) for k in attributes if k in named} if attributes else None
        if named or len(others) + 1 != len(op.operands):
            from naiad.core.elementwise import bind

            _, *others = bind(op, (input, *others), named)  # type: ignore[assignment]
        return apply(own, (input, *others), attrs)

    call.__name__ = call.__qualname__ = own.name
    call.__doc__ = f"In-place version of `{op.name}`; returns `input`."
    call.op = own  # type: ignore[attr-defined]
    return call


def publish_inplace(op: Op, namespaces: Sequence[str], aliases: Sequence[str] = ()) -> Callable:
    """Publish `name_` as a method, and as a function where PyTorch has one."""
    call = inplace_call(op)
    spaces = [s for s in ("Tensor", *namespaces) if s in ("Tensor", "naiad")]
    publish(op.name + "_", call, list(dict.fromkeys(spaces)), [a + "_" for a in aliases], inplace_of=op)
    return call
