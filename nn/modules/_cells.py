"""The arithmetic of one recurrent step, as functions with their derivatives written out.

A step of an LSTM is a dozen small operations; as one function it is one node of the graph, its inside is not
recorded, and its backward computes the gradient of all gates at once. When the backward itself is recorded
(``create_graph``), the inner values are computed again from the inputs, so that they can be differentiated.
"""

from __future__ import annotations

from typing import Any

import naiad
from naiad.autograd import Function
from naiad.core.tensor import Tensor


class Steps(Function):
    """The time steps of a sequence: (T, N, ...) unbound or, with batch sizes, (sum of sizes, ...) split.

    Its derivative puts all the steps' gradients together at once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int] | None) -> tuple[Tensor, ...]:
        ctx.join = naiad.stack if sizes is None else naiad.cat
        return x.unbind(0) if sizes is None else x.split(sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.join(grads), None


class LSTMStep(Function):
    """gates (N, 4 hidden), before their nonlinearities, and memory (N, hidden) to the next hidden state and memory."""

    @staticmethod
    def inner(gates: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        n = memory.size(1)
        opened = gates.sigmoid()  # of all four, to save calls; the third is not used
        i, f, o = opened[:, :n], opened[:, n : 2 * n], opened[:, 3 * n :]
        g = gates[:, 2 * n : 3 * n].tanh()
        new = f * memory + i * g
        return i, f, g, o, new, new.tanh()

    @staticmethod
    def forward(ctx: Any, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(gates, memory)
        ctx.values = LSTMStep.inner(gates, memory)
        *_, o, new, shown = ctx.values
        return o * shown, new

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor]:
        gates, memory = ctx.saved_tensors
        i, f, g, o, _, shown = LSTMStep.inner(gates, memory) if naiad.is_grad_enabled() else ctx.values
        d_shown = d_hidden * o
        d_new = d_memory + _through_tanh(d_shown, shown)
        parts = (
            _through_sigmoid(d_new * g, i),
            _through_sigmoid(d_new * memory, f),
            _through_tanh(d_new * i, g),
            _through_sigmoid(d_hidden * shown, o),
        )
        return naiad.cat(parts, 1), d_new * f


class GRUStep(Function):
    """The input's and the state's parts of the gates, (N, 3 hidden) each, and the state to the next state."""

    @staticmethod
    def inner(x: Tensor, h_gates: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        n = h.size(1)
        opened = (x[:, : 2 * n] + h_gates[:, : 2 * n]).sigmoid()
        reset, keep, h_new = opened[:, :n], opened[:, n:], h_gates[:, 2 * n :]
        return reset, keep, h_new, (x[:, 2 * n :] + reset * h_new).tanh()

    @staticmethod
    def forward(ctx: Any, x: Tensor, h_gates: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(x, h_gates, h)
        ctx.values = GRUStep.inner(x, h_gates, h)
        _, keep, _, new = ctx.values
        return new + keep * (h - new)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, h_gates, h = ctx.saved_tensors
        reset, keep, h_new, new = GRUStep.inner(x, h_gates, h) if naiad.is_grad_enabled() else ctx.values
        d_h = d * keep
        d_keep = _through_sigmoid(d * (h - new), keep)
        d_new = _through_tanh(d - d_h, new)
        d_reset = _through_sigmoid(d_new * h_new, reset)
        d_x = naiad.cat([d_reset, d_keep, d_new], 1)
        return d_x, naiad.cat([d_reset, d_keep, d_new * reset], 1), d_h


def _through_sigmoid(d: Tensor, out: Tensor) -> Tensor:
    """d · out · (1 - out)."""
    d = d * out
    return d - d * out


def _through_tanh(d: Tensor, out: Tensor) -> Tensor:
    """d · (1 - out²)."""
    return d - d * (out * out)
