"""naiad: a GPU-first tensor framework. `import naiad as torch` and a PyTorch training script runs.

This module joins the tiers: it fills the op table, makes its entries public names, and loads nn, optim and the other
services when they are first touched.
"""

if __name__ != "naiad":
    raise ImportError(f"this package is naiad, not {__name__}: install it with `pip install -e .` and `import naiad`")

from importlib import import_module as _import_module
from math import e, inf, nan, pi
from typing import Any as _Any

from naiad.core import copying as _copying
from naiad.core import dtype as _dtype
from naiad.core.device import device
from naiad.core.dtype import dtype, finfo, iinfo, promote_types
from naiad.core.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)
from naiad.core.printing import get_printoptions, set_printoptions
from naiad.core.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from naiad.core.inference import inference_mode, is_inference
from naiad.core.state import (
    default_device as _default_device,
)
from naiad.core.state import (
    default_dtype as get_default_dtype,
)
from naiad.core.state import (
    enable_grad,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_default_device,
    set_default_dtype,
    set_grad_enabled,
)
from naiad.core.tensor import Size, Tensor, is_tensor
from naiad.core.tensor import install_methods as _install_methods

# isort: split
import naiad.ops as _ops  # fills the table, so it comes before the next lines
from naiad import autograd
from naiad import einops_backend as _einops_backend
from naiad.autograd import api as _api
from naiad.autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled
from naiad.core.guard import guarded as _guarded
from naiad.core.op import PUBLIC as _PUBLIC

__version__ = "0.1.0"

globals().update({_d.name: _d for _d in _dtype.ALL})
globals().update(_dtype.ALIASES)
globals().update(_guarded(_PUBLIC["naiad"]))
_install_methods(_guarded(_PUBLIC["Tensor"], methods=True))
_install_methods(_copying.METHODS)
_einops_backend.install()

newaxis = None


def get_default_device() -> device:
    """The device of tensors made without naming one."""
    return _default_device()


# Loaded at first touch: `import naiad` alone makes all of them reachable, and costs nothing until then.
_MODULES = (
    *("nn", "optim", "utils", "cuda", "cpu", "linalg", "special", "func", "random", "accelerator", "backends"),
    *("serialization", "multiprocessing", "amp", "library", "testing", "version"),
)
_LAZY = {
    **dict.fromkeys(("save", "load"), "serialization"),
    **dict.fromkeys(("set_num_threads", "get_num_threads"), "threads"),
    **dict.fromkeys(("use_deterministic_algorithms", "are_deterministic_algorithms_enabled"), "determinism"),
    **dict.fromkeys(("set_float32_matmul_precision", "get_float32_matmul_precision"), "backends"),
    **dict.fromkeys(("autocast", "GradScaler"), "amp"),
    **dict.fromkeys(
        (
            *("is_autocast_enabled", "set_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype"),
            *("is_autocast_cache_enabled", "set_autocast_cache_enabled", "clear_autocast_cache"),
            *("autocast_increment_nesting", "autocast_decrement_nesting"),
            *("is_autocast_cpu_enabled", "set_autocast_cpu_enabled", "get_autocast_cpu_dtype"),
            *("set_autocast_cpu_dtype", "get_autocast_gpu_dtype", "set_autocast_gpu_dtype"),
        ),
        "amp.autocast_mode",
    ),
}


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        value = getattr(_import_module(f"naiad.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return _import_module(f"naiad.{name}")
    raise AttributeError(f"module 'naiad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LAZY})
