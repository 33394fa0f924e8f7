"""Spectral normalization by a hook (the older form). Source: Miyato et al., arXiv:1802.05957."""

from __future__ import annotations

from typing import Any, TypeVar

import naiad
from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules import conv
from naiad.nn.modules.module import Module
from naiad.nn.parameter import Parameter

Self = TypeVar("Self", bound=Module)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """(weight.size(dim), everything else)."""
    if dim != 0:
        weight = weight.movedim(dim, 0)
    return weight.reshape(weight.size(0), -1)


def output_dim(module: Module) -> int:
    """The dimension of a weight that numbers the outputs: the second one where a convolution is transposed."""
    return 1 if isinstance(module, conv._ConvTransposeNd) else 0


class SpectralNorm:
    """The hook: divides the weight by its largest singular value, as power iteration knows it by then."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module: Any, do_power_iteration: bool) -> Tensor:
        """The weight to use. Iterating changes the buffers u and v; the copies taken here are what backward sees."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with naiad.no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.t() @ u, dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix @ v, dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()
        return weight / naiad.dot(u, matrix @ v)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def spectral_norm(
    module: Self, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Self:
    """Keep a parameter as ``name_orig`` and use it divided by its largest singular value.

    Raises RuntimeError where that is done already.
    """
    if any(isinstance(h, SpectralNorm) and h.name == name for h in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    hook = SpectralNorm(name, n_power_iterations, output_dim(module) if dim is None else dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    with naiad.no_grad():
        rows, cols = as_matrix(weight, hook.dim).shape
        u = F.normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
        v = F.normalize(weight.new_empty(cols).normal_(0, 1), dim=0, eps=eps)
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.data)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Self, name: str = "weight") -> Self:
    """Make it an ordinary parameter again, of the normalized values. Raises ValueError where it is one."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            with naiad.no_grad():
                weight = hook.compute_weight(module, do_power_iteration=False)
            for extra in ("", "_u", "_v", "_orig"):
                delattr(module, name + extra)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")
