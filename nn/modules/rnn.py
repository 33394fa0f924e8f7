"""Recurrent networks: plain, LSTM (Hochreiter and Schmidhuber, 1997) and GRU (Cho et al., 2014)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import naiad
from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn import init
from naiad.nn.modules._recurrence import State, run_direction
from naiad.nn.modules._rnn_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase
from naiad.nn.modules.module import Module
from naiad.nn.parameter import Parameter
from naiad.nn.utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """``num_layers`` recurrent layers, in one direction or both. Weights start uniform in ±1/sqrt(hidden_size)."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_arguments(mode, hidden_size, num_layers, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates = _GATES[mode] * hidden_size
        width = proj_size or hidden_size
        directions = 2 if bidirectional else 1
        self._all_weights = []
        for layer in range(num_layers):
            layer_input = input_size if layer == 0 else width * directions
            for direction in range(directions):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, layer_input), "weight_hh": (gates, width)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                suffix = f"_l{layer}{'_reverse' if direction else ''}"
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(naiad.empty(shape, device=device, dtype=dtype)))
                self._all_weights.append([name + suffix for name in shapes])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: the layout that PyTorch packs for cuDNN has no use here."""

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights, layer by layer and direction by direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """(output, last state): (T, N, input) to (T, N, directions · hidden) and (layers · directions, N, hidden).

        A PackedSequence gives a PackedSequence; a single sequence has no N; with ``batch_first`` N comes first.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._label}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        if not batched:
            x = input.unsqueeze(1)
        else:
            x = input.transpose(0, 1) if self.batch_first else input
        state = self._state(hx, batched)
        if state is None:
            state = self._initial_state(x.size(1), x)
        elif not batched:
            state = tuple(s.unsqueeze(1) for s in state)
        self._check(x, state, x.size(1))
        output, state = self._run(x, None, state)
        if not batched:
            return output.squeeze(1), self._unpacked_state(tuple(s.squeeze(1) for s in state))
        return (output.transpose(0, 1) if self.batch_first else output), self._unpacked_state(state)

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, order, back = packed
        sizes = batch_sizes.tolist()
        state = self._state(hx, True)
        if state is None:
            state = self._initial_state(sizes[0], data)
        elif order is not None:
            state = tuple(s.index_select(1, order) for s in state)
        self._check(data, state, sizes[0])
        output, state = self._run(data, sizes, state)
        if back is not None:
            state = tuple(s.index_select(1, back) for s in state)
        return PackedSequence(output, batch_sizes, order, back), self._unpacked_state(state)

    def _run(self, x: Tensor, sizes: list[int] | None, state: State) -> tuple[Tensor, State]:
        """All layers: the outputs of the last one, and the last states of all."""
        initial = list(zip(*(s.unbind(0) for s in state), strict=True))
        directions = 2 if self.bidirectional else 1
        last = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout, True)
            outputs = []
            for place in range(layer * directions, (layer + 1) * directions):
                reverse = place % directions == 1
                weights = self._weights_at(place)
                output, final = run_direction(self.mode, x, sizes, initial[place], weights, reverse)
                outputs.append(output)
                last.append(final)
            x = outputs[0] if directions == 1 else naiad.cat(outputs, dim=-1)
        return x, tuple(naiad.stack(parts) for parts in zip(*last, strict=True))

    def _weights_at(self, place: int) -> list[Tensor | None]:
        weights: list[Tensor | None] = [getattr(self, name) for name in self._all_weights[place]]
        if not self.bias:
            weights[2:2] = [None, None]
        return weights if self.proj_size else [*weights, None]

    @property
    def _label(self) -> str:
        return "RNN" if self.mode.startswith("RNN") else self.mode

    def _state(self, hx: Any, batched: bool) -> State | None:
        """What the user gave, as a tuple, of the right rank."""
        if hx is None:
            return None
        wanted = 3 if batched else 2
        if hx.dim() != wanted:
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also be {wanted}-D "
                f"but got {hx.dim()}-D tensor"
            )
        return (hx,)

    def _unpacked_state(self, state: State) -> Any:
        return state[0]

    def _state_widths(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def _initial_state(self, batch: int, like: Tensor) -> State:
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(
            naiad.zeros((rows, batch, width), dtype=like.dtype, device=like.device) for width in self._state_widths()
        )

    def _check(self, x: Tensor, state: State, batch: int) -> None:
        if x.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.size(-1)}"
            )
        weight = getattr(self, self._all_weights[0][0])
        if x.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for i, (part, width) in enumerate(zip(state, self._state_widths(), strict=True)):
            if tuple(part.shape) != (rows, batch, width):
                raise RuntimeError(
                    f"Expected hidden{'' if len(state) == 1 else f'[{i}]'} size {(rows, batch, width)}, "
                    f"got {list(part.shape)}"
                )

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu instead of tanh."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity(nonlinearity)
        mode = f"RNN_{nonlinearity.upper()}"
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(mode, input_size, hidden_size, *rest, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory; its state is the pair (h, c). With ``proj_size`` h is projected to that width."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *rest, device=device, dtype=dtype)

    def _state(self, hx: Any, batched: bool) -> State | None:
        if hx is None:
            return None
        h, c = hx
        wanted = 3 if batched else 2
        if h.dim() != wanted or c.dim() != wanted:
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx and cx should also be {wanted}-D "
                f"but got ({h.dim()}-D, {c.dim()}-D) tensors"
            )
        return h, c

    def _unpacked_state(self, state: State) -> Any:
        return state

    def _state_widths(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)


class GRU(RNNBase):
    """Gated recurrent unit."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *rest, device=device, dtype=dtype)


def _check_nonlinearity(nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")


def _check_arguments(mode: str, hidden_size: int, num_layers: int, dropout: Any, proj_size: int) -> None:
    if mode not in _GATES:
        raise ValueError("Unrecognized RNN mode: " + mode)
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    if not isinstance(hidden_size, int):
        raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
    if hidden_size <= 0:
        raise ValueError("hidden_size must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
