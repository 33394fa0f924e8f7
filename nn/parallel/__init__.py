"""A model on several devices."""

from naiad.nn.parallel.data_parallel import DataParallel

__all__ = ["DataParallel"]
