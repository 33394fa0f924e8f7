"""The libraries that providers are written in: how each makes its arrays, waits for its device, and shows results."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

NUMPY_TYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


def numpy_type(dtype: str) -> np.dtype:
    """NumPy's dtype of a name; bfloat16 is ml_dtypes'."""
    return NUMPY_TYPES.get(dtype) or np.dtype(dtype)


class Library:
    """One library on one device ("cpu" or "cuda"). Tensor libraries are alike; NumPy and CuPy override."""

    name = ""

    def __init__(self, device: str) -> None:
        self.device = device
        self.module = importlib.import_module(self.name)

    @classmethod
    def missing(cls, device: str) -> str | None:
        """Why the library cannot be used on a device here, or None."""
        try:
            module = importlib.import_module(cls.name)
        except ImportError as error:
            return f"{cls.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        return cls.lacks(module, device)

    @classmethod
    def lacks(cls, module: Any, device: str) -> str | None:
        if device == "cuda" and not module.cuda.is_available():
            return f"{cls.name} finds no cuda device"
        return None

    @property
    def version(self) -> str:
        return self.module.__version__

    def takes(self, dtype: str) -> bool:
        """Whether the library computes in a dtype in earnest."""
        return True

    def array(self, values: np.ndarray, dtype: str, grad: bool) -> Any:
        """An operand on the device; floats in `dtype`."""
        tensor = self.module.from_numpy(np.ascontiguousarray(values)).to(self.device)
        if values.dtype.kind == "f":
            tensor = tensor.to(getattr(self.module, dtype))
        return tensor.requires_grad_() if grad else tensor

    def wait(self) -> None:
        """Return when the device has done its work."""
        if self.device == "cuda":
            self.module.cuda.synchronize()

    def values(self, result: Any) -> np.ndarray:
        """A result as float64 (or its integers) in host memory."""
        tensor = result.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(self.module.float64)
        return tensor.numpy()

    def copier(self, size: int) -> Callable[[], Any]:
        """A call that copies `size` float32 numbers."""
        source = self.module.ones(size, device=self.device)
        target = self.module.zeros(size, device=self.device)
        return lambda: target.copy_(source)

    def variants(self) -> list[tuple[str, Callable[[Callable], Callable]]]:
        """(what is added to a provider's name, how its call is wrapped): settings under which it is measured."""
        return [("", lambda call: call)]


class Naiad(Library):
    name = "naiad"


class Torch(Library):
    name = "torch"

    def variants(self) -> list[tuple[str, Callable[[Callable], Callable]]]:
        cores = len(os.sched_getaffinity(0))
        if self.device != "cpu" or cores == 1:
            return super().variants()
        from naiad.bench.overhead import at_threads

        def wrapped(threads: int) -> Callable[[Callable], Callable]:
            return lambda call: at_threads(self.module, threads, call)

        return [(f", {n} thread{'s' if n > 1 else ''}", wrapped(n)) for n in (1, cores)]


class Numpy(Library):
    name = "numpy"

    @classmethod
    def lacks(cls, module: Any, device: str) -> str | None:
        return None if device == "cpu" else "numpy is for the cpu"

    def takes(self, dtype: str) -> bool:
        return dtype not in ("bfloat16", "float16")

    def array(self, values: np.ndarray, dtype: str, grad: bool) -> Any:
        return self.module.asarray(values.astype(numpy_type(dtype)) if values.dtype.kind == "f" else values)

    def wait(self) -> None:
        """NumPy is done when it returns."""

    def values(self, result: Any) -> np.ndarray:
        result = np.asarray(result)
        return result.astype(np.float64) if result.dtype.kind in "fV" else result

    def copier(self, size: int) -> Callable[[], Any]:
        source, target = self.module.ones(size, np.float32), self.module.zeros(size, np.float32)
        return lambda: self.module.copyto(target, source)


class Cupy(Numpy):
    name = "cupy"

    @classmethod
    def lacks(cls, module: Any, device: str) -> str | None:
        if device != "cuda":
            return "cupy is for cuda"
        return None if module.is_available() else "cupy finds no cuda device"

    def takes(self, dtype: str) -> bool:
        return dtype != "bfloat16"

    def wait(self) -> None:
        self.module.cuda.runtime.deviceSynchronize()

    def values(self, result: Any) -> np.ndarray:
        return super().values(self.module.asnumpy(result))


KINDS: dict[str, type[Library]] = {kind.name: kind for kind in (Naiad, Numpy, Torch, Cupy)}
