"""Optimizers and learning-rate schedules, with PyTorch's names, options and state.

`naiad.optim.lr_scheduler` holds the schedules, `naiad.optim.swa_utils` weight averaging. An optimizer's formula is one
pure function in its file; `rule.py` says how it is run.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from naiad.optim import lr_scheduler
from naiad.optim.adadelta import Adadelta
from naiad.optim.adafactor import Adafactor
from naiad.optim.adagrad import Adagrad
from naiad.optim.adam import Adam
from naiad.optim.adamax import Adamax
from naiad.optim.adamw import AdamW
from naiad.optim.asgd import ASGD
from naiad.optim.lbfgs import LBFGS
from naiad.optim.muon import Muon
from naiad.optim.nadam import NAdam
from naiad.optim.optimizer import Optimizer
from naiad.optim.radam import RAdam
from naiad.optim.rmsprop import RMSprop
from naiad.optim.rprop import Rprop
from naiad.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]


def __getattr__(name: str) -> ModuleType:
    if name == "swa_utils":  # loaded at first touch: it needs nn
        return importlib.import_module("naiad.optim.swa_utils")
    raise AttributeError(f"module 'naiad.optim' has no attribute {name!r}")
