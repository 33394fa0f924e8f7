"""Registering a user's op: checked when it is declared, so that a mistake shows where it was made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naiad.core import backend
from naiad.core.elementwise import Elementwise
from naiad.core.op import OPS, Op
from naiad.core.primitive import Primitive
from naiad.core.strided import DeviceArray
from naiad.core.tensor import Tensor
from naiad.core.trace import compile_text

Formula = Callable | None


@dataclass(frozen=True)
class UserOp:
    """What was registered: the op, the function that users call, and what checks and benchmarks need.

    samples, bench: functions of a `Samples` that give calls, small ones to check and large ones to time. flops: a
    function of the body's arguments (arrays with shapes, and attributes).
    """

    name: str
    op: Op
    function: Callable
    body: Callable
    samples: Callable | None
    bench: Callable | None
    flops: Callable | None
    dtypes: tuple[str, ...]
    tolerance: float


_registered: dict[str, UserOp] = {}


def registered() -> list[UserOp]:
    """All ops registered here, in order."""
    return list(_registered.values())


def find(op: Any) -> UserOp:
    """The registered op of this name, or whose function this is. Raises KeyError."""
    for user_op in _registered.values():
        if op in (user_op.name, user_op.function):
            return user_op
    known = ", ".join(_registered) or "none"
    raise KeyError(
        f"no op {op if isinstance(op, str) else repr(op)} is registered in naiad.library; there are: {known}"
    )


def remove(name: str) -> None:
    """Forget an op, so that its name can be used again."""
    user_op = find(name)
    del _registered[user_op.name]
    own = user_op.op.name
    for key in [k for k in OPS if k == own or k.startswith(f"{own}_grad_")]:
        del OPS[key]


def op(
    name: str,
    *,
    rule: Callable,
    kernel: Callable | None = None,
    grad: Mapping[str, Formula] | Sequence[Formula] | None = None,
    samples: Callable | None = None,
    bench: Callable | None = None,
    flops: Callable | None = None,
    dtypes: Sequence[str] = ("float32",),
    tolerance: float = 1.0,
    contiguous: bool = True,
    outputs: int = 1,
    widen: bool = True,
) -> Callable[[Callable], Callable]:
    """Register an op; decorates its NumPy body, whose positional parameters are operands and whose keyword-only
    parameters are attributes. Returns a function with the body's signature, on tensors.

    name: "yours::name". rule: a function of the same parameters (tensors for operands) that gives (shape, dtype) of
    the result, or a tensor that it is like; a list of them for several `outputs`; it may raise, to explain bad input.
    kernel: a launch function `(out, *operands, **attributes)`, called with arrays on cuda (out is a tuple for several
    outputs); without one the op runs on the CPU only. contiguous: operands are made contiguous first; say False if the
    kernel takes strides. grad: a derivative per operand, by name, in naiad's ops: a function of `g` and of what it
    names (operands, `out`, attributes, `x_shape`, `x_dtype`); None for no gradient. Only the first output has one.
    widen: the body sees float16 and bfloat16 as float32. samples, bench: calls to check and to time (see `Samples`).
    dtypes: what `check` and the runner use; tolerance: a factor on what they allow.
    Raises ValueError for a bad name or formula, TypeError for a kernel or rule that cannot be called as described.
    """

    def decorate(body: Callable) -> Callable:
        signature = _signature(name, body)
        _can_be_called(name, "rule", rule, signature)
        if kernel is not None:
            _check_kernel(name, kernel, signature)
        _take_name(name, body)
        launcher = _launcher(kernel, contiguous) if kernel is not None else None
        operands = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
        made = _construct(
            name,
            lambda: Primitive(
                name,
                body,
                rule=_facts(name, rule, outputs),
                kernel=launcher,
                grad=_formulas(name, grad, operands),
                outputs=outputs,
                widen=widen,
            ),
        )
        function = _function(name, body, signature, made.call, numbers=False)
        user_op = UserOp(name, made, function, body, samples, bench, flops, tuple(dtypes), tolerance)
        _registered[name] = user_op
        return function

    return decorate


def elementwise(
    name: str,
    *,
    samples: Callable | None = None,
    bench: Callable | None = None,
    domain: Any = None,
    dtypes: Sequence[str] = ("float32",),
    tolerance: float = 1.0,
    **facts: Any,
) -> Callable[[Callable], Callable]:
    """Register an elementwise op from one body `(m, *operands)`, where `m` is a namespace of mathematics.

    Called with NumPy's the body computes on the CPU; traced it gives the Triton kernel and the derivative, to any
    order. Operands broadcast and promote as everywhere and may be numbers. domain: (low, high) of sample values.
    facts: `promote`, `result`, `grad`, `flags`, `kinds`, `differentiable` as in naiad's own entries.
    """

    def decorate(body: Callable) -> Callable:
        whole = _signature(name, body)
        parameters = list(whole.parameters.values())
        if not parameters or any(p.kind is p.KEYWORD_ONLY for p in parameters):
            raise TypeError(f"{name}: an elementwise body is a function (m, *operands), this is {body.__name__}{whole}")
        signature = whole.replace(parameters=parameters[1:])
        _take_name(name, body)
        own = name.replace("::", "__")  # becomes part of the names of generated functions
        made = _construct(own, lambda: Elementwise(own, body, list(signature.parameters), **facts))
        _construct(own, lambda: made.plan(0))  # derives now: a body without a derivative says so here
        low, high = domain or (-2.0, 2.0)
        many = len(signature.parameters)

        def usual(s: Any) -> list:
            return [s.call(*[s(*shape, low=low, high=high) for _ in range(many)]) for shape in ((4, 5), (), (0, 3))]

        def large(s: Any) -> list:
            return [s.call(*[s(1 << 22, low=low, high=high) for _ in range(many)])]

        cost = len(made_lines(made))
        function = _function(name, body, signature, made.call, numbers=True)
        user_op = UserOp(
            name, made, function, body, samples or usual, bench or (None if samples else large),
            lambda *xs, **attrs: cost * max(x.size for x in xs if hasattr(x, "size")), tuple(dtypes), tolerance,
        )  # fmt: skip
        _registered[name] = user_op
        return function

    return decorate


def made_lines(op: Elementwise) -> list:
    """The operations of an elementwise body."""
    from naiad.core.trace import trace

    return trace(op.body, op.operands)[0].lines


# ---------------------------------------------------------------- what is checked at once
def _signature(name: str, body: Callable) -> inspect.Signature:
    if not re.fullmatch(r"[A-Za-z]\w*::[A-Za-z]\w*", name):
        raise ValueError(f'an op is named "yours::name", with letters, digits and underscores; got {name!r}')
    if not callable(body):
        raise TypeError(f"{name}: @library.op decorates the NumPy body, a function, not {body!r}")
    signature = inspect.signature(body)
    for p in signature.parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise TypeError(f"{name}: the body {body.__name__}{signature} must name its parameters, not take {p}")
    return signature


def _arguments(signature: inspect.Signature) -> tuple[list, dict]:
    parameters = signature.parameters.values()
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    return positional, {p.name: p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def _can_be_called(name: str, what: str, function: Any, signature: inspect.Signature, *before: str) -> None:
    if not callable(function):
        raise TypeError(f"{name}: {what}= must be a function, not {function!r}")
    positional, named = _arguments(signature)
    try:
        inspect.signature(function).bind(*before, *positional, **named)
    except TypeError as error:
        wanted = ", ".join([*before, *positional, *(f"{n}={n}" for n in named)])
        own = getattr(function, "__name__", what)
        raise TypeError(
            f"{name}: {what}= is called as {own}({wanted}), but it is {own}{inspect.signature(function)}: {error}. "
            "Give it the body's parameters" + (", after `out`" if before else "")
        ) from None


def _check_kernel(name: str, kernel: Any, signature: inspect.Signature) -> None:
    if hasattr(kernel, "arg_names"):
        raise TypeError(
            f"{name}: kernel= is the launch function, not the Triton kernel itself: write `def run(out, ...): "
            f"library.launch({getattr(kernel, '__name__', 'kernel')}, grid, out, ...)` and pass run"
        )
    _can_be_called(name, "kernel", kernel, signature, "out")


def _take_name(name: str, body: Callable) -> None:
    """Free the name of an earlier registration of the same function (a notebook's cell run again)."""
    earlier = _registered.get(name)
    if earlier is None:
        return
    where = (earlier.body.__module__, earlier.body.__qualname__)
    if where != (body.__module__, body.__qualname__):
        raise ValueError(
            f"{name} is registered already, by {'.'.join(where)}: choose another name, or call "
            f"library.remove({name!r}) first"
        )
    remove(name)


def _construct(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception:
        OPS.pop(name, None)
        raise


def _formulas(name: str, grad: Any, operands: list[str]) -> list[Formula] | None:
    if grad is None:
        return None
    if isinstance(grad, Mapping):
        strange = [k for k in grad if k not in operands]
        if strange:
            raise ValueError(f"{name}: grad= names {strange}, but the operands are {operands}")
        return [grad.get(o) for o in operands]
    if callable(grad) or len(grad) != len(operands):
        raise ValueError(f"{name}: grad= takes a formula per operand of {operands}, or a dict by operand; got {grad!r}")
    return list(grad)


def _facts(name: str, rule: Callable, outputs: int) -> Callable:
    """The user's rule as the core wants it: (shape, dtype), or a list of them."""

    def fact(given: Any) -> tuple:
        if isinstance(given, Tensor):
            return given._array.shape, given._dtype
        if isinstance(given, tuple) and len(given) == 2 and hasattr(given[1], "np"):
            return tuple(given[0]), given[1]
        raise TypeError(f"{name}: the rule must give (shape, dtype) or a tensor that the result is like, not {given!r}")

    def infer(*xs: Any, **attrs: Any) -> Any:
        given = rule(*xs, **attrs)
        if outputs == 1 and not isinstance(given, list):
            return fact(given)
        if not isinstance(given, list) or len(given) != outputs:
            raise TypeError(f"{name}: the rule must give a list of {outputs} results, not {given!r}")
        return [fact(g) for g in given] if outputs > 1 else fact(given[0])

    return infer


def _launcher(kernel: Callable, contiguous: bool) -> Callable:
    if not contiguous:
        return kernel

    def run(out: Any, *arrays: Any, **attrs: Any) -> None:
        straight = backend.launcher("copy.contiguous", "naiad.library")
        kernel(out, *[straight(a) if isinstance(a, DeviceArray) else a for a in arrays], **attrs)

    return run


def _function(name: str, body: Callable, signature: inspect.Signature, call: Callable, numbers: bool) -> Callable:
    """The public function: the body's own signature and defaults, and operands that are tensors.

    numbers: operands may be numbers too, which the op itself sees to.
    """

    def operand(value: Any, parameter: str) -> Any:
        if isinstance(value, Tensor) or (value is None and signature.parameters[parameter].default is None):
            return value
        raise TypeError(
            f"{name}(): {parameter} must be a Tensor, not {type(value).__name__}: {value!r:.60}. What is not a tensor "
            "is keyword-only in the body (after a *)"
        )

    positional, named = _arguments(signature)
    scope: dict[str, Any] = {"_call": call, "_Tensor": Tensor, "_operand": operand}
    shown = []
    for i, p in enumerate(signature.parameters.values()):
        if p.kind is p.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        scope[f"_default{i}"] = p.default
        shown.append(p.name if p.default is p.empty else f"{p.name}=_default{i}")
    checks = [] if numbers else [f"    if {p}.__class__ is not _Tensor: _operand({p}, {p!r})" for p in positional]
    passed = ", ".join([*positional, *(f"{n}={n}" for n in named)])
    short = name.partition("::")[2]
    text = "\n".join([f"def {short}({', '.join(shown)}):", *checks, f"    return _call({passed})", ""])
    function: Any = compile_text(text, short, scope)
    function.__doc__, function.__module__ = body.__doc__, body.__module__
    function.__qualname__ = body.__qualname__
    function.op = getattr(call, "op", None)
    function.body = body
    return function
