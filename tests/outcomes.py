"""What a snippet of a program comes to, written down so that PyTorch's outcome and naiad's can be compared.

A snippet names the framework `torch`; its last line, an expression, is what it comes to. A tensor is written as dtype,
shape, strides, whether it requires grad, and values; an exception as its class.
"""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

import numpy as np

import naiad


def outcome(code: str, framework: Any) -> Any:
    """What `code` comes to under a framework, and the categories of the warnings on the way."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    scope = {"torch": framework, "nn": framework.nn, "F": framework.nn.functional, "np": np, "math": math}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compile(tree, "<snippet>", "exec"), scope)
            result = written(eval(compile(last, "<snippet>", "eval"), scope), framework)
        except Exception as error:
            # naiad may say NotImplementedError, which is one, where PyTorch says RuntimeError.
            kind = type(error).__name__
            result = ("raised", "RuntimeError" if kind == "NotImplementedError" else kind)
    return result, sorted({w.category.__name__ for w in caught if w.category is not DeprecationWarning})


def written(value: Any, framework: Any) -> Any:
    """A value as plain tuples, numbers and text."""
    if isinstance(value, framework.Tensor):
        return _tensor(value, framework)
    if isinstance(value, (framework.dtype, framework.device, framework.memory_format)):
        return str(value).replace("naiad", "torch")
    if isinstance(value, framework.Size):
        return ("Size", *value)
    if isinstance(value, (tuple, list)):
        return tuple(written(v, framework) for v in value)
    if isinstance(value, dict):
        return tuple((str(k), written(v, framework)) for k, v in value.items())
    if isinstance(value, np.ndarray):
        return ("ndarray", str(value.dtype), value.tolist())
    if isinstance(value, framework.nn.Module):
        return repr(value)
    return value.replace("naiad", "torch") if isinstance(value, str) else value


def _tensor(tensor: Any, framework: Any) -> tuple:
    still = tensor.detach()
    values = None if still.device.type == "meta" else (still.float() if still.element_size() == 2 else still).tolist()
    strides = tuple(s if n > 1 else 0 for s, n in zip(tensor.stride(), tensor.shape, strict=True))
    kind = "Parameter" if isinstance(tensor, framework.nn.Parameter) else "Tensor"
    facts = (kind, str(tensor.dtype).split(".")[-1], tuple(tensor.shape), tensor.requires_grad)
    return (*facts, strides if tensor.numel() else None, values)


def same(ours: Any, theirs: Any) -> bool:
    """Equality, with floats equal to a few parts in 100000, and NaN to itself."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return (ours != ours and theirs != theirs) or math.isclose(ours, theirs, rel_tol=2e-5, abs_tol=1e-6)
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def check(code: str, torch: Any) -> None:
    """Assert that a snippet comes to the same under both."""
    theirs, ours = outcome(code, torch), outcome(code, naiad)
    assert same(ours, theirs), f"{code}\n  PyTorch: {theirs}\n  naiad:   {ours}"
