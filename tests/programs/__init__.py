"""Small programs as they are found in public, each a function of a `Run` that gives the losses of its training.

They use nothing but PyTorch's names, so that each runs with PyTorch and with naiad, on any device.
"""

from . import (
    actors,
    classification,
    contrastive,
    control,
    detection,
    generative,
    housekeeping,
    language,
    latent,
    savings,
    science,
    sequences,
    structure,
    techniques,
    transformers,
    vision,
)
from .run import Run

FILES = (
    vision,
    classification,
    detection,
    contrastive,
    generative,
    latent,
    language,
    transformers,
    sequences,
    control,
    actors,
    structure,
    science,
    techniques,
    savings,
    housekeeping,
)
PROGRAMS = {
    name: program
    for file in FILES
    for name, program in vars(file).items()
    if callable(program) and not name.startswith("_") and getattr(program, "__module__", "") == file.__name__
}
