"""The parent's side of a DataLoader's worker processes."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Iterable
from multiprocessing.connection import wait
from typing import Any

from naiad.utils.data._utils import transport
from naiad.utils.data._utils.worker import WorkerSpec, parent_ends, start_quietly, worker_main

_PATIENCE = 5.0  # seconds that a worker has to finish its batch when it is no longer wanted


class WorkerPool:
    """Worker processes, each at the other end of a connection.

    Raises:
        RuntimeError: from `send` and `receive`, when a worker has died.
    """

    def __init__(self, context: Any, specs: Iterable[WorkerSpec]) -> None:
        self._connections: list[Any] = []
        self._processes: list[Any] = []
        # Runs at the latest when the interpreter exits; it must not refer to self.
        self.close = weakref.finalize(self, _close, self._connections, self._processes, os.getpid())
        try:
            for spec in specs:
                self._start(context, spec)
        except BaseException as error:
            self.close()
            if context.get_start_method() != "fork":
                error.add_note(
                    f"DataLoader: workers are started by {context.get_start_method()!r}, so the dataset, collate_fn "
                    "and worker_init_fn must be importable by name (no lambdas, nothing defined in a function)"
                )
            raise

    def _start(self, context: Any, spec: WorkerSpec) -> None:
        method = context.get_start_method()
        ours, theirs = context.Pipe()
        parent_ends.add(ours)
        self._connections.append(ours)
        process = context.Process(
            target=worker_main,
            args=(spec, theirs, method == "fork"),
            name=f"DataLoader worker {spec.id}",
            daemon=True,
        )
        try:
            start_quietly(process, method)
        finally:
            theirs.close()
        self._processes.append(process)

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [process.pid for process in self._processes]

    def send(self, worker: int, task: Any) -> None:
        """Give a worker something to do."""
        try:
            transport.send(self._connections[worker], task)
        except (BrokenPipeError, ConnectionResetError):
            self._died([worker])

    def receive(self, timeout: float) -> list[tuple[int, Any]]:
        """Wait for answers; returns (worker, answer) for each that is there.

        Raises:
            RuntimeError: none came in `timeout` seconds (0: no limit).
        """
        sentinels = [process.sentinel for process in self._processes]
        ready = wait([*self._connections, *sentinels], timeout or None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        answers, dead = [], []
        for i, connection in enumerate(self._connections):
            if connection in ready:
                try:
                    answers.append((i, transport.receive(connection)))
                except (EOFError, ConnectionResetError):
                    dead.append(i)
            elif sentinels[i] in ready:
                dead.append(i)
        if dead and not answers:
            self._died(dead)
        return answers

    def _died(self, workers: list[int]) -> None:
        fates = []
        for i in workers:
            process = self._processes[i]
            process.join(1.0)  # its connection breaks a moment before its exit code is known
            fates.append(f"worker {i} (pid {process.pid}) {_fate(process.exitcode)}")
        pids = ", ".join(str(self._processes[i].pid) for i in workers)
        self.close()
        raise RuntimeError(
            f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {'; '.join(fates)}. Its own output above may say "
            "why; with num_workers=0 the same code runs in this process, where a debugger can follow it."
        )


def _fate(exitcode: int | None) -> str:
    if exitcode is None:
        return "closed its connection"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by signal {name}{hint}"


def _close(connections: list[Any], processes: list[Any], owner: int) -> None:
    """Hang up, let the workers finish what they do, and end those that take too long."""
    if os.getpid() != owner:  # a forked child has a copy of the pool, but not the workers
        return
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for end in ("terminate", "kill"):
        for process in processes:
            if process.is_alive():
                getattr(process, end)()
                process.join(1.0)
