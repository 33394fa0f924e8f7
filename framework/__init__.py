"""naiad: a GPU-first tensor framework. `import naiad as torch` and a PyTorch training script runs."""

if __name__ != "naiad":
    raise ImportError(f"this package is naiad, not {__name__}: install it with `pip install -e .` and `import naiad`")

from importlib import import_module as _import_module
from typing import Any as _Any

from naiad.core import dtype as _dtype
from naiad.core.device import device
from naiad.core.dtype import dtype, finfo, iinfo, promote_types
from naiad.core.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from naiad.core.state import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_default_device,
    set_default_dtype,
    set_grad_enabled,
)
from naiad.core.state import default_dtype as get_default_dtype
from naiad.core.tensor import Size, Tensor, install_methods, is_tensor

import naiad.ops as _ops  # fills the table
import naiad.autograd.api as _api
from naiad.core.op import PUBLIC as _PUBLIC

__version__ = "0.1.0"

globals().update({_d.name: _d for _d in _dtype.ALL})
globals().update(_dtype.ALIASES)
globals().update(_PUBLIC["naiad"])
install_methods(_PUBLIC["Tensor"])
