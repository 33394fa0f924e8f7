"""Datasets, samplers and the DataLoader, with PyTorch's names and behaviour."""

from naiad.utils.data._utils.collate import default_collate, default_convert
from naiad.utils.data._utils.fetch import _DatasetKind
from naiad.utils.data._utils.worker import get_worker_info
from naiad.utils.data.dataloader import DataLoader
from naiad.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from naiad.utils.data.distributed import DistributedSampler
from naiad.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "_DatasetKind",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]
