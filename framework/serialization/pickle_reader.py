"""Reads the pickle inside a checkpoint without ever running anything that the file brings.

A pickle is a program for a small stack machine. Python's own machine imports and calls whatever the program names;
this one knows a short list of names (`names.known_names`) plus those that the user has listed as safe, calls nothing
else, and sets no attribute on anything but the objects that it has itself just built. Work and memory stay in
proportion to the size of the file: the program can copy values many times over, so copies are paid from a budget.

The opcodes are those that protocols 2 to 5 write for data (format: Lib/pickletools.py of CPython).
"""

from __future__ import annotations

import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError, decode_long
from typing import Any

from naiad.core.storage import TypedStorage, UntypedStorage
from naiad.core.tensor import Tensor
from naiad.serialization import rebuild
from naiad.serialization.names import known_names
from naiad.serialization.safe_globals import BLOCKED_MODULES, listed_globals

_DICTS = (dict, OrderedDict, Counter)
_MAX_KEY_DEPTH = 100
_HASHING = (rebuild.plain_set, rebuild.plain_frozenset, rebuild.ordered_dict)


class RestrictedUnpickler:
    """One reading of one pickle.

    persistent_load turns the id of a storage into the storage. `budget` bounds the elements and bytes that the
    program may copy; None takes one in proportion to the length of the data.
    """

    def __init__(self, data: bytes, persistent_load: Callable[[tuple], Any], budget: int | None = None) -> None:
        self._data, self._position = data, 0
        self._persistent_load = persistent_load
        self._budget = 10_000 + 32 * len(data) if budget is None else budget
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._protocol = 0
        self._known = known_names()
        self._listed = listed_globals()
        # By identity: what a name on the stack may be called as. These objects live as long as this reader.
        self._calls: dict[int, Callable] = {}
        self._user_classes = {id(value) for value in self._listed.values()}

    def load(self) -> Any:
        """The object. Raises pickle.UnpicklingError for anything that is not plain data of the known kinds."""
        data, operations = self._data, _OPERATIONS
        while self._position < len(data):
            start = self._position
            code = data[start]
            if code == _STOP:
                if not self._stack:
                    raise UnpicklingError(f"the pickle ends at byte {start} without a result")
                return self._stack.pop()
            operation = operations.get(code)
            if operation is None:
                raise UnpicklingError(f"Unsupported operand {code} at byte {start} of the pickle")
            self._position = start + 1
            try:
                operation(self)
            except UnpicklingError as error:
                raise UnpicklingError(f"{error} (byte {start} of the pickle)") from error.__cause__
            except (LookupError, TypeError, ValueError, OverflowError, struct.error) as error:
                if code == _PERSISTENT:  # the caller's: what the file says is checked before it is asked
                    raise
                raise UnpicklingError(f"malformed pickle at byte {start}: {type(error).__name__}: {error}") from error
        raise UnpicklingError("the pickle ends before its STOP: the file is incomplete")

    # Reading the program.

    def _take(self, count: int) -> bytes:
        start = self._position
        end = start + count
        if end > len(self._data):
            raise UnpicklingError(f"the pickle ends within a value of {count} bytes")
        self._position = end
        return self._data[start:end]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position)
        if end < 0:
            raise UnpicklingError("the pickle ends within a name")
        line = self._take(end - self._position + 1)
        return line[:-1].decode("utf-8")

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _spend(self, amount: int) -> None:
        self._budget -= amount
        if self._budget < 0:
            raise UnpicklingError("the pickle copies its values too many times for its size: it is not a checkpoint")

    def _check_key(self, key: Any) -> None:
        """Hashing a tuple visits all that is in it, which may be far more than the file holds, and recursively."""
        if not isinstance(key, tuple):
            return
        level: list[Any] = [key]
        for _ in range(_MAX_KEY_DEPTH):
            self._spend(len(level))
            level = [item for part in level for item in part if isinstance(item, tuple)]
            if not level:
                return
            self._spend(sum(map(len, level)))
        raise UnpicklingError(f"a key is a tuple nested more than {_MAX_KEY_DEPTH} deep")

    # Names, calls, attributes: where Python's machine would run foreign code.

    def _push_global(self, module: str, name: str) -> None:
        if self._protocol < 3:
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            module = IMPORT_MAPPING.get(module, module)
        path = f"{module}.{name}"
        if module in BLOCKED_MODULES:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked")
        known = self._known.get(path)
        if known is not None:
            if known.call is not None:
                self._calls[id(known.value)] = known.call
            self._stack.append(known.value)
        elif path in self._listed:
            value = self._listed[path]
            self._calls[id(value)] = value
            self._stack.append(value)
        else:
            raise UnpicklingError(_unknown(path))

    def _global(self) -> None:
        self._push_global(self._line(), self._line())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("STACK_GLOBAL needs the names as text")
        self._push_global(module, name)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        call = self._calls.get(id(function))
        if call is None or type(arguments) is not tuple:
            raise UnpicklingError(f"Trying to call reduce for unrecognized function {_describe(function)}")
        for argument in arguments:
            if type(argument) in (str, bytes, list, tuple, dict):
                self._spend(len(argument))
        first: Any = arguments[0] if arguments else None
        if call in _HASHING and type(first) in (list, tuple):
            for item in first:
                self._check_key(item[0] if call is rebuild.ordered_dict else item)
        elif type(first) in (TypedStorage, UntypedStorage) and type(arguments[-1]) is dict and arguments[-1]:
            self._spend(first.nbytes())  # a conjugate is a copy
        self._stack.append(call(*arguments))

    def _new_object(self) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        self._make(kind, arguments, {})

    def _new_object_with_keywords(self) -> None:
        keywords, arguments, kind = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._make(kind, arguments, keywords)

    def _make(self, kind: Any, arguments: Any, keywords: Any) -> None:
        if not (isinstance(kind, type) and id(kind) in self._user_classes):
            raise UnpicklingError(
                f"Can only create new object for classes allowlisted via `add_safe_globals` but got {_describe(kind)}"
            )
        if type(arguments) is not tuple or type(keywords) is not dict:
            raise UnpicklingError("NEWOBJ needs a tuple of arguments")
        self._stack.append(kind.__new__(kind, *arguments, **keywords))

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is OrderedDict:
            if type(state) is not dict:
                raise UnpicklingError("BUILD of an OrderedDict needs a dict of attributes")
            for name, value in state.items():
                if type(name) is not str or hasattr(OrderedDict, name):
                    raise UnpicklingError(f"BUILD may not set the attribute {name!r} of an OrderedDict")
                target.__dict__[name] = value
        elif id(type(target)) in self._user_classes and not isinstance(target, (type, Tensor)):
            _set_state(target, state)
        else:
            raise UnpicklingError(
                "Can only build OrderedDict or types allowlisted via `add_safe_globals`, but got "
                f"{_describe(type(target))}"
            )

    def _persistent(self) -> None:
        pid = self._stack.pop() if self._stack else None
        if type(pid) is not tuple or not pid or type(pid[0]) is not str or pid[0] != "storage":
            raise UnpicklingError("Only persistent_load of storage is allowed")
        self._stack.append(self._persistent_load(pid))

    # Containers.

    def _append(self) -> None:
        item = self._stack.pop()
        self._list().append(item)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._list().extend(items)

    def _list(self) -> list:
        target = self._stack[-1]
        if type(target) is not list:
            raise UnpicklingError(f"Can only append to lists, but got {_describe(type(target))}")
        return target

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_pairs([key, value])

    def _set_items(self) -> None:
        self._set_pairs(self._pop_mark())

    def _set_pairs(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in _DICTS or len(items) % 2:
            raise UnpicklingError(f"Can only set pairs of items in dicts, but got {_describe(type(target))}")
        for i in range(0, len(items), 2):
            self._check_key(items[i])
            target[items[i]] = items[i + 1]

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise UnpicklingError(f"Can only add items to sets, but got {_describe(type(target))}")
        for item in items:
            self._check_key(item)
            target.add(item)

    def _frozenset(self) -> None:
        items = self._pop_mark()
        for item in items:
            self._check_key(item)
        self._stack.append(frozenset(items))

    def _pop(self) -> None:
        del self._stack[-1]

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _tuple(self) -> None:
        items = tuple(self._pop_mark())
        self._stack.append(items)

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise UnpicklingError("the stack is empty")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    # Values.

    def _proto(self) -> None:
        self._protocol = self._number(1)
        if not 2 <= self._protocol <= 5:
            raise UnpicklingError(f"pickle protocol {self._protocol}; 2 to 5 can be read")

    def _frame(self) -> None:
        self._take(8)  # a length, which only helps who reads from a stream

    def _text(self, size: int) -> None:
        self._stack.append(str(self._take(self._number(size)), "utf-8", "surrogatepass"))

    def _bytes(self, size: int, kind: type = bytes) -> None:
        self._stack.append(kind(self._take(self._number(size))))

    def _bytes_as_text(self, size: int) -> None:
        self._stack.append(self._take(self._number(size)).decode("utf-8"))

    def _long(self, size: int) -> None:
        self._stack.append(decode_long(self._take(self._number(size))))

    def _signed(self) -> None:
        self._stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def _float(self) -> None:
        self._stack.append(struct.unpack(">d", self._take(8))[0])

    def _get(self, size: int) -> None:
        self._stack.append(self._memo[self._number(size)])

    def _put(self, size: int) -> None:
        self._memo[self._number(size)] = self._stack[-1]

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]


