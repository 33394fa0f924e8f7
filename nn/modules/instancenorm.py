"""Instance normalization (Ulyanov et al., 2016)."""

from __future__ import annotations

import warnings
from typing import Any

from naiad.core.tensor import Tensor
from naiad.nn import functional as F
from naiad.nn.modules.batchnorm import _NormBase
from naiad.nn.modules.lazy import LazyNormMixin

__all__ = [
    *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    *("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"),
]


class _InstanceNorm(_NormBase):
    """Every channel of every sample to mean 0 and variance 1."""

    _dims: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        single = self._dims + 1
        self._check_dim(input, single, single + 1)
        channels = input.size(-single)
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={input.dim() - single} to match num_features "
                    f"({self.num_features}), but got: {channels}."
                )
            warnings.warn(
                f"input's size at dim={input.dim() - single} does not match num_features. You can silence this "
                "warning by not passing in num_features, which is not used because affine=False",
                stacklevel=3,
            )
        batched = input if input.dim() > single else input.unsqueeze(0)
        by_instance = self.training or not self.track_running_stats
        output = F.instance_norm(
            batched,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            by_instance,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return output if input.dim() > single else output.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """(N, C, L) or (C, L), normalized over L."""

    _dims = 1


class InstanceNorm2d(_InstanceNorm):
    """(N, C, H, W) or (C, H, W), normalized over H and W."""

    _dims = 2


class InstanceNorm3d(_InstanceNorm):
    """(N, C, D, H, W) or (C, D, H, W), normalized over D, H and W."""

    _dims = 3


class _LazyInstanceNorm(LazyNormMixin, _InstanceNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=bias)
        self._make_lazy(affine, bias, track_running_stats, device, dtype)


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """An InstanceNorm1d whose num_features is that of its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """An InstanceNorm2d whose num_features is that of its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """An InstanceNorm3d whose num_features is that of its first input."""

    cls_to_become = InstanceNorm3d
