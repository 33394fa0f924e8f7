"""The handle that a `register_*_hook` call returns."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from itertools import count
from typing import Any

_ids = count()


class RemovableHandle:
    """Takes a hook out of its list again: call `remove()`, or use the handle in a `with` statement."""

    def __init__(self, hooks: MutableMapping[int, Any], *, extra_dict: Any = None) -> None:
        self.id = next(_ids)
        self._hooks = weakref.ref(hooks)
        extra = extra_dict if isinstance(extra_dict, (list, tuple)) else [extra_dict]
        self._extra = [weakref.ref(mapping) for mapping in extra if mapping is not None]

    def remove(self) -> None:
        """Unregister the hook; harmless if it is gone already."""
        for ref in (self._hooks, *self._extra):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
