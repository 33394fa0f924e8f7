"""Automatic differentiation: recording (below the core) and, loaded when it is first used, the engine above it."""

from importlib import import_module
from typing import Any

if __name__ != "naiad.autograd":
    raise ImportError(f"this package is naiad.autograd, not {__name__}: import it as `from naiad import autograd`")

_HOMES = {
    "grad": "api",
    "backward": "api",
    "Function": "function",
    "Variable": "variable",
    "detect_anomaly": "anomaly_mode",
    "set_detect_anomaly": "anomaly_mode",
    "gradcheck": "gradcheck",
    "gradgradcheck": "gradcheck",
    "set_grad_enabled": "mode",
    "no_grad": "mode",
    "enable_grad": "mode",
    "inference_mode": "mode",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        try:
            return import_module(f"naiad.autograd.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"naiad.autograd.{name}":
                raise
            raise AttributeError(f"module 'naiad.autograd' has no attribute {name!r}") from None
    value = getattr(import_module(f"naiad.autograd.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
