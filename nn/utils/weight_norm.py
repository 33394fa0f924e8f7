"""Weight normalization by a hook (the older form). Source: Salimans and Kingma, arXiv:1602.07868."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import naiad
from naiad.core.tensor import Tensor
from naiad.nn.modules.module import Module
from naiad.nn.parameter import Parameter

Self = TypeVar("Self", bound=Module)


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The norm over all dimensions but one, which keeps its size; with None or -1 over all of them, a 0-d tensor."""
    if dim is None or dim == -1:
        return naiad.norm(v)
    others = [i for i in range(v.dim()) if i != dim % v.dim()]
    return naiad.norm(v, 2, others, keepdim=True) if others else v.abs()


def normalized(g: Tensor, v: Tensor, dim: int | None) -> Tensor:
    """v, scaled so that `norm_except` of it is g."""
    return v * (g / norm_except(v, dim))


class WeightNorm:
    """The hook: sets the weight anew from its length and direction before each forward."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Any) -> Tensor:
        """The weight that length and direction make."""
        return normalized(getattr(module, self.name + "_g"), getattr(module, self.name + "_v"), self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Self, name: str = "weight", dim: int = 0) -> Self:
    """Replace a parameter by its length ``name_g`` and its direction ``name_v``, for each index of ``dim``.

    Raises RuntimeError where the parameter has been replaced already.
    """
    warnings.warn(
        "`nn.utils.weight_norm` is deprecated in favor of `nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if any(isinstance(h, WeightNorm) and h.name == name for h in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, -1 if dim is None else dim)
    weight = getattr(module, name)
    del module._parameters[name]
    module.register_parameter(name + "_g", Parameter(norm_except(weight, dim).detach()))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Self, name: str = "weight") -> Self:
    """Make it an ordinary parameter again. Raises ValueError where it is one."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            weight = hook.compute_weight(module)
            delattr(module, name)
            del module._parameters[name + "_g"], module._parameters[name + "_v"], module._forward_pre_hooks[key]
            setattr(module, name, Parameter(weight.detach()))
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
