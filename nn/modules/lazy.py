"""Modules that learn the shapes of their parameters from the first input, and then become ordinary ones."""

from __future__ import annotations

import itertools
from typing import Any

import naiad
from naiad.nn.modules.module import Module
from naiad.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin(Module):
    """Beside a module class: parameters stay uninitialized until the first call, which makes it a ``cls_to_become``.

    A subclass defines ``initialize_parameters(*args, **kwargs)``, which sees the arguments of that call.
    """

    cls_to_become: type[Module] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(_infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give every parameter and buffer its shape, from the arguments of the first call."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer still waits for its shape."""
        return any(map(is_lazy, itertools.chain(self._parameters.values(), self._buffers.values())))

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as soon as there are any."""
        if not self.has_uninitialized_params() and self._inputs_known():
            super().reset_parameters()  # type: ignore[misc]

    def _inputs_known(self) -> bool:
        return True


def _infer_parameters(module: Any, args: tuple, kwargs: dict) -> None:
    """Before the first forward: initialize, and become an ordinary module."""
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
    module._initialize_hook.remove()
    del module._initialize_hook
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


class LazyConvMixin(LazyModuleMixin):
    """What the lazy convolutions share; the number of input channels is the input's."""

    _dims: int
    transposed: bool

    def _make_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _inputs_known(self) -> bool:
        return self.in_channels != 0

    def initialize_parameters(self, input: naiad.Tensor, *args: Any, **kwargs: Any) -> None:
        """Take the number of channels of (N, C, ...) or (C, ...)."""
        if not self.has_uninitialized_params():
            return
        n = self._dims
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, but got input "
                f"of size: {input.shape}"
            )
        self.in_channels = input.shape[-n - 1]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        ends = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        self.weight.materialize((ends[0], ends[1] // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


class LazyNormMixin(LazyModuleMixin):
    """What the lazy batch and instance norms share; the number of features is the input's."""

    def _make_lazy(self, affine: bool, bias: bool, track: bool, device: Any, dtype: Any) -> None:
        self.affine, self.track_running_stats = affine, track
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = naiad.tensor(0, dtype=naiad.long, device=device)

    def _inputs_known(self) -> bool:
        return self.num_features != 0

    def initialize_parameters(self, input: naiad.Tensor) -> None:
        """Take the number of features of (N, C, ...)."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for tensor in itertools.chain(self._parameters.values(), self._buffers.values()):
            if is_lazy(tensor):
                tensor.materialize((self.num_features,))
        self.reset_parameters()
