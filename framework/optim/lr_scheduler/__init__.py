"""Learning-rate schedules, with PyTorch's names and formulas."""

from naiad.optim.lr_scheduler.base import LRScheduler
from naiad.optim.lr_scheduler.composite import ChainedScheduler, SequentialLR
from naiad.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from naiad.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from naiad.optim.lr_scheduler.plateau import ReduceLROnPlateau
from naiad.optim.lr_scheduler.stepwise import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

_LRScheduler = LRScheduler  # the name of older scripts

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
