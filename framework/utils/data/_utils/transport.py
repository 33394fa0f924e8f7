"""How a batch travels between processes: pickled, its arrays beside it in memory that both share.

Large arrays go into an anonymous memory file (memfd), whose descriptor is handed over with the message: the sender
copies once, the receiver maps it and copies nothing, and the kernel frees it with its last user, however the processes
end. There is no name that could leak. Small batches, and systems without memfd, use the connection itself.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import weakref
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

import numpy as np

import naiad
from naiad.core.tensor import wrap

_SMALL = 1 << 16  # bytes that the connection itself carries faster than a memory file
_ALIGN = 64
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
_HAS_MEMFD = hasattr(os, "memfd_create")
_MOST_MAPS = 256  # each live map holds a file descriptor, and a process may have only 1024 in all
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class _Pickler(pickle.Pickler):
    """Takes cpu Tensors apart into arrays, whose memory pickle then hands to `buffer_callback`."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not naiad.Tensor or obj.device.type != "cpu":
            return NotImplemented
        if obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "a worker cannot send a Tensor that requires grad and is not a leaf, since autograd does not cross "
                "process boundaries: call .detach() on it"
            )
        array = obj._array
        if not array.flags.c_contiguous:
            array = array.copy()
        # Not every dtype (bfloat16) exports a buffer; its bits do.
        return _rebuild, (array.view(_BITS[array.itemsize]), obj.dtype, obj.requires_grad)


def _rebuild(bits: np.ndarray, kind: naiad.dtype, requires_grad: bool) -> naiad.Tensor:
    tensor = wrap(bits.view(kind.np), kind, naiad.device("cpu"))
    return tensor.requires_grad_() if requires_grad else tensor


def send(connection: Any, message: Any) -> None:
    """Send anything that can be pickled."""
    stream, views = io.BytesIO(), []
    _Pickler(stream, 5, buffer_callback=lambda buffer: views.append(buffer.raw())).dump(message)
    ends, total = [], 0
    for view in views:
        start = -(-total // _ALIGN) * _ALIGN
        total = start + view.nbytes
        ends.append((start, total))
    in_file = _HAS_MEMFD and total > _SMALL
    connection.send_bytes(pickle.dumps((stream.getvalue(), ends, total, in_file)))
    if in_file:
        _send_file(connection, views, ends, total)
    elif total:
        blob = bytearray(total)
        for view, (start, end) in zip(views, ends, strict=True):
            blob[start:end] = view
        connection.send_bytes(blob)


def _send_file(connection: Any, views: Sequence[memoryview], ends: Sequence[tuple[int, int]], total: int) -> None:
    fd = os.memfd_create("naiad-batch")
    try:
        os.ftruncate(fd, total)
        for view, (start, _) in zip(views, ends, strict=True):
            while view.nbytes:  # a write ends after 2 GB at the latest
                written = os.pwrite(fd, view, start)
                view, start = view[written:], start + written
        reduction.send_handle(connection, fd, None)
    finally:
        os.close(fd)


def receive(connection: Any) -> Any:
    """What the other side sent. Raises EOFError or OSError if it is gone."""
    pickled, ends, total, in_file = pickle.loads(connection.recv_bytes())
    blob: Any = bytearray(0)
    if in_file:
        blob = _receive_file(connection, total)
    elif total:
        blob = bytearray(total)
        connection.recv_bytes_into(blob)
    view = memoryview(blob)
    return pickle.loads(pickled, buffers=[view[start:end] for start, end in ends])


def _receive_file(connection: Any, total: int) -> Any:
    fd = reduction.recv_handle(connection)
    try:
        if len(_maps) < _MOST_MAPS:
            mapped = mmap.mmap(fd, total)
            _maps.add(mapped)
            return mapped
        blob = bytearray(total)
        view = memoryview(blob)
        done = 0
        while done < total:
            done += os.preadv(fd, [view[done:]], done)
        return blob
    finally:
        os.close(fd)
