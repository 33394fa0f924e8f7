"""Samplers against PyTorch's, and by what they promise where they are random."""

import itertools

import numpy as np
import pytest

import naiad
from naiad.utils import data

torch = pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")


def test_random_sampler():
    naiad.manual_seed(0)
    sampler = data.RandomSampler(range(50))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    naiad.manual_seed(0)
    assert list(sampler) == first
    assert len(list(data.RandomSampler(range(5), num_samples=12))) == 12
    drawn = list(data.RandomSampler(range(5), replacement=True, num_samples=5000))
    counts = np.bincount(drawn, minlength=5)
    assert len(drawn) == 5000 and counts.min() > 850 and counts.max() < 1150
    generator = naiad.Generator().manual_seed(3)
    one = list(data.RandomSampler(range(9), generator=generator))
    assert one == list(data.RandomSampler(range(9), generator=generator.manual_seed(3)))
    with pytest.raises(ValueError, match="num_samples=0"):
        data.RandomSampler(range(5), num_samples=0)
    with pytest.raises(TypeError, match="replacement=1"):
        data.RandomSampler(range(5), 1)


def test_subset_and_weighted_samplers():
    assert sorted(data.SubsetRandomSampler([3, 5, 7])) == [3, 5, 7]
    drawn = list(data.WeightedRandomSampler([0.0, 1.0, 3.0], 4000))
    counts = np.bincount(drawn, minlength=3)
    assert counts[0] == 0 and 850 < counts[1] < 1150
    assert sorted(data.WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False)) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        data.WeightedRandomSampler([[1.0, 2.0]], 1)
    with pytest.raises(ValueError, match="num_samples=-1"):
        data.WeightedRandomSampler([1.0], -1)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [0, 1, 5, 6])
def test_batch_sampler(n, drop_last):
    ours = data.BatchSampler(data.SequentialSampler(range(n)), 3, drop_last)
    theirs = torch.utils.data.BatchSampler(range(n), 3, drop_last)
    assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_batch_sampler_checks():
    with pytest.raises(ValueError, match="batch_size=0"):
        data.BatchSampler(range(3), 0, False)
    with pytest.raises(ValueError, match="drop_last=1"):
        data.BatchSampler(range(3), 1, 1)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [3, 10, 12, 13])
def test_distributed_sampler(n, drop_last):
    args = {"num_replicas": 4, "shuffle": False, "drop_last": drop_last}
    for rank in range(4):
        ours = data.DistributedSampler(range(n), rank=rank, **args)
        theirs = torch.utils.data.DistributedSampler(range(n), rank=rank, **args)
        assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_distributed_sampler_shuffles_alike_everywhere():
    from naiad.utils.data.distributed import DistributedSampler

    samplers = [DistributedSampler(range(12), 3, rank) for rank in range(3)]
    orders = []
    for epoch in (0, 1):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        orders.append([list(sampler) for sampler in samplers])
        assert sorted(itertools.chain(*orders[-1])) == list(range(12))
    assert orders[0] != orders[1]
    with pytest.raises(RuntimeError, match="pass num_replicas and rank"):
        DistributedSampler(range(3))
    with pytest.raises(ValueError, match="Invalid rank 3"):
        DistributedSampler(range(3), 3, 3)
