"""What every program is handed: the module that plays torch, the device, and numbers that are the same for both."""

from __future__ import annotations

from typing import Any

import numpy as np


class Run:
    """One run of a program: `torch` is PyTorch or naiad, and `random` the only source of its weights and data."""

    def __init__(self, torch: Any, device: str = "cpu") -> None:
        self.torch, self.device = torch, device
        self.random = np.random.default_rng(0)

    def tensor(self, array: np.ndarray) -> Any:
        """The array as a tensor on the run's device."""
        return self.torch.from_numpy(array).to(self.device)

    def normal(self, *shape: int) -> Any:
        return self.tensor(self.random.standard_normal(shape).astype(np.float32))

    def uniform(self, *shape: int) -> Any:
        return self.tensor(self.random.random(shape).astype(np.float32))

    def integers(self, low: int, high: int, *shape: int) -> Any:
        return self.tensor(self.random.integers(low, high, shape))

    def weights(self, module: Any) -> Any:
        """Fill the parameters with normal numbers over the root of the fan-in; the module, on the run's device."""
        with self.torch.no_grad():
            for _, parameter in sorted(module.named_parameters()):
                fan = int(np.prod(parameter.shape[1:])) if parameter.dim() > 1 else 10
                values = self.random.standard_normal(tuple(parameter.shape)) / np.sqrt(max(1, fan))
                parameter.copy_(self.torch.from_numpy(np.asarray(values, dtype=np.float32)))
        return module.to(self.device)
