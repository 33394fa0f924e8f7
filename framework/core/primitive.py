"""Entries that are not elementwise: reductions, matmul, movement, indexing, the fused families, creation.

    @primitive(rule=..., kernel="reduce.sum", grad=(lambda g, input_shape, dim, keepdim: ...,))
    def sum_dims(input, *, dim, keepdim):
        return np.add.reduce(input, dim, keepdims=keepdim)

The decorated function is the NumPy body: positional parameters are operands (ndarrays, or None where an operand is
optional), keyword-only parameters are attributes. It returns a fresh array, or a tuple of them of which the first is
differentiable. The rule is a function of the same parameters, with tensors for operands, that returns the (shape,
dtype) of the result or a list of them, and raises the errors that a user should read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from naiad.autograd.record import record
from naiad.core import backend
from naiad.core.device import CPU_DEVICE, CUDA, device
from naiad.core.dispatch import apply, explain, settle
from naiad.core.dtype import FLOAT, FROM_NUMPY, HALVES, dtype
from naiad.core.op import AutocastClass, Formula, Op, parameters
from naiad.core.quiet import quiet, quietly
from naiad.core.state import State, current
from naiad.core.strided import DeviceArray
from naiad.core.tensor import Tensor, wrap
from naiad.core.views import UNRECORDED, link_view

ndarray = np.ndarray
_HALF_TYPES = frozenset(d.np for d in HALVES)


class Primitive(Op):
    """An op with a NumPy body, a shape-and-dtype rule, and the name of a kernel's launch function.

    widen: halves are computed in float32 and rounded once (ops that only move elements say False).
    into: a function with the body's parameters that writes its result into the first operand, for `name_`.
    vendor: why this op uses a vendor library on cuda in place of a kernel.
    parts: how its kernel serves complex numbers, see `complex_launch`; None: it does not.
    """

    def __init__(
        self,
        name: str,
        body: Callable,
        *,
        rule: Callable | None,
        kernel: str | Callable | None = None,
        grad: Sequence[Formula] | None = None,
        outputs: int = 1,
        widen: bool = True,
        into: Callable | None = None,
        vendor: str | None = None,
        autocast: AutocastClass = None,
        parts: str | None = None,
    ) -> None:
        operands, star, attributes = parameters(body)
        super().__init__(name, operands + [star] if star else operands, attributes)
        self.variadic = star is not None
        self.body, self.rule, self.kernel, self.outputs = body, rule, kernel, outputs
        self.widen, self.into, self.vendor, self.autocast, self.parts = widen, into, vendor, autocast, parts
        if grad is not None:
            self.set_formulas(grad)

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        """What the rule says of these operands."""
        if self.rule is None:
            raise NotImplementedError(f"{self.name} has no shape rule: its result's shape depends on the values")
        return self.rule(*xs, **attrs)

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Any:
        home, mask, bit, half, arrays = None, 0, 1, None, []
        for x in xs:
            if isinstance(x, Tensor):
                if x._device is not home:
                    if home is not None:
                        return self.run(state, settle(self, xs)[0], attrs)
                    home = x._device
                if x._needs_grad:
                    mask |= bit
                if x._dtype in HALVES:
                    half = x._dtype.np
                arrays.append(x._array)
            elif x is None:
                arrays.append(None)
            else:
                return self.run(state, _only_tensors(self, settle(self, xs)[0]), attrs)
            bit <<= 1
        if home is CPU_DEVICE:
            results = self._on_cpu(xs, arrays, attrs, half)
        else:
            home = home or (attrs or {})["device"]
            results = self._elsewhere(xs, arrays, attrs or {}, home)
        if self.outputs == 1 and results.__class__ is not list:
            out = wrap(results, FROM_NUMPY[results.dtype], home, state.inference)
            if mask and state.grad and self.differentiable and out._dtype.kind >= FLOAT:
                record(self, xs, mask, out, attrs)
            return out
        outs = [wrap(a, FROM_NUMPY[a.dtype], home, state.inference) for a in results]
        if mask and state.grad and self.differentiable and outs[0]._dtype.kind >= FLOAT:
            record(self, xs, mask, outs[0], attrs, outs)
        return outs[0] if self.outputs == 1 else tuple(outs)

    def _on_cpu(self, xs: Sequence, arrays: list, attrs: dict | None, half: np.dtype | None) -> Any:
        """The body's result: an array, or a list of them where it gave a tuple."""
        if not self.widen:
            half = None
        if half is not None:
            arrays = [a.astype(np.float32) if a is not None and a.dtype in _HALF_TYPES else a for a in arrays]
        try:
            try:
                results = quiet.run(self.body, *arrays, **attrs) if attrs else quiet.run(self.body, *arrays)
            except RuntimeError:
                results = quietly(self.body, *arrays, **(attrs or {}))
        except Exception as error:
            raise explain(self, xs, attrs, error) from None
        if results.__class__ is tuple:
            return [_as_array(r, half) for r in results]
        return results if results.__class__ is ndarray and half is None else _as_array(results, half)

    def _elsewhere(self, xs: Sequence, arrays: list, attrs: dict, home: device) -> Sequence:
        if home.kind == CUDA:
            return backend.primitive(self, xs, arrays, attrs, home)
        facts = self.infer(xs, attrs)
        facts = facts if isinstance(facts, list) else [facts]
        return [backend.meta(shape, of) for shape, of in facts]

    @property
    def call(self) -> Callable:
        """The op as a function of its operands by position and its attributes by name."""
        if self.outputs == 1 and not self.variadic and self.operands and type(self).run is Primitive.run:
            call = _quick_call(self)
        else:  # several outputs or any number of operands, views, factories

            def call(*xs: Any, **attrs: Any) -> Any:
                state = current()
                return apply(self, xs, attrs) if state.modes else self.run(state, xs, attrs)

        call.__name__ = call.__qualname__ = self.name
        call.__doc__ = self.body.__doc__
        call.op = self  # type: ignore[attr-defined]
        return call


