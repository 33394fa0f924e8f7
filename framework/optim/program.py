"""A rule on symbols: what it does with concrete numbers, as a program of NumPy calls or as data for a kernel.

The numbers decide the rule's branches and make its coefficients constants, so that one program serves all parameters
that share them in one step. Steps that differ in the coefficients only share the compiled function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from naiad.core.numpy_program import Program, compile_program
from naiad.core.trace import Namespace, Symbol, Trace

Rule = Callable[..., tuple]


def compile_rule(rule: Rule, states: int, numbers: dict[str, Any], dtype: np.dtype) -> Program:
    """The program that updates a parameter with so many state arrays in place; its arrays are these and the gradient.

    float16 and bfloat16 are computed in float32 and rounded once.
    """
    trace, results = _traced(rule, states, numbers)
    names = [symbol.name for symbol in trace.inputs]
    narrow = dtype.itemsize == 2
    wide = np.dtype(np.float32) if narrow else dtype
    into = tuple(range(states + 1))
    return compile_program(rule.__name__, names, trace.lines, results, wide, into=into, widen=narrow)


def trace_rule(rule: Rule, states: int, numbers: dict[str, Any]) -> tuple[tuple, tuple, list[float]]:
    """What `rule` does with these numbers: operations, the values that parameter and state become, and constants.

    Operation i is (name, operands) and makes value `states + 2 + i`; values 0 to `states + 1` are the parameter, its
    state and the gradient, and a negative operand -k is constant number k - 1.
    """
    trace, results = _traced(rule, states, numbers)
    values = {symbol.name: i for i, symbol in enumerate([*trace.inputs, *(line[0] for line in trace.lines)])}
    constants: list[float] = []

    def number(operand: Any) -> int:
        if isinstance(operand, Symbol):
            return values[operand.name]
        constants.append(operand)
        return -len(constants)

    ops = tuple([(op, tuple([number(a) for a in args])) for _, op, args in trace.lines])
    return ops, tuple([values[r.name] for r in results]), constants


def _traced(rule: Rule, states: int, numbers: dict[str, Any]) -> tuple[Trace, Sequence[Symbol]]:
    trace = Trace(["param", *(f"state{i}" for i in range(states)), "grad"], share=False)
    param, *state, grad = trace.inputs
    return trace, rule(Namespace(trace), param, grad, *state, **numbers)
