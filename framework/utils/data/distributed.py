"""A sampler that gives each of several processes its share of the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import naiad
from naiad.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Process `rank` of `num_replicas` takes every num_replicas-th sample, in an order that all share.

    Call `set_epoch(epoch)` before each epoch, or every epoch has the same order. All processes take as many samples:
    some are taken twice if the number does not divide, or with `drop_last` left out.

    Raises:
        RuntimeError: `num_replicas` or `rank` left out, since there is no process group to ask.
        ValueError: a rank that is not below `num_replicas`.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            missing = "num_replicas" if num_replicas is None else "rank"
            raise RuntimeError(
                f"DistributedSampler: no process group is initialized that {missing} could be taken from; pass "
                "num_replicas and rank"
            )
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        size = len(dataset)
        self.num_samples = size // num_replicas if drop_last else math.ceil(size / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        if self.shuffle:
            generator = naiad.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = naiad.randperm(size, generator=generator).tolist()
        else:
            order = list(range(size))
        # Begin again from the start where samples are missing; with drop_last, total_size is at most size.
        return iter([order[i % size] for i in range(self.rank, self.total_size, self.num_replicas)])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch
