"""`save` and `load`."""

from __future__ import annotations

import io
import mmap as mapping
import os
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from naiad.core.storage import TypedStorage, UntypedStorage
from naiad.serialization.archive import Archive
from naiad.serialization.archive_writer import ALIGNMENT, ArchiveWriter
from naiad.serialization.atomic import replacing
from naiad.serialization.locations import MapLocation, restorer
from naiad.serialization.names import known_names
from naiad.serialization.pickle_reader import RestrictedUnpickler
from naiad.serialization.pickle_writer import CheckpointPickler
from naiad.serialization.rebuild import StorageType, refuse

FileLike = str | os.PathLike[str] | BinaryIO | io.BytesIO


def save(
    obj: Any,
    f: FileLike,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object to a file in PyTorch's zip format; ``torch.load`` reads it.

    Tensors that share memory share it in the file. Tensors, parameters, sizes, devices, dtypes and plain containers
    load anywhere with ``weights_only=True``; other objects are pickled by reference to their classes.

    A path is replaced whole or not at all: the bytes are written beside it, synced to disk, and put in its place in
    one step, so a crash leaves the old file. `f` may also be anything with a binary ``write``.
    """
    if pickle_module is not pickle:
        raise ValueError("naiad.save: only Python's own pickle can be used as pickle_module")
    if not _use_new_zipfile_serialization:
        raise ValueError("naiad.save writes the zip format only (PyTorch 1.6 and later)")
    if not isinstance(f, str | os.PathLike) and not hasattr(f, "write"):
        raise AttributeError(f"naiad.save: expected 'f' to be a path or a file with a method 'write', got {f!r}")
    # Pickle first: an object that cannot be pickled must leave no trace of a file.
    pickler = CheckpointPickler(pickle_protocol)
    pickled = pickler.pickled(obj)
    if isinstance(f, str | os.PathLike):
        prefix = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        with replacing(f) as file:
            _write(file, prefix, pickled, pickler.storages, not _disable_byteorder_record)
    else:
        _write(f, "archive", pickled, pickler.storages, not _disable_byteorder_record)
        if hasattr(f, "flush"):
            f.flush()


def load(
    f: FileLike,
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read a file that ``naiad.save`` or ``torch.save`` has written.

    By default (``weights_only=True``) nothing but data is made: tensors, plain containers, numbers, text, and what
    `naiad.serialization.add_safe_globals` has listed. Anything else in the file is refused and nothing of it is run.
    ``weights_only=False`` unpickles everything, which **runs whatever code the file names**: only for files that you
    trust.

    map_location: where tensors go, instead of the device they were saved from: a device, its name, a dict from saved
    to wanted name, or a function of (storage, name) that returns the storage moved, or None.
    mmap: do not read the tensors but map the file (a path) into memory; writing to them does not change the file.

    Raises pickle.UnpicklingError for contents that are refused, RuntimeError for a damaged file or a missing device,
    EOFError for an empty file.
    """
    weights_only = True if weights_only is None else weights_only
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if mmap and not isinstance(f, str | os.PathLike):
        raise ValueError("f must be a file path in order to use the mmap argument")
    if weights_only and pickle_load_args:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=2)
    restore = restorer(map_location)
    with _opened(f) as (file, source):
        archive = Archive(file, source)
        storages = _Storages(archive, restore, _mapped(file) if mmap else None)
        data = archive.read("data.pkl").tobytes()
        if weights_only:
            return _load_data(data, storages, archive)
        unpickler = (pickle if pickle_module is None else pickle_module).Unpickler
        pickle_load_args.setdefault("encoding", "utf-8")
        return _trusting(unpickler, storages)(io.BytesIO(data), **pickle_load_args).load()


def get_unsafe_globals_in_checkpoint(f: FileLike) -> list[str]:
    """The names in a file that ``load(weights_only=True)`` would refuse."""
    import pickletools
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    from naiad.serialization.safe_globals import listed_globals

    with _opened(f) as (file, source):
        data = Archive(file, source).read("data.pkl").tobytes()
    found: set[str] = set()
    texts: list[str] = []
    argument: Any
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in ("GLOBAL", "STACK_GLOBAL"):
            module, name = argument.split(" ", 1) if operation.name == "GLOBAL" else texts[-2:]
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            found.add(f"{module}.{name}")
        elif isinstance(argument, str):
            texts.append(argument)
    return sorted(found - known_names().keys() - listed_globals().keys())


def _write(file: Any, prefix: str, pickled: bytes, storages: dict[str, UntypedStorage], byteorder: bool) -> None:
    archive = ArchiveWriter(file.write, prefix)
    archive.record("data.pkl", pickled)
    archive.record(".format_version", b"1")
    archive.record(".storage_alignment", str(ALIGNMENT).encode())
    if byteorder:
        archive.record("byteorder", sys.byteorder.encode())
    for key, storage in storages.items():
        archive.record(f"data/{key}", storage.bytes_on_host())
    archive.record("version", b"3\n")
    archive.close()


