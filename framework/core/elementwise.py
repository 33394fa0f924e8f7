"""Elementwise entries: a body that is written once and serves every backend and its own derivatives.

    @elementwise()
    def silu(m, input):
        '''input * sigmoid(input).'''
        return input * m.sigmoid(input)

`m` is a maths namespace. With NumPy's the body is the CPU kernel; traced with symbols it prints the Triton kernel, and
reverse mode over the trace gives the derivative as another body, hence again an op with one kernel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from naiad.autograd.record import Plan, record
from naiad.core import backend
from naiad.core.derive import derive
from naiad.core.device import CPU, CPU_DEVICE, CUDA, device
from naiad.core.dispatch import apply, constant, deliver, explain, gradient_mask, number_dtype, settle
from naiad.core.dtype import BOOL, FLOAT, combine, dtype, promote_types
from naiad.core.dtype import bool as bool_
from naiad.core.numpy_kernels import numpy_kernel
from naiad.core.op import AutocastClass, Op, publish
from naiad.core.state import State, current, default_dtype
from naiad.core.strided import broadcast_shapes
from naiad.core.tensor import Tensor, wrap
from naiad.core.trace import Symbol, trace

ndarray = np.ndarray
_new_tensor = object.__new__


class Elementwise(Op):
    """An op that works on each element by itself.

    promote: "common" (operands are brought to one dtype) or "float" (which then is a floating one).
    result: None (that dtype), naiad.bool, or "real" (the dtype of a complex number's parts).
    flags: operands that are conditions, which take no part in promotion.
    kinds: the dtype kinds it is made for.
    """

    takes_bools = True  # whether True and False may stand for numbers

    def __init__(
        self,
        name: str,
        body: Callable,
        operands: Sequence[str],
        *,
        promote: str = "common",
        result: Any = None,
        grad: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
        kinds: Sequence[int] = (0, 1, 2, 3),
        differentiable: bool = True,
        autocast: AutocastClass = None,
    ) -> None:
        super().__init__(name, operands)
        self.autocast = autocast
        self.body, self.promote, self.result = body, promote, result
        self.overrides = dict(grad or {})
        self.flags = tuple(i for i, o in enumerate(self.operands) if o in flags)
        self.flag_names, self.kinds = tuple(flags), frozenset(kinds)
        self.differentiable = differentiable and result is not bool_
        # Per device kind: dtype -> (kernel, dtype of the result), filled at first use.
        self.tables: tuple[dict, dict, dict] = ({}, {}, {})

    # ------------------------------------------------------------ running
    def run(self, state: State, xs: Sequence, attrs: dict | None = None) -> Any:
        """Promote, compute, wrap, record: the long way round for the operands that the closures pass on."""
        usual = self._usual(xs)
        if usual is not None:
            kernel, result, arrays, mask = usual
            try:
                array = kernel(*arrays)
            except Exception as error:
                raise explain(self, xs, None, error) from None
            out = wrap(array, result, CPU_DEVICE, state.inference)
            if mask and state.grad and self.differentiable:
                record(self, xs, mask, out)
            return out
        xs, home = settle(self, xs)
        for i, x in enumerate(xs):
            if x is None or (len(xs) == 1 and not isinstance(x, Tensor)):
                what = f"argument '{self.operands[i]}' (position {i + 1})"
                raise TypeError(f"{self.name}(): {what} must be Tensor, not {type(x).__name__}")
        common = self.common_dtype(xs)
        for i, x in enumerate(xs):
            wanted = bool_ if i in self.flags else common
            if isinstance(x, Tensor) and x._dtype is not wanted:
                xs[i] = x.to(wanted)
        kernel, result = self.kernel(home, common)
        try:
            array = kernel(*[self._argument(i, x, common, home) for i, x in enumerate(xs)])
        except Exception as error:
            raise explain(self, xs, None, error) from None
        out = wrap(array, result, home, state.inference)
        if state.grad and self.differentiable:
            mask = gradient_mask(xs)
            if mask:
                record(self, xs, mask, out)
        return out

    def _usual(self, xs: Sequence) -> tuple | None:
        """Kernel, result dtype, arrays and gradient mask for CPU tensors of one dtype and numbers that fit it."""
        common, mask, bit, arrays, numbers = None, 0, 1, [], []
        for i, x in enumerate(xs):
            if isinstance(x, Tensor):
                if x._device is not CPU_DEVICE or (x._dtype is not (bool_ if i in self.flags else common or x._dtype)):
                    return None
                if i not in self.flags:
                    common = x._dtype
                if x._needs_grad:
                    mask += bit
                arrays.append(x._array)
            else:
                numbers.append(i)
                arrays.append(x)
            bit += bit
        found = self.tables[CPU].get(common)
        if found is None or common is None:
            return None
        for i in numbers:
            if i in self.flags or xs[i].__class__ not in common.scalars:
                return None
            if xs[i].__class__ is bool and not self.takes_bools:
                return None
            arrays[i] = constant(xs[i], common.compute)
        return found[0], found[1], arrays, mask

    def _argument(self, i: int, x: Any, common: dtype, home: device) -> Any:
        if isinstance(x, Tensor):
            return x._array
        of = bool_ if i in self.flags else common.compute
        return constant(x, of) if home.kind == CPU else constant(x, of)[()]

    def common_dtype(self, xs: Sequence) -> dtype:
        """The dtype that the operands are computed in, by PyTorch's promotion."""
        found: list[dtype | None] = [None, None, None]
        for i, x in enumerate(xs):
            if i in self.flags:
                continue
            tensor = isinstance(x, Tensor)
            place, of = ((0 if x._array.shape else 1), x._dtype) if tensor else (2, number_dtype(x))
            before = found[place]
            found[place] = of if before is None else promote_types(before, of)
        common = combine(*found)
        if self.promote == "float" and common.kind < FLOAT:
            return default_dtype()
        return common

    def kernel(self, home: device, common: dtype) -> tuple[Callable, dtype]:
        """The kernel for a dtype on a device, and the dtype of what it makes."""
        table = self.tables[home.kind]
        found = table.get(common)
        if found is None:
            if common.kind not in self.kinds:
                allowed = " or ".join(("bool", "integer", "floating-point", "complex")[k] for k in sorted(self.kinds))
                raise NotImplementedError(
                    f"\"{self.name}\" not implemented for '{common.name}': it takes {allowed} tensors"
                )
            result = common.to_real() if self.result == "real" else self.result or common
            if home.kind == CPU:
                made = numpy_kernel(self, common, result)
            elif home.kind == CUDA:
                made = backend.elementwise(self, common, result)
            else:
                made = _meta_kernel(result)
            found = table[common] = (made, result)
        return found

    def infer(self, xs: Sequence, attrs: dict) -> tuple[tuple[int, ...], dtype]:
        """The shape and dtype of the result."""
        shape = broadcast_shapes([x._array.shape for x in xs if isinstance(x, Tensor)])
        common = self.common_dtype(xs)
        return shape, common.to_real() if self.result == "real" else self.result or common

    def traced(self) -> tuple[list[tuple], Any]:
        """The body as straight lines `(symbol, op, args)` and their result, a symbol or a number."""
        recorded, value = trace(self.body, self.operands)
        return recorded.prune(value) if isinstance(value, Symbol) else [], value

    # ------------------------------------------------------------ deriving
    def plan(self, mask: int) -> Plan:
        if not self.grads:
            self.set_formulas([self._formula(i) for i in range(len(self.operands))])
        return super().plan(mask)

    def set_formulas(self, formulas: Sequence) -> None:
        """Formulas of an elementwise op are elementwise ops: what they want saved are their operands after g."""
        self.grads = tuple(f and f[0] for f in formulas)
        self.names = tuple(() if f is None else tuple(self._key(n) for n in f[1]) for f in formulas)

    def _formula(self, index: int) -> tuple[Callable, tuple[str, ...]] | None:
        operand = self.operands[index]
        if index in self.flags:
            return None
        if operand in self.overrides:
            body = self.overrides[operand]
            if body is None:
                return None
            saved: tuple[str, ...] = _operand_names(body)[1:]
        else:
            body, saved = derive(self.name, self.body, self.operands, index)
        if body is None:
            return zero_of.call, ()
        names = _operand_names(body)
        if getattr(body, "__source__", "").endswith(f":\n    return {names[0]}\n"):
            return identity, ()
        flags = [f for f in self.flag_names if f in saved]
        return Elementwise(f"{self.name}_grad_{operand}", body, names, flags=flags).call, saved

    @property
    def call(self) -> Callable:
        """The op as a function of its operands."""
        made = self.__dict__.get("_call")
        if made is None:
            made = self.__dict__["_call"] = make_call(self)
        return made


def identity(g: Tensor) -> Tensor:
    """The derivative of a sum: the engine need not call it."""
    return g


def _operand_names(body: Callable) -> tuple[str, ...]:
    code = body.__code__
    return code.co_varnames[1 : code.co_argcount]


def _meta_kernel(result: dtype) -> Callable:
    def kernel(*arrays: Any) -> Any:
        return backend.meta(broadcast_shapes([a.shape for a in arrays]), result)

    return kernel


# ---------------------------------------------------------------- the hot path
def make_call(op: Elementwise, foreign: Callable | None = None) -> Callable:
    """The function behind an entry, for the usual case: tensors of one dtype on one device, or Python numbers.

    foreign: what to do with an operand of a type that we do not know (operators answer NotImplemented).
    """
    if op.flags or len(op.operands) > 2:
        call = _general_call(op)
    else:
        call = (_unary_call if len(op.operands) == 1 else _binary_call)(op, foreign or apply)
    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.body.__doc__
    call.op = op  # type: ignore[attr-defined]
    return call


def _unary_call(op: Elementwise, foreign: Callable) -> Callable:
    tables, differentiable = op.tables, op.differentiable

    def call(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        state = current()
        if out is not None or state.modes or not isinstance(input, Tensor):
            result = foreign(op, (input,))
            return result if out is None else deliver(result, out)
        device = input._device
        found = tables[device.kind].get(input._dtype)
        if found is None:
            return apply(op, (input,))
        result = _new_tensor(Tensor)
        kernel, result._dtype = found
        result._array = kernel(input._array)
        result._device, result._needs_grad, result._version = device, False, state.inference or [0, None]
        result._grad = result._node = result._base = result._hooks = None
        if input._needs_grad and differentiable and state.grad:
            record(op, (input,), 1, result)
        return result

    return call


def _binary_call(op: Elementwise, foreign: Callable) -> Callable:
    tables, differentiable, takes_bools = op.tables, op.differentiable, op.takes_bools

    def call(input: Tensor, other: Any, *, out: Tensor | None = None) -> Tensor:
        state = current()
        if out is not None or state.modes or not isinstance(input, Tensor):
            result = foreign(op, (input, other))
            return result if out is None else deliver(result, out)
        mask: int
        dtype, device, mask = input._dtype, input._device, input._needs_grad
        found = tables[device.kind].get(dtype)
        if found is None:
            return foreign(op, (input, other))
        if isinstance(other, Tensor):
            if other._dtype is not dtype or other._device is not device:
                return apply(op, (input, other))
            b = other._array
            if other._needs_grad:
                mask += 2
        elif other.__class__ in dtype.scalars and (takes_bools or other.__class__ is not bool):
            b = constant(other, dtype.compute)
        else:
            return foreign(op, (input, other))
        result = _new_tensor(Tensor)
        kernel, result._dtype = found
        try:
            result._array = kernel(input._array, b)
        except Exception as error:
            raise explain(op, (input, other), None, error) from None
        result._device, result._needs_grad, result._version = device, False, state.inference or [0, None]
        result._grad = result._node = result._base = result._hooks = None
        if mask and differentiable and state.grad:
            record(op, (input, other), mask, result)
        return result

    return call


def _general_call(op: Elementwise) -> Callable:
    names = op.operands
    if "out" in names:  # a derivative that names the output: internal, called by position
        return lambda *xs: apply(op, xs)

    def call(*xs: Any, out: Tensor | None = None, **named: Any) -> Tensor:
        if named or len(xs) != len(names):
            xs = bind(op, xs, named)
        result = apply(op, xs)
        return result if out is None else deliver(result, out)

    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    parameters.append(inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def bind(op: Op, xs: Sequence, named: Mapping[str, Any]) -> tuple:
    """Positional and keyword operands in the op's order. Raises TypeError naming what is missing or too much."""
    given = dict(zip(op.operands, xs, strict=False))
    wrong = [n for n in named if n not in op.operands or n in given]
    missing = [n for n in op.operands if n not in given and n not in named]
    if wrong or missing or len(xs) > len(op.operands):
        raise TypeError(
            f"{op.name}() takes the operands ({', '.join(op.operands)}); "
            f"{len(xs)} were given by position, {sorted(named)} by name"
        )
    return tuple(given[n] if n in given else named[n] for n in op.operands)


def not_implemented(op: Op, xs: Sequence) -> Any:
    """For operators: Python then asks the other operand, and raises its own TypeError if that does not know either."""
    if all(x is None or isinstance(x, (Tensor, float, int, complex, np.generic, np.ndarray)) for x in xs):
        return NotImplemented if any(x is None for x in xs) else apply(op, xs)
    return NotImplemented


def elementwise(
    *,
    name: str | None = None,
    namespaces: Sequence[str] = ("naiad", "Tensor"),
    aliases: Sequence[str] = (),
    inplace: bool | None = None,
    domain: Any = None,
    samples: Any = None,
    oracle: Any = None,
    **facts: Any,
) -> Callable:
    """Declare an elementwise entry; see `Elementwise` for `facts`. Returns its function.

    namespaces: where it is public (none: an internal op). inplace: also as `name_` (default: where the result has the
    operands' dtype). domain: (low, high) of test inputs, of all operands or a dict by operand. samples, oracle: as in
    `naiad.core.op.public`.
    """

    def decorate(body: Callable) -> Callable:
        op = Elementwise(name or body.__name__, body, _operand_names(body), **facts)
        call = op.call
        if namespaces:
            publish(op.name, call, namespaces, aliases, domain=domain, samples=samples, oracle=oracle, op=op)
        if inplace if inplace is not None else bool(namespaces) and op.result is None and not op.flags:
            from naiad.core.inplace import publish_inplace

            publish_inplace(op, namespaces, aliases)
        return call

    return decorate


zero_of = Elementwise("zero_of", lambda m, input: m.where(input == input, 0.0, 0.0), ("input",))
__all__ = ["BOOL", "Elementwise", "elementwise", "make_call", "not_implemented"]
