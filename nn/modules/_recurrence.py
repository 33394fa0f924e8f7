"""Running a recurrent cell over time, for sequences of one length and for packed ones.

The input's projection does not depend on the state: it is one matrix product for the whole sequence,
so that a step costs one small product and the cell's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import naiad
from naiad.core.op import as_one
from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules._cells import GRUStep, LSTMStep, Steps

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


def _run_direction(
    mode: str, x: Tensor, batch_sizes: list[int] | None, state: State, weights: Sequence[Any], reverse: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: its outputs in the order of the inputs, and its last state.

    ``x`` is (T, N, input), or (sum of batch sizes, input) for packed sequences. ``weights`` are
    w_ih, w_hh, b_ih, b_hh and w_hr, with None for what is absent.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    bias, step = _CELLS[mode](w_hh, b_ih, b_hh, w_hr)
    projected = F.linear(x, w_ih, bias)
    inputs = Steps.apply(projected, batch_sizes)
    if batch_sizes is None:
        outputs, state = _over_time(step, inputs[::-1] if reverse else inputs, state)
        return naiad.stack(outputs[::-1] if reverse else outputs), state
    if reverse:
        outputs, state = _over_growing_batches(step, inputs[::-1], batch_sizes[::-1], state)
        return naiad.cat(outputs[::-1]), state
    outputs, state = _over_shrinking_batches(step, inputs, batch_sizes, state)
    return naiad.cat(outputs), state


# In autocast a whole layer counts as one op, as in the libraries that PyTorch calls: on cuda, and LSTM anywhere.
_run_lstm = as_one(_run_direction, "lower")
_run_other = as_one(_run_direction, {"cuda": "lower"})


def run_direction(mode: str, *args: Any) -> tuple[Tensor, State]:
    """`_run_direction` as mixed precision sees it."""
    return (_run_lstm if mode == "LSTM" else _run_other)(mode, *args)


def _over_time(step: Step, inputs: Sequence[Tensor], state: State) -> tuple[list[Tensor], State]:
    outputs = []
    for x in inputs:
        state = step(x, state)
        outputs.append(state[0])
    return outputs, state


def _over_shrinking_batches(
    step: Step, inputs: Sequence[Tensor], sizes: list[int], state: State
) -> tuple[list[Tensor], State]:
    """Sequences end as time goes on, the last ones of the batch first."""
    outputs, ended = [], []
    for x, size in zip(inputs, sizes, strict=True):
        if size < state[0].size(0):
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(x, state)
        outputs.append(state[0])
    if ended:
        state = tuple(naiad.cat(parts) for parts in zip(state, *ended[::-1], strict=True))
    return outputs, state


def _over_growing_batches(
    step: Step, inputs: Sequence[Tensor], sizes: list[int], initial: State
) -> tuple[list[Tensor], State]:
    """Backwards in time sequences begin one after the other, each from its own initial state."""
    outputs = []
    state = tuple(s[: sizes[0]] for s in initial)
    for x, size in zip(inputs, sizes, strict=True):
        known = state[0].size(0)
        if size > known:
            state = tuple(naiad.cat([s, first[known:size]]) for s, first in zip(state, initial, strict=True))
        state = step(x, state)
        outputs.append(state[0])
    return outputs, state


def _plain(activation: Callable[[Tensor], Tensor]) -> Callable:
    def cell(w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None, w_hr: Tensor | None) -> tuple[Tensor | None, Step]:
        w = w_hh.t()

        def step(x: Tensor, state: State) -> State:
            return (activation(naiad.addmm(x, state[0], w)),)

        return _sum(b_ih, b_hh), step

    return cell


def _lstm(w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None, w_hr: Tensor | None) -> tuple[Tensor | None, Step]:
    w = w_hh.t()
    w_out = None if w_hr is None else w_hr.t()

    def step(x: Tensor, state: State) -> State:
        h, c = state
        h, c = LSTMStep.apply(naiad.addmm(x, h, w), c)
        return (h if w_out is None else h @ w_out), c

    return _sum(b_ih, b_hh), step


def _gru(w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None, w_hr: Tensor | None) -> tuple[Tensor | None, Step]:
    def step(x: Tensor, state: State) -> State:
        (h,) = state
        return (GRUStep.apply(x, F.linear(h, w_hh, b_hh), h),)

    return b_ih, step


def _sum(b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    return None if b_ih is None else b_ih + b_hh


_CELLS = {"RNN_TANH": _plain(naiad.tanh), "RNN_RELU": _plain(naiad.relu), "LSTM": _lstm, "GRU": _gru}


def _run_cell(mode: str, x: Tensor, state: State, weights: Sequence[Any]) -> State:
    """One step: x (N, input) and a state of (N, hidden) to the next state."""
    w_ih, w_hh, b_ih, b_hh = weights
    bias, step = _CELLS[mode](w_hh, b_ih, b_hh, None)
    return step(F.linear(x, w_ih, bias), state)


run_cell = as_one(_run_cell, {"cuda": "lower"})
