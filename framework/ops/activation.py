"""Activation functions."""

from __future__ import annotations

from typing import Any

from naiad.core.elementwise import elementwise

BOTH = ("nn.functional", "naiad", "Tensor")


@elementwise(namespaces=("naiad", "Tensor"), promote="float")
def sigmoid(m: Any, input: Any) -> Any:
    """1 / (1 + exp(-input))."""
    return m.sigmoid(input)


# The gradient names the output, so that `relu_` may overwrite its input.
@elementwise(namespaces=BOTH, grad={"input": lambda m, g, out: m.where(out <= 0, 0, g)}, kinds=(1, 2))
def relu(m: Any, input: Any) -> Any:
    """max(input, 0); NaN stays NaN."""
    return m.where(input <= 0, 0, input)


@elementwise(namespaces=("nn.functional",), name="silu", kinds=(2, 3), inplace=False)
def silu(m: Any, input: Any) -> Any:
    """input * sigmoid(input)."""
    return input * m.sigmoid(input)
