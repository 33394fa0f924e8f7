"""Processes: Python's own ``multiprocessing`` with ``spawn``, which starts one function in several of them.

Tensors are copied on their way to another process (a queue's, or an argument's), where PyTorch shares their memory.
"""

from __future__ import annotations

import multiprocessing as _python
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import *  # noqa: F403 - its names are ours
from multiprocessing import connection
from typing import Any

__all__ = [
    *_python.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessException",
    "ProcessRaisedException",
    "SpawnContext",
    "spawn",
    "start_processes",
]


_LONGEST = 30_000  # characters of a traceback: what a pipe holds, since the parent reads it after the end


class ProcessException(Exception):
    """A started process failed: ``error_index`` says which, ``pid`` its id."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """Its function raised; the message holds the traceback."""

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg, error_index, error_pid)


class ProcessExitedException(ProcessException):
    """It ended by itself with ``exit_code``, or by the signal ``signal_name``."""

    def __init__(
        self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn: Callable, i: int, args: tuple, errors: Any) -> None:
    """What a started process does: tell the parent why the function failed, if it did."""
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent got it too, and speaks for all
    except Exception:
        errors.send(traceback.format_exc()[-_LONGEST:])
        errors.close()
        sys.exit(1)


class ProcessContext:
    """The processes that ``start_processes`` started."""

    def __init__(self, processes: list, errors: list) -> None:
        self.processes = processes
        self._errors = errors
        self._running = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """Their ids."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one has failed, all are done (True), or ``timeout`` seconds are over (False).

        When one has failed the others are ended (after ``grace_period`` seconds of waiting for them).

        Raises:
            ProcessRaisedException: the function raised in one of them.
            ProcessExitedException: one of them died.
        """
        if not self._running:
            return True
        failed = None
        for sentinel in connection.wait(list(self._running), timeout=timeout):
            i = self._running.pop(sentinel)
            self.processes[i].join()
            if self.processes[i].exitcode != 0 and failed is None:
                failed = i
        if failed is None:
            return not self._running
        for process in self.processes:
            if grace_period is not None and process.is_alive():
                process.join(grace_period)
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(30)
            if process.is_alive():
                process.kill()
            process.join()
        raise self._failure(failed)

    def _failure(self, i: int) -> ProcessException:
        process, errors = self.processes[i], self._errors[i]
        if errors.poll():
            try:
                text = errors.recv()
            except EOFError:  # it died before it could say anything
                text = None
            if text is not None:
                return ProcessRaisedException(
                    f"\n\n-- Process {i} terminated with the following error:\n{text}", i, process.pid
                )
        code = process.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            return ProcessExitedException(f"process {i} terminated with signal {name}", i, process.pid, code, name)
        return ProcessExitedException(f"process {i} terminated with exit code {code}", i, process.pid, code)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Run ``fn(i, *args)`` in ``nprocs`` processes, i from 0; wait for them unless ``join`` is False.

    Raises what `ProcessContext.join` raises; without ``join`` that context is returned.
    """
    start: Any = _python.get_context(start_method)
    processes, errors = [], []
    for i in range(nprocs):
        ours, theirs = start.Pipe(duplex=False)
        process = start.Process(target=_run, args=(fn, i, args, theirs), daemon=daemon)
        process.start()
        theirs.close()
        processes.append(process)
        errors.append(ours)
    context = ProcessContext(processes, errors)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """`start_processes` in fresh interpreters, which is the only way that goes with cuda."""
    if start_method != "spawn":
        text = f"This method only supports start_method=spawn (got: {start_method}). Use start_processes() for another."
        warnings.warn(text, FutureWarning, stacklevel=2)
    return start_processes(fn, args, nprocs, join, daemon, "spawn")
