"""How a batch is fetched from a dataset, in whichever process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import naiad
from naiad.utils.data._utils.collate import default_collate
from naiad.utils.data.dataset import Subset, TensorDataset, fetch_items


class _Fetcher:
    """`fetch(indices)` returns a collated batch; without batching, `fetch(index)` one converted sample."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last

    def fetch(self, possibly_batched_index: Any) -> Any:
        raise NotImplementedError


class _MapDatasetFetcher(_Fetcher):
    def fetch(self, possibly_batched_index: Any) -> Any:
        if not self.auto_collation:
            return self.collate_fn(self.dataset[possibly_batched_index])
        if self.collate_fn is default_collate:
            batch = _take_rows(self.dataset, possibly_batched_index)
            if batch is not None:
                return batch
        return self.collate_fn(fetch_items(self.dataset, possibly_batched_index))


class _IterableDatasetFetcher(_Fetcher):
    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool) -> None:
        super().__init__(dataset, auto_collation, collate_fn, drop_last)
        self._samples = iter(dataset)
        self._ended = False

    def fetch(self, possibly_batched_index: Any) -> Any:
        """The next samples, as many as there are indices; StopIteration at the end."""
        if self._ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self._samples))
        samples = []
        for _ in possibly_batched_index:
            try:
                samples.append(next(self._samples))
            except StopIteration:
                self._ended = True
                break
        if not samples or (self.drop_last and self._ended):
            raise StopIteration
        return self.collate_fn(samples)


def _take_rows(dataset: Any, indices: Any) -> list[naiad.Tensor] | None:
    """What `default_collate` would make of these samples of a TensorDataset, by one indexing per Tensor.

    None where that is not the whole story: subclasses may have their own `__getitem__`, and Tensors that require grad
    are stacked so that autograd sees it.
    """
    while type(dataset) is Subset:
        table = dataset.indices
        indices = [table[i] for i in indices]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    tensors = dataset.tensors
    if any(type(t) is not naiad.Tensor or t.requires_grad or t.device.type != "cpu" for t in tensors):
        return None
    rows = np.asarray(indices)
    if rows.ndim != 1 or rows.dtype.kind != "i":  # not plain indices: a sampler of one's own
        return None
    where = naiad.from_numpy(rows)
    return [t[where] for t in tensors]


class _DatasetKind:
    """Whether a dataset is indexed or iterated."""

    Map = 0
    Iterable = 1

    @staticmethod
    def create_fetcher(
        kind: int, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool
    ) -> _Fetcher:
        """The fetcher for a dataset of that kind."""
        cls = _MapDatasetFetcher if kind == _DatasetKind.Map else _IterableDatasetFetcher
        return cls(dataset, auto_collation, collate_fn, drop_last)
