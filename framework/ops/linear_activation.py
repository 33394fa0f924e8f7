"""A linear layer with the activation after it, as one kernel on cuda.

The result of the product goes through the activation while it is in registers: main memory sees it once. Recorded are
both ops, by themselves, so derivatives of any order are theirs. That works where the activation's derivative needs no
more than its result, as relu's; where it needs the product itself, the two run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naiad.autograd.record import record
from naiad.core import backend
from naiad.core.device import CUDA
from naiad.core.dispatch import apply, gradient_mask, settle
from naiad.core.dtype import FLOAT
from naiad.core.elementwise import Elementwise
from naiad.core.op import Op
from naiad.core.state import State
from naiad.core.tensor import Tensor, wrap
from naiad.ops.activation import gelu_op, relu_op, silu_op
from naiad.ops.linear import linear_op

ACTIVATIONS: dict[str, Elementwise] = {"relu": relu_op.op, "gelu": gelu_op.op, "silu": silu_op.op}


class _LinearActivation(Op):
    kernel, autocast = "matmul.linear", "lower"

    def __init__(self) -> None:
        super().__init__("linear_activation", ("input", "weight", "bias"), ("activation",))

    def infer(self, xs: Sequence, attrs: dict) -> Any:
        return linear_op.op.infer(xs, {})

    def run(self, state: State, xs: Sequence, attrs: dict) -> Tensor:
        activation, input = attrs["activation"], xs[0]
        mask = gradient_mask(xs) if state.grad else 0
        needs_product = mask and 0 in (activation.plans.get(1) or activation.plan(1)).keys
        if input._device.kind != CUDA or input._dtype.kind != FLOAT or needs_product:
            return apply(activation, (apply(linear_op.op, xs),))
        xs, home = settle(self, xs)
        arrays = [None if x is None else x._array for x in xs]
        (array,) = backend.primitive(self, xs, arrays, attrs, home)
        out = wrap(array, input._dtype, home, state.inference)
        if mask:
            product = wrap(array, input._dtype, home)  # stands for it: nobody reads its values
            record(linear_op.op, xs, mask, product)
            record(activation, (product,), 1, out)
        return out


_LINEAR_ACTIVATION = _LinearActivation()


def linear_activation(input: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """activation(linear(input, weight, bias)), activation: "relu", "gelu" or "silu"."""
    return apply(_LINEAR_ACTIVATION, (input, weight, bias), {"activation": ACTIVATIONS[activation]})
