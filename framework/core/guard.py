"""Arguments of the wrong type: the error that a user reads names the function, the argument and its type.

Functions of the table take their operands on trust, since a check at each call would be paid for by every right one.
What users call is therefore wrapped: when a call fails, its arguments are held against the function's annotations, and
an argument that was to be a Tensor and is none is what the error is about, whatever it led to further down.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import CO_VARARGS
from typing import Any

from naiad.core.dtype import FROM_PYTHON
from naiad.core.tensor import Tensor

# NumPy's names for arguments, and PyTorch's.
SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "axes": "dim", "axis0": "dim0", "axis1": "dim1"}
_SPELLED = frozenset(  # methods that take both
    ("chunk", "narrow", "select", "squeeze", "squeeze_", "swapaxes", "topk", "unbind", "unsqueeze", "unsqueeze_")
)
_NUMBERS = ("float", "int", "complex", "bool", "Number", "Any")
_GROUPS = ("Sequence[", "Iterable[", "list[", "tuple[", "Tensors")


def guarded(table: Mapping[str, Callable], methods: bool = False) -> dict[str, Callable]:
    """A table of functions (or methods) with those wrapped that take Tensors and do not look at them themselves."""
    return {
        name: _guard(name, function, methods) if name in _SPELLED or _trusts(function, methods) else function
        for name, function in table.items()
    }


def check_tensor(name: str, input: Any) -> None:
    """For a function that does not look at its operand. Raises TypeError unless it is a Tensor."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")


def _trusts(function: Callable, method: bool) -> bool:
    if getattr(function, "is_property", False) or isinstance(function, type):
        return False
    op = getattr(function, "op", None)
    if op is not None and not getattr(op, "rule", None):  # elementwise, in-place: these check
        return False
    if op is not None and "Tensor" not in str(function.__annotations__.values()):
        return not method or len(op.operands) > 1 or op.variadic
    told = [hint for name, hint in function.__annotations__.items() if name != "return"]
    told = told[1:] if method else told
    return any("Tensor" in str(hint) for hint in told) or (not method and bool(_code(function).co_flags & CO_VARARGS))


def _code(function: Any) -> Any:
    return inspect.unwrap(function).__code__


def _guard(name: str, function: Callable, method: bool) -> Callable:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            respelled = _respelled(kwargs, error) if kwargs else None
            if respelled is None:
                better = _complaint(name, function, args, kwargs, method) or _taken(name, args, kwargs, error)
                if better is None:
                    raise
                raise TypeError(better) from error
        return call(*args, **respelled)

    call.__guarded__ = function  # type: ignore[attr-defined]
    return call


def _respelled(kwargs: dict[str, Any], error: Exception) -> dict[str, Any] | None:
    """The keywords with NumPy's names, or a Python type for a dtype, replaced, if a call may have failed for that."""
    of = kwargs.get("dtype")
    if isinstance(of, type) and of in FROM_PYTHON:
        return {**kwargs, "dtype": FROM_PYTHON[of]}
    if not isinstance(error, TypeError):
        return None
    text = str(error)
    for theirs, ours in SPELLINGS.items():
        if theirs in kwargs and ours not in kwargs and f"unexpected keyword argument '{theirs}'" in text:
            return {ours if name == theirs else name: value for name, value in kwargs.items()}
    return None


def _complaint(name: str, function: Callable, args: Sequence, kwargs: Mapping, method: bool) -> str | None:
    """What is wrong with the types of these arguments, or None."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return None  # Python's own words are about that
    for position, (parameter, value) in enumerate(bound.arguments.items(), 0 if method else 1):
        facts = bound.signature.parameters[parameter]
        if facts.kind is facts.VAR_POSITIONAL:
            names = getattr(getattr(function, "op", None), "operands", ())
            if not names and "Tensor" not in str(facts.annotation):
                continue
            for i, item in enumerate(value):
                shown = names[i] if i < len(names) and len(names) > 1 else parameter
                found = _wrong(item, "Tensor")
                if found:
                    return f"{name}(): argument '{shown}' (position {position + i}) must be Tensor, not {found}"
            continue
        hint = facts.annotation if isinstance(facts.annotation, str) else str(facts.annotation)
        found = _wrong(value, hint) if "Tensor" in hint else None
        if found and found.startswith("element"):
            return f"{name}(): expected Tensor as {found.replace(':', f' in argument {position - 1}, but got')}"
        if found:
            wanted = "tuple of Tensors" if any(word in hint for word in _GROUPS) else "Tensor"
            return f"{name}(): argument '{parameter}' (position {position}) must be {wanted}, not {found}"
    return None


def _taken(name: str, args: Sequence, kwargs: Mapping, error: Exception) -> str | None:
    """The same where annotations do not tell: an argument was asked for what only Tensors (or dtypes) have."""
    if not isinstance(error, AttributeError) or isinstance(error.obj, Tensor):
        return None
    if error.obj is not None and error.obj is kwargs.get("dtype"):
        return f"{name}(): argument 'dtype' must be dtype, not {type(error.obj).__name__}: {error.obj!r:.40}"
    given = [item for a in args for item in (a if isinstance(a, (list, tuple)) else (a,))]
    if not any(error.obj is item for item in given):
        return None
    return f"{name}(): expected a Tensor, but got {type(error.obj).__name__}: {error.obj!r:.80}"


def _wrong(value: Any, hint: str) -> str | None:
    """The type of a value that does not fit an annotation with Tensors in it, or None."""
    if isinstance(value, Tensor):
        return None
    if value is None:
        return None if "None" in hint else "NoneType"
    if any(word in hint for word in _GROUPS) and isinstance(value, Iterable) and not isinstance(value, str):
        for i, item in enumerate(value):
            if not isinstance(item, (Tensor, float, int, complex, Sequence)) and item is not None:
                return f"element {i}: {type(item).__name__}"
            if isinstance(item, str) or ("[Tensor]" in hint and not isinstance(item, (Tensor, Sequence))):
                return f"element {i}: {type(item).__name__}"
        return None
    if isinstance(value, (float, int, complex)) and any(word in hint for word in _NUMBERS):
        return None
    if isinstance(value, str) and "str" in hint:
        return None
    return type(value).__name__
