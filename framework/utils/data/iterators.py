"""One pass over a DataLoader's batches, in this process or with workers."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import TYPE_CHECKING, Any

from naiad.utils.data._utils.fetch import _DatasetKind
from naiad.utils.data._utils.pin_memory import pin_memory, should_pin
from naiad.utils.data._utils.pool import WorkerPool
from naiad.utils.data._utils.worker import EndOfData, Failure, WorkerSpec
from naiad.utils.data.sampler import draw_seed

if TYPE_CHECKING:
    from naiad.utils.data.dataloader import DataLoader


class _BaseDataLoaderIter:
    """Yields batches; a subclass writes `_next_data`."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._pin_memory = should_pin(loader.pin_memory, loader.pin_memory_device)
        # One draw per pass, whether workers need it or not: the random stream must not depend on their number.
        self._base_seed = draw_seed(loader.generator)
        self._begin(loader)

    def _begin(self, loader: DataLoader) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._expected = loader._IterableDataset_len_called

    def _reset(self, loader: DataLoader) -> None:
        """Begin another pass."""
        self._begin(loader)

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def __next__(self) -> Any:
        data = self._next_data()
        if self._pin_memory:
            data = pin_memory(data)
        self._num_yielded += 1
        if self._dataset_kind == _DatasetKind.Iterable and self._expected is not None:
            self._warn_if_too_many()
        return data

    def _warn_if_too_many(self) -> None:
        if self._num_yielded <= self._expected:  # type: ignore[operator]
            return
        hint = " Does every worker yield the whole dataset? See get_worker_info()." if self._num_workers > 0 else ""
        warnings.warn(
            f"Length of IterableDataset {self._dataset} was reported to be {self._expected} (when accessing "
            f"len(dataloader)), but {self._num_yielded} samples have been fetched.{hint}",
            stacklevel=3,
        )

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    def __init__(self, loader: DataLoader) -> None:
        if loader.timeout != 0:
            raise AssertionError(f"DataLoader without workers requires timeout == 0, but got {loader.timeout}")
        super().__init__(loader)
        self._fetcher = _DatasetKind.create_fetcher(
            self._dataset_kind, self._dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

    def _next_data(self) -> Any:
        return self._fetcher.fetch(next(self._sampler_iter))


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Keeps every worker `prefetch_factor` batches ahead, and sorts what comes back.

    Batches are numbered; `_delivered` is the number of the next one to yield (in order), `_sent` of the next one to ask
    for. `_waiting` are the numbers asked for and not yielded, `_arrived` the answers not yet yielded.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._prefetch = loader.prefetch_factor or 2
        self._in_order = loader.in_order
        self._timeout = loader.timeout
        self._persistent = loader.persistent_workers
        self._pool: WorkerPool | None = None
        self._epoch = -1
        super().__init__(loader)

    def _begin(self, loader: DataLoader) -> None:
        super()._begin(loader)
        if self._pool is None or not self._pool.close.alive:
            self._pool = WorkerPool(
                loader.multiprocessing_context or multiprocessing.get_context(),
                [self._spec(loader, i) for i in range(self._num_workers)],
            )
        self._epoch += 1  # answers to tasks of the pass before are recognized by it, and dropped
        self._sent = self._delivered = 0
        self._arrived: dict[int, Any] = {}
        self._owner: dict[int, int] = {}
        self._load = [0] * self._num_workers
        self._open = set(range(self._num_workers))
        self._turn = 0
        self._exhausted = False
        for _ in range(self._prefetch * self._num_workers):
            self._ask()

    def _spec(self, loader: DataLoader, worker: int) -> WorkerSpec:
        return WorkerSpec(
            id=worker,
            num_workers=self._num_workers,
            base_seed=self._base_seed,
            kind=self._dataset_kind,
            dataset=self._dataset,
            auto_collation=loader._auto_collation,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last,
            init_fn=loader.worker_init_fn,
        )

    @property
    def _workers(self) -> WorkerPool:
        if self._pool is None or not self._pool.close.alive:
            raise StopIteration
        return self._pool

    def _ask(self) -> None:
        """Give the next batch's indices to the next worker that has room, if there is one."""
        worker = self._choose()
        if worker is None or self._exhausted:
            return
        try:
            indices = next(self._sampler_iter)
        except StopIteration:
            self._exhausted = True
            return
        self._workers.send(worker, (self._epoch, self._sent, indices))
        self._owner[self._sent] = worker
        self._load[worker] += 1
        self._sent += 1

    def _choose(self) -> int | None:
        for _ in range(self._num_workers):
            worker = self._turn
            self._turn = (self._turn + 1) % self._num_workers
            if worker in self._open and self._load[worker] < self._prefetch:
                return worker
        return None

    def _next_data(self) -> Any:
        pool = self._workers  # once they are gone the pass is over, whatever had arrived by then
        while self._owner:
            number = self._next_arrived()
            if number is None:
                self._receive()
                continue
            value = self._arrived.pop(number)
            self._load[self._owner.pop(number)] -= 1
            self._ask()
            if isinstance(value, Failure):
                value.reraise()
            if not isinstance(value, EndOfData):
                return value
        if not self._persistent:
            pool.close()
        raise StopIteration

    def _next_arrived(self) -> int | None:
        """The number of the answer to yield now, if it is there."""
        if not self._in_order:
            return next(iter(self._arrived), None)
        while self._delivered not in self._owner:
            self._delivered += 1
        return self._delivered if self._delivered in self._arrived else None

    def _receive(self) -> None:
        for worker, (epoch, number, value) in self._workers.receive(self._timeout):
            if epoch != self._epoch:
                continue
            self._arrived[number] = value
            if isinstance(value, EndOfData):
                self._open.discard(worker)