@contextmanager
def _opened(f: FileLike) -> Iterator[tuple[BinaryIO, str]]:
    """The file and what to call it in errors."""
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            yield file, repr(os.fspath(f))
        return
    for method in ("read", "seek", "tell"):
        if not hasattr(f, method):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute '{method}'. You can only naiad.load from a file that is "
                "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
            )
    if hasattr(f, "seekable") and not f.seekable():
        raise io.UnsupportedOperation(
            "naiad.load: the file is not seekable. Please pre-load the data into a buffer like io.BytesIO and try to "
            "load from it instead."
        )
    name = getattr(f, "name", None)
    yield f, repr(name) if isinstance(name, str) else f"<{type(f).__name__}>"


def _mapped(file: BinaryIO) -> mapping.mmap:
    """The whole file in memory, copied page by page where somebody writes."""
    return mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_COPY)


class _Storages:
    """Reads each storage of an archive when the pickle first names it."""

    def __init__(self, archive: Archive, restore: Any, mapped: mapping.mmap | None) -> None:
        self._archive, self._restore, self._mapped = archive, restore, mapped
        self._loaded: dict[str, tuple[StorageType, str, Any]] = {}
        self._swap = self._byteorder() != sys.byteorder

    def _byteorder(self) -> str:
        if "byteorder" not in self._archive:
            return "little"
        order = self._archive.read("byteorder").tobytes()
        if order not in (b"little", b"big"):
            raise ValueError(str(self._archive.error(f"Unknown endianness type: {order[:20]!r}")))
        return order.decode()

    def __call__(self, pid: tuple) -> TypedStorage | UntypedStorage:
        """The storage with a persistent id ``("storage", type, key, location, count)``."""
        refuse(len(pid) != 5, "the id of a storage must have five parts")
        _, kind, key, location, count = pid
        refuse(
            type(kind) is not StorageType
            or type(key) is not str
            or type(location) is not str
            or type(count) is not int
            or count < 0,
            "the id of a storage must be its type, key, location and number of elements",
        )
        nbytes = count * kind.itemsize
        if key not in self._loaded:
            self._loaded[key] = (kind, location, self._read(kind, key, location, nbytes))
        first_kind, first_location, storage = self._loaded[key]
        refuse(
            (kind, location, nbytes) != (first_kind, first_location, storage.nbytes()),
            f"storage {key!r} is said to be two different things",
        )
        return storage

    def _read(self, kind: StorageType, key: str, location: str, nbytes: int) -> TypedStorage | UntypedStorage:
        name = f"data/{key}"
        refuse(name not in self._archive, f"storage {key!r} is not in the archive")
        start, size = self._archive.locate(name)
        refuse(size != nbytes, f"storage {key!r} should have {nbytes} bytes, and its record has {size}")
        if self._mapped is None:
            data = self._archive.read(name)
        else:
            data = np.frombuffer(self._mapped, np.uint8, size, start) if size else np.empty(0, np.uint8)
        if self._swap and kind.dtype is not None:
            part = kind.dtype.to_real().np
            data.view(part.str.replace("V2", "u2") if part.kind == "V" else part).byteswap(inplace=True)
        storage = self._restore(UntypedStorage(data), location)
        return storage if kind.dtype is None else TypedStorage(storage, kind.dtype)


def _load_data(data: bytes, storages: _Storages, archive: Archive) -> Any:
    try:
        return RestrictedUnpickler(data, storages, 10_000 + 32 * (len(data) + archive.size)).load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f"naiad.load: {archive.source}: Weights only load failed: {error}. Only if you trust the source of the "
            "file, load it with `weights_only=False`, which can run any code that the file names."
        ) from error.__cause__


def _trusting(unpickler: Any, storages: _Storages) -> type:
    """An unpickler that runs whatever the file names, with PyTorch's tensors made into ours."""

    class TrustingUnpickler(unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module.partition(".")[0] != "torch":
                return super().find_class(module, name)
            known = known_names().get(f"{module}.{name}")
            if known is None:
                raise pickle.UnpicklingError(
                    f"the file holds an object of PyTorch's own class {module}.{name}; in PyTorch, save the "
                    "state_dict() of modules and optimizers instead of the objects"
                )
            return known.value

        def persistent_load(self, pid: Any) -> Any:
            refuse(type(pid) is not tuple or not pid or pid[0] != "storage", "unknown persistent id")
            return storages(pid)

    return TrustingUnpickler
