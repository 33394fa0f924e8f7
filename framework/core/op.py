"""The op table: what an op is, and the decorators with which an entry is declared once.

An entry states its facts side by side: how it computes on NumPy (`body`), the name of its kernel's launch function,
the shape-and-dtype rule, and one derivative formula per operand. Formulas are functions of the gradient `g` and of
whatever they name: an operand (saved then), `out` or `outN` (an output, saved), `X_shape` and `X_dtype` of an operand
(only that fact is saved), or an attribute.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from naiad.autograd.record import Plan
from naiad.core.state import current

OPS: dict[str, Op] = {}
PUBLIC: dict[str, dict[str, Callable]] = {"naiad": {}, "Tensor": {}, "nn.functional": {}}
ENTRIES: dict[str, Entry] = {}
Formula = Callable | None
AutocastClass = str | Mapping[str, str] | None


class Op:
    """One row of the table. Subclasses say how to run it.

    autocast: what mixed precision makes of the operands: "lower", "float32", "promote", or a dict of these by kind of
    device (see `naiad.amp.mode`).
    """

    autocast: AutocastClass = None
    view = False
    changes_dtype = False  # of a view: whether it reads the memory as numbers of another dtype
    variadic = False
    outputs = 1
    run: Callable[..., Any]  # (state, operands, attributes): what a call does
    infer: Callable[..., Any]  # (operands, attributes): the shape and dtype of what comes out
    pull: Callable | None = None  # (pass, node, gradient): for ops that send gradients on in a way of their own
    joint: tuple[tuple[int, int], Callable] | None = None  # two operands, and a formula for both, or it gives None

    def __init__(self, name: str, operands: Sequence[str], attributes: Sequence[str] = ()) -> None:
        self.name = name
        self.operands = tuple(operands)
        self.attributes = tuple(attributes)
        self.differentiable = False
        self.grads: tuple[Formula, ...] = ()
        self.names: tuple[tuple, ...] = ()
        self.plans: dict[int, Plan] = {}
        if name in OPS:
            raise ValueError(f"the op table has an entry {name!r} already")
        OPS[name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def plan(self, mask: int) -> Plan:
        """What to save when the operands in `mask` want gradients; worked out once per mask."""
        plan = self.plans[mask] = Plan(self.names, mask, self.variadic, self.pull)
        return plan

    def set_formulas(self, formulas: Sequence[Formula]) -> None:
        """Take one formula per operand (None: no gradient) and look up what each of them names."""
        self.grads = tuple(formulas)
        self.names = tuple(() if f is None else tuple(self._key(n) for n in parameters(f)[0][1:]) for f in formulas)
        self.differentiable = any(f is not None for f in formulas)
        if not self.variadic and len(self.grads) != len(self.operands):
            raise ValueError(f"op {self.name}: {len(self.grads)} derivative formulas for operands {self.operands}")

    def _key(self, name: str) -> Any:
        if name in self.operands:
            return self.operands.index(name)
        if name == "out":
            return -1
        if name.startswith("out") and name[3:].isdigit():
            return -1 - int(name[3:])
        if name == "shapes":
            return ("shapes", 0)
        operand, _, fact = name.rpartition("_")
        if operand in self.operands and fact in ("shape", "dtype"):
            return (fact, self.operands.index(operand))
        if name in self.attributes or (name == "index" and self.variadic):
            return name
        raise ValueError(f"op {self.name}: a derivative names {name!r}, which is no operand, output or attribute")


def parameters(function: Callable) -> tuple[list[str], str | None, list[str]]:
    """Positional parameters, the name after `*`, and keyword-only ones, read off the code: a tenth of the time that
    `inspect.signature` takes, for hundreds of entries at import."""
    code = function.__code__
    count = code.co_argcount
    keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
    star = code.co_varnames[count + code.co_kwonlyargcount] if code.co_flags & inspect.CO_VARARGS else None
    return list(code.co_varnames[:count]), star, list(keywords)


class Entry:
    """A public function with what the generic tests need to know: where it can be found and sample calls."""

    def __init__(self, name: str, function: Callable, namespaces: Sequence[str], facts: dict[str, Any]) -> None:
        self.name, self.function, self.namespaces, self.facts = name, function, tuple(namespaces), facts


def publish(
    name: str, function: Callable, namespaces: Sequence[str], aliases: Sequence[str] = (), **facts: Any
) -> None:
    """Put a function under its public names. `facts` (samples, domain, ...) are for the generic test suite."""
    for space in namespaces:
        names = PUBLIC.setdefault(space, {})
        for public in (name, *aliases):
            if public in names:
                raise ValueError(f"{space}.{public} is published twice")
            names[public] = function
    ENTRIES[f"{namespaces[0]}.{name}"] = Entry(name, function, namespaces, facts)


def public(
    *namespaces: str,
    name: str | None = None,
    aliases: Sequence[str] = (),
    autocast: AutocastClass = None,
    **facts: Any,
) -> Callable:
    """Publish a function composed of ops: ``@public("naiad", "Tensor", samples=lambda s: [s.call(s(2, 3))])``.

    Namespaces: "naiad" (a function), "Tensor" (a method), "nn.functional", "linalg" and so on.
    autocast: for a function that counts as one op in mixed precision, its class; "keep" casts nothing, inside either.
    """

    def decorate(function: Callable) -> Callable:
        if autocast is not None:
            function = as_one(function, autocast)
        shown = name or function.__name__
        publish(shown, function, namespaces or ("naiad",), aliases, **facts)
        return function

    return decorate


def as_one(function: Callable, autocast: AutocastClass) -> Callable:
    """A composed function that modes with a `compose` see as one op rather than as those it is made of."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for mode in current().modes:
            if hasattr(mode, "compose"):
                return mode.compose(function, autocast, args, kwargs)
        return function(*args, **kwargs)

    return call
