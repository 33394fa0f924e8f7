"""Affine maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import naiad
from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn import init
from naiad.nn.modules.lazy import LazyModuleMixin
from naiad.nn.modules.module import Module
from naiad.nn.parameter import Parameter, UninitializedParameter
from naiad.ops.linear_activation import linear_activation

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear"]


class Identity(Module):
    """Its input, whatever arguments it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """y = x Wᵀ + b: (..., in_features) to (..., out_features).

    W and b start uniform in ±1/sqrt(in_features).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(naiad.empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(naiad.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W and b anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def activated(layer: Module, activation: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """activation(layer(input)): one kernel on cuda for a Linear that no hook looks at, and relu, gelu or silu."""
    known = {F.relu: "relu", F.gelu: "gelu", F.silu: "silu"}
    name = next((name for function, name in known.items() if function is activation), None)
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    if name is None or hooks or type(layer).forward is not Linear.forward:
        return activation(layer(input))
    return linear_activation(input, layer.weight, layer.bias, name)


class NonDynamicallyQuantizableLinear(Linear):
    """The output projection of MultiheadAttention; a Linear that keeps the name PyTorch prints."""


class Bilinear(Module):
    """y = x1ᵀ A x2 + b: (..., in1_features), (..., in2_features) to (..., out_features)."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(naiad.empty((out_features, in1_features, in2_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(naiad.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw A and b anew, uniform in ±1/sqrt(in1_features)."""
        bound = 1 / math.sqrt(self.weight.size(1))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear whose in_features is that of its first input."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _inputs_known(self) -> bool:
        return self.in_features != 0

    def initialize_parameters(self, input: Tensor) -> None:
        """Take the size of the input's last dimension."""
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            with naiad.no_grad():
                for parameter, shape in (
                    (self.weight, (self.out_features, self.in_features)),
                    (self.bias, (self.out_features,)),
                ):
                    if isinstance(parameter, UninitializedParameter):
                        parameter.materialize(shape)
            self.reset_parameters()
        if self.in_features == 0:  # its weights were loaded
            given, own = input.shape[-1], self.weight.shape[-1]
            if given != own:
                raise AssertionError(
                    f"The in_features inferred from input: {given} is not equal to in_features from self.weight: {own}"
                )
            self.in_features = input.shape[-1]