def _set_state(target: Any, state: Any) -> None:
    """What pickle does with the state of an object; the class is one that the user has listed."""
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def _unknown(path: str) -> str:
    if path.startswith("torch."):
        return f"Unsupported global: GLOBAL {path} has no counterpart in naiad, or is not one that plain data needs"
    plain = path.removeprefix("builtins.")
    return (
        f"Unsupported global: GLOBAL {plain} was not an allowed global by default. Please use "
        f"`naiad.serialization.add_safe_globals([{plain}])` or the `naiad.serialization.safe_globals([{plain}])` "
        "context manager to allowlist this global if you trust this class/function"
    )


def _describe(value: Any) -> str:
    """A name for an error message; never the repr of something that a file has built."""
    return getattr(value, "__qualname__", None) or f"an object of type {type(value).__name__}"


_STOP = ord(".")
_PERSISTENT = ord("Q")
_Reader = RestrictedUnpickler
_OPERATIONS: dict[int, Callable[[RestrictedUnpickler], Any]] = {
    0x80: _Reader._proto,
    0x95: _Reader._frame,
    ord("("): _Reader._mark,
    ord("0"): _Reader._pop,
    ord("1"): _Reader._pop_mark,
    ord("N"): lambda r: r._stack.append(None),
    0x88: lambda r: r._stack.append(True),
    0x89: lambda r: r._stack.append(False),
    ord("J"): _Reader._signed,
    ord("K"): lambda r: r._stack.append(r._number(1)),
    ord("M"): lambda r: r._stack.append(r._number(2)),
    0x8A: lambda r: r._long(1),
    0x8B: lambda r: r._long(4),
    ord("G"): _Reader._float,
    ord("X"): lambda r: r._text(4),
    0x8C: lambda r: r._text(1),
    0x8D: lambda r: r._text(8),
    ord("B"): lambda r: r._bytes(4),
    ord("C"): lambda r: r._bytes(1),
    0x8E: lambda r: r._bytes(8),
    0x96: lambda r: r._bytes(8, bytearray),
    ord("U"): lambda r: r._bytes_as_text(1),
    ord("T"): lambda r: r._bytes_as_text(4),
    ord("}"): lambda r: r._stack.append({}),
    ord("]"): lambda r: r._stack.append([]),
    ord(")"): lambda r: r._stack.append(()),
    0x8F: lambda r: r._stack.append(set()),
    ord("a"): _Reader._append,
    ord("e"): _Reader._appends,
    ord("s"): _Reader._set_item,
    ord("u"): _Reader._set_items,
    0x90: _Reader._add_items,
    0x91: _Reader._frozenset,
    ord("t"): _Reader._tuple,
    0x85: lambda r: r._tuple_of(1),
    0x86: lambda r: r._tuple_of(2),
    0x87: lambda r: r._tuple_of(3),
    ord("c"): _Reader._global,
    0x93: _Reader._stack_global,
    ord("R"): _Reader._reduce,
    0x81: _Reader._new_object,
    0x92: _Reader._new_object_with_keywords,
    ord("b"): _Reader._build,
    _PERSISTENT: _Reader._persistent,
    ord("h"): lambda r: r._get(1),
    ord("j"): lambda r: r._get(4),
    ord("q"): lambda r: r._put(1),
    ord("r"): lambda r: r._put(4),
    0x94: _Reader._memoize,
}
