"""Neural networks: modules, functional forms, initialisation and utilities, under PyTorch's names."""

if __name__ != "naiad.nn":
    raise ImportError(f"this folder is naiad.nn, not {__name__!r}: pip install -e . and import naiad.nn")

from naiad.nn import functional, init, modules, parameter, utils
from naiad.nn.modules import *  # noqa: F403
from naiad.nn.modules import __all__ as _module_names
from naiad.nn.parallel import DataParallel
from naiad.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    *_module_names,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parameter",
    "utils",
]