# What `run` does, for the usual case: tensors of one device, on the CPU in full precision, and one result. Written out
# per number of operands, without loops.
_QUICK_CALL = """
def make(op, body):
    differentiable = op.differentiable

    def call({operands}, /, **attrs):
        state = current()
        if state.modes or not ({tensors}):
            return apply(op, ({operands},), attrs)
        home = x0._device
        if home is CPU_DEVICE and not ({half}):
            try:
                array = quiet.run(body, {arrays}, **attrs)
            except Exception:
                return op.run(state, ({operands},), attrs)  # words the error, or finds the context entered already
            if array.__class__ is not ndarray:
                array = asarray(array)
        elif home.kind == CUDA:
            (array,) = on_cuda(op, ({operands},), ({arrays},), attrs, home)
        else:
            return apply(op, ({operands},), attrs)
        out = new(Tensor)
        # Mostly the last operand's dtype; NumPy hashes one slowly.
        out._dtype = {last}._dtype if array.dtype is {last}._array.dtype else FROM_NUMPY[array.dtype]
        out._array, out._device = array, home
        out._needs_grad, out._version = False, state.inference or [0, None]
        out._grad = out._node = out._base = out._hooks = None
        if differentiable and state.grad and ({any}) and out._dtype.kind >= FLOAT:
            record(op, ({operands},), {mask}, out, attrs)
        return out

    return call
"""


def _quick_call(op: Primitive) -> Callable:
    call = _maker(len(op.operands))(op, op.body)
    call.__defaults__ = op.body.__defaults__
    return call


@cache
def _maker(count: int) -> Callable:
    """`make` of the text above for a number of operands."""
    xs = [f"x{i}" for i in range(count)]
    tensors = [f"isinstance({x}, Tensor)" for x in xs] + [f"{x}._device is x0._device" for x in xs[1:]]
    text = _QUICK_CALL.format(
        operands=", ".join(xs),
        tensors=" and ".join(tensors),
        half=" or ".join(f"{x}._dtype.half" for x in xs),
        arrays=", ".join(f"{x}._array" for x in xs),
        last=xs[-1],
        any=" or ".join(f"{x}._needs_grad" for x in xs),
        mask=" + ".join(f"{1 << i} * {x}._needs_grad" for i, x in enumerate(xs)),
    )
    scope = globals() | {"asarray": np.asarray, "new": object.__new__, "on_cuda": backend.primitive}
    exec(compile(text, f"<naiad call of {count}>", "exec"), scope)  # noqa: S102
    return scope["make"]


