"""DataParallel, on the one device there is."""

from __future__ import annotations

from typing import Any

from naiad.nn.modules.module import Module


class DataParallel(Module):
    """Its module, under the name ``module``: with no more than one device there is nothing to split.

    Raises:
        RuntimeError: more than one device is asked for.
    """

    def __init__(self, module: Module, device_ids: list | None = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise RuntimeError(
                f"DataParallel over devices {list(device_ids)} is not supported: "
                "give one device, or none for the default"
            )
        self.dim = dim
        self.module = module
        self.device_ids = list(device_ids or ())
        self.output_device = output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
