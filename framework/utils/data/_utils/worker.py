"""What a DataLoader's worker process does."""

from __future__ import annotations

import random
import signal
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np

import naiad
from naiad.utils.data._utils import transport
from naiad.utils.data._utils.fetch import _DatasetKind

# The parent's ends of the connections to all workers. A forked child has copies of them, and must close these: else no
# worker would notice that the parent is gone.
parent_ends: weakref.WeakSet[Connection] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which worker this is: its number, of how many, its random seed, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process, which one it is; None elsewhere."""
    return _worker_info


@dataclass(frozen=True)
class WorkerSpec:
    """All that a worker is told at its start."""

    id: int
    num_workers: int
    base_seed: int
    kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Callable
    drop_last: bool
    init_fn: Callable[[int], None] | None


class EndOfData:
    """A worker's answer when its IterableDataset has no more samples."""


class Failure:
    """A worker's answer when fetching failed: the exception's class and the text of its traceback."""

    def __init__(self, error: BaseException, worker_id: int) -> None:
        self.kind = type(error)
        self.text = f"Caught {self.kind.__name__} in DataLoader worker process {worker_id}.\nOriginal " + "".join(
            traceback.format_exception(error)
        )

    def reraise(self) -> None:
        """Raise the same class of exception with the traceback as its message."""
        text: Any = _Verbatim(self.text) if issubclass(self.kind, KeyError) else self.text
        try:
            error = self.kind(text)
        except TypeError:  # it wants other arguments, which nobody knows here
            raise RuntimeError(self.text) from None
        raise error


class _Verbatim(str):
    """Text that KeyError, which shows the repr of its argument, prints line by line."""

    def __repr__(self) -> str:
        return str(self)


def seed_everything(base_seed: int, worker_id: int) -> int:
    """Give a worker random streams of its own: naiad's, Python's and NumPy's. Returns its seed."""
    seed = base_seed + worker_id
    random.seed(seed)
    naiad.manual_seed(seed)
    low, high = base_seed & 0xFFFFFFFF, base_seed >> 32
    np.random.seed(np.random.SeedSequence([worker_id, low, high, 0]).generate_state(4))
    return seed


def start_quietly(process: Any, method: str) -> None:
    """`process.start()`, without the warning of Python 3.12 and later about forking a process that has threads.

    The threads meant are those of NumPy's BLAS, which stops them before a fork and starts them after it; the child
    uses none of the parent's locks.
    """
    with warnings.catch_warnings():
        if method == "fork":
            warnings.filterwarnings("ignore", r".*use of fork\(\) may lead to deadlocks", DeprecationWarning)
        process.start()


def worker_main(spec: WorkerSpec, connection: Connection, forked: bool) -> None:
    """Answer each task `(epoch, number, indices)` with `(epoch, number, batch)`, until the parent hangs up."""
    global _worker_info
    # Ctrl-C goes to the whole process group: the parent deals with it, and hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if forked:
        for end in list(parent_ends):
            end.close()
    seed = seed_everything(spec.base_seed, spec.id)
    _worker_info = WorkerInfo(spec.id, spec.num_workers, seed, spec.dataset)
    try:
        _Worker(spec, connection).run()
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent hung up while we were sending


class _Worker:
    def __init__(self, spec: WorkerSpec, connection: Connection) -> None:
        self._spec, self._connection = spec, connection
        self._tasks: SimpleQueue = SimpleQueue()
        self._newest_epoch = -1
        self._epoch = -1
        self._fetcher: Any = None
        self._init_failure: Failure | None = None

    def _read(self) -> None:
        """In a thread of its own: take tasks off the connection, so that the parent never waits to send one."""
        try:
            while True:
                task = transport.receive(self._connection)
                self._newest_epoch = task[0]
                self._tasks.put(task)
        except (EOFError, OSError):
            self._tasks.put(None)

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        if self._spec.init_fn is not None:
            try:
                self._spec.init_fn(self._spec.id)
            except Exception as error:
                self._init_failure = Failure(error, self._spec.id)
        while (task := self._tasks.get()) is not None:
            epoch, number, indices = task
            if epoch == self._newest_epoch:  # else the parent has given that epoch up
                self._answer(epoch, number, self._init_failure or self._fetch(epoch, indices))

    def _fetch(self, epoch: int, indices: Any) -> Any:
        spec = self._spec
        try:
            if epoch != self._epoch:
                self._fetcher = _DatasetKind.create_fetcher(
                    spec.kind, spec.dataset, spec.auto_collation, spec.collate_fn, spec.drop_last
                )
                self._epoch = epoch
            return self._fetcher.fetch(indices)
        except StopIteration as error:
            return EndOfData() if spec.kind == _DatasetKind.Iterable else Failure(error, spec.id)
        except Exception as error:
            return Failure(error, spec.id)

    def _answer(self, epoch: int, number: int, value: Any) -> None:
        try:
            transport.send(self._connection, (epoch, number, value))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the batch cannot be pickled, or the class of the exception cannot
            if isinstance(value, Failure):
                value.kind = RuntimeError
            else:
                error.add_note("What a worker returns must be picklable: this batch is not.")
                value = Failure(error, self._spec.id)
            transport.send(self._connection, (epoch, number, value))