def _only_tensors(op: Primitive, xs: Sequence) -> Sequence:
    """Settled operands. Raises TypeError for a number, which only elementwise ops take."""
    for i, x in enumerate(xs):
        if x is not None and not isinstance(x, Tensor):
            name = op.operands[0] if op.variadic else op.operands[i]
            raise TypeError(f"{op.name}(): argument '{name}' must be Tensor, not {type(x).__name__}")
    return xs


def _as_array(result: Any, half: np.dtype | None) -> np.ndarray:
    array = np.asarray(result)
    return array.astype(half) if half is not None and array.dtype == np.float32 else array


class View(Primitive):
    """An op whose result looks at its operand's memory.

    geometry: `(shape, strides, offset, **attrs) -> (shape, strides, offset)` in elements, for every device but the
    CPU, where NumPy's own view function is quicker.
    """

    view = True

    def __init__(self, name: str, body: Callable, geometry: Callable, grad: Sequence[Formula]) -> None:
        super().__init__(name, body, rule=None, grad=grad, widen=False)
        self.geometry = geometry

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        from naiad.core.storage import stride

        array = xs[0]._array
        shape, _, _ = self.geometry(array.shape, stride(array), 0, **attrs)
        return shape, xs[0]._dtype

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Any:
        x, attrs = xs[0], attrs or {}
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): expected a Tensor, not {type(x).__name__}")
        array = x._array
        if isinstance(array, DeviceArray):
            seen = array.view(*self.geometry(array.shape, array.strides, array.offset, **attrs))
        else:
            try:
                seen = self.body(array, **attrs)
            except Exception as error:
                raise explain(self, xs, attrs, error) from None
        out = wrap(seen, x._dtype, x._device)
        out._version = x._version
        if state.grad:
            link_view(x, out, self, attrs)
            if x._needs_grad:
                record(self, xs, 1, out, attrs)
        elif x._needs_grad or x._base is not None:
            out._base = UNRECORDED
        return out


class Factory(Primitive):
    """An op without operands: its attributes name shape, dtype and device."""

    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Any:
        assert attrs is not None
        home = attrs["device"] = backend.resolve(attrs["device"])
        if home is CPU_DEVICE:
            return wrap(np.asarray(quietly(self.body, **attrs)), attrs["dtype"], home, state.inference)
        return super().run(state, (), attrs)


def primitive(*, name: str | None = None, rule: Callable | None = None, **facts: Any) -> Callable:
    """Declare a primitive entry; see `Primitive` for the facts. Returns its function."""

    def decorate(body: Callable) -> Callable:
        return Primitive(name or body.__name__, body, rule=rule, **facts).call

    return decorate


def view(*, geometry: Callable, grad: Formula, name: str | None = None) -> Callable:
    """Declare a view entry. Returns its function."""

    def decorate(body: Callable) -> Callable:
        return View(name or body.__name__, body, geometry, (grad,)).call

    return decorate


def factory(
    *, rule: Callable | None = None, kernel: str | None = None, name: str | None = None, parts: str | None = None
) -> Callable:
    """Declare an entry without operands. Its body takes shape, dtype, device and its own attributes by keyword."""

    def plain_rule(*, shape: tuple[int, ...], dtype: dtype, device: device, **rest: Any) -> tuple:
        return shape, dtype

    def decorate(body: Callable) -> Callable:
        return Factory(name or body.__name__, body, rule=rule or plain_rule, kernel=kernel, parts=parts).call

    return decorate


def same_as(operand: int = 0) -> Callable:
    """The rule of an op whose result has the shape and dtype of one of its operands."""

    def rule(*xs: Tensor, **attrs: Any) -> tuple:
        return xs[operand]._array.shape, xs[operand]._dtype

    return rule
