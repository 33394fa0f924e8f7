"""Streams and events: work that runs in order, and marks in it.

A Stream wraps CuPy's, and CuPy's current stream is ours, so kernels, copies and CuPy's own functions agree on it. On
the simulated device, which works in step with the host, streams order nothing and events keep the time.
"""

from __future__ import annotations

import threading
import time
from itertools import count
from types import TracebackType
from typing import Any

from naiad.core import backend
from naiad.core.device import device as Device
from naiad.cuda.devices import device as device_guard
from naiad.cuda.devices import index_of, native


class SimulatedStream:
    """What a CuPy stream is on the simulated device."""

    done = True

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def wait_event(self, event: Any) -> None:
        """What the event marks has happened."""

    def use(self) -> None:
        """Which stream is current is kept in `_Simulated`."""


_handles = count(16, 16)


class _Simulated(threading.local):
    def __init__(self) -> None:  # once per thread
        self.streams: dict[int, SimulatedStream] = {}


_simulated = _Simulated()
_default = SimulatedStream(0)


class Stream:
    """A sequence of work on a device. ``Stream(device=None, priority=0)`` is a new one beside the default stream.

    `native` is CuPy's stream, `cuda_stream` its address.
    """

    def __init__(self, device: Any = None, priority: int = 0, **given: Any) -> None:
        index = index_of(device)
        self.device = Device("cuda", index)
        self.priority = priority
        native_stream = given.pop("native", None)
        if given:
            raise TypeError(f"Stream() got unexpected arguments {sorted(given)}")
        self.native = _new(index, priority) if native_stream is None else native_stream
        self._entered: list[StreamContext] = []

    @property
    def cuda_stream(self) -> int:
        """The address of CUDA's stream."""
        return self.native.ptr

    @property
    def device_index(self) -> int:
        """The index of its device."""
        return self.device.index or 0

    def synchronize(self) -> None:
        """Wait until all that was given to this stream is done."""
        self.native.synchronize()

    def query(self) -> bool:
        """Whether all that was given to this stream is done."""
        return bool(self.native.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Mark the present end of this stream with an event, a new one unless given."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let what is given from now on wait for what the event marks. One that was never recorded marks nothing."""
        if event.recorded is not None:
            self.native.wait_event(event.native)

    def wait_stream(self, stream: Stream) -> None:
        """Let what is given from now on wait for what `stream` has been given."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        self._entered.append(StreamContext(self))
        self._entered[-1].__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.pop().__exit__(kind, error, trace)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.cuda_stream, self.device) == (other.cuda_stream, other.device)

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self.device))

    def __repr__(self) -> str:
        return f"<naiad.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """Another library's stream, by its address; whoever made it keeps it alive."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        made = SimulatedStream(stream_ptr) if backend.simulated() else native().ExternalStream(stream_ptr)
        super().__init__(device, native=made)


class Event:
    """A mark in a stream: when it is reached, `query()` is true and waits for it end."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        if interprocess:
            raise NotImplementedError("Event(interprocess=True): events are not shared between processes yet")
        self.timed, self.blocking = enable_timing, blocking
        self.recorded: Stream | None = None
        self._native: Any = None
        self._time = 0.0

    @property
    def native(self) -> Any:
        """CuPy's event, made when it is first recorded, on the stream's device."""
        return self._native

    @property
    def cuda_event(self) -> int:
        """The address of CUDA's event; 0 before the first record."""
        return 0 if self._native is None else self._native.ptr

    def record(self, stream: Stream | None = None) -> None:
        """Mark the present end of a stream, by default the current one."""
        stream = current_stream() if stream is None else stream
        self.recorded = stream
        if backend.simulated():
            self._time = time.perf_counter()
            return
        with device_guard(stream.device):
            if self._native is None:
                self._native = native().Event(self.blocking, not self.timed)
            self._native.record(stream.native)

    def wait(self, stream: Stream | None = None) -> None:
        """Let what a stream is given from now on wait for this mark."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the mark has been reached; true if it was never set."""
        return self._native is None or bool(self._native.done)

    def synchronize(self) -> None:
        """Wait until the mark has been reached."""
        if self._native is not None:
            self._native.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds between this mark and another. Both must be recorded, and made with ``enable_timing=True``."""
        for event in (self, end_event):
            if not event.timed:
                raise ValueError("Both events must be created with argument 'enable_timing=True'.")
            if event.recorded is None:
                raise ValueError("Both events must be recorded before calculating elapsed time.")
        if backend.simulated():
            return (end_event._time - self._time) * 1e3
        return native().get_elapsed_time(self._native, end_event._native)

    def __repr__(self) -> str:
        return f"<naiad.cuda.Event {self.cuda_event:#x}>" if self._native else "<naiad.cuda.Event uninitialized>"


def _new(index: int, priority: int) -> Any:
    if backend.simulated():
        return SimulatedStream(next(_handles))
    with device_guard(index):
        if not priority:
            return native().Stream(non_blocking=True)
        try:
            return native().Stream(non_blocking=True, priority=priority)
        except TypeError:
            raise RuntimeError(
                f"Stream(priority={priority}): this CuPy has streams of one priority only: update it to 14 or newer, "
                "or leave priority out"
            ) from None


def current_stream(device: Any = None) -> Stream:
    """The stream on which this thread's work for a device goes."""
    index = index_of(device)
    if backend.simulated():
        return Stream(index, native=_simulated.streams.get(index, _default))
    return Stream(index, native=native().get_current_stream(index))


def default_stream(device: Any = None) -> Stream:
    """The stream of a device that is there from the start."""
    return Stream(device, native=_default if backend.simulated() else native().Stream.null)


def set_stream(stream: Stream | None) -> None:
    """Give this thread's work for the stream's device to the stream. None changes nothing."""
    if stream is None:
        return
    if backend.simulated():
        _simulated.streams[stream.device_index] = stream.native
        return
    _in_use[threading.get_ident(), stream.device_index] = stream.native  # CuPy itself keeps no more than a weak one
    with device_guard(stream.device):
        stream.native.use()


_in_use: dict[tuple[int, int], Any] = {}


class StreamContext:
    """``with naiad.cuda.stream(s):`` gives the work inside to `s`, on its device. None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self._guard: device_guard | None = None
        self._before: Stream | None = None

    def __enter__(self) -> None:
        if self.stream is None:
            return
        self._before = current_stream(self.stream.device)
        self._guard = device_guard(self.stream.device)
        self._guard.__enter__()
        set_stream(self.stream)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard is not None:
            set_stream(self._before)
            self._guard.__exit__(kind, error, trace)


def stream(stream: Stream | None) -> StreamContext:
    """A context in which this thread's work goes to a stream."""
    return StreamContext(stream)
