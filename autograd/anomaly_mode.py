"""Finding where a NaN comes from: gradients are looked at as they are sent on, and forward calls are remembered.

Nothing of it costs anything while it is off: what notices a gradient is a dictionary that a watched pass has in place
of an ordinary one, and what remembers a call stands in the place of the counter of nodes.
"""

from __future__ import annotations

import sys
import traceback
from itertools import islice
from typing import Any

from naiad.autograd import record
from naiad.autograd.engine import Pass
from naiad.autograd.record import Node
from naiad.core import outputs
from naiad.core.caution import warn
from naiad.core.dtype import COMPLEX, FLOAT

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]

_plain_sequence = record.next_sequence
_MOST_CALLS = 100_000  # so many forward calls are remembered, the oldest go first
_calls: dict[int, traceback.StackSummary] = {}
_check_nan = True


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return record.next_sequence is not _plain_sequence


def is_anomaly_check_nan_enabled() -> bool:
    """Whether a NaN in a gradient is an anomaly while they are looked for."""
    return _check_nan


class set_detect_anomaly:
    """Look for anomalies from here on, or stop it; as a context manager, until its end.

    While it is on, forward calls remember where they were made, and backward raises RuntimeError for the first
    gradient with a NaN in it, after a warning that tells where the op behind it was called. It is slow: meant for
    debugging.

    check_nan: False only remembers the calls.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = is_anomaly_enabled(), is_anomaly_check_nan_enabled()
        _set(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _set(*self.before)


class detect_anomaly:
    """Look for anomalies in a `with` block: `set_detect_anomaly(True)` with a warning that it is slow."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging."
        )

    def __enter__(self) -> None:
        self.before = is_anomaly_enabled(), is_anomaly_check_nan_enabled()
        _set(True, self.check_nan)

    def __exit__(self, *exc: object) -> None:
        _set(*self.before)


def _set(mode: bool, check_nan: bool) -> None:
    global _check_nan
    _check_nan = check_nan
    record.next_sequence = outputs.next_sequence = _remembered_sequence if mode else _plain_sequence
    if not mode:
        _calls.clear()


def _remembered_sequence() -> int:
    """The next number of a node, after the user's lines that led to it have been kept."""
    sequence = _plain_sequence()
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "naiad":
        frame = frame.f_back
    _calls[sequence] = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    for oldest in list(islice(_calls, max(0, len(_calls) - _MOST_CALLS))):
        del _calls[oldest]
    return sequence


class WatchedPass(Pass):
    """A backward pass that looks at each gradient when a node sends it on."""

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pending = _Watched()
        self.leaves = _Watched(self.pending)


class _Watched(dict):
    """Gradients on their way: knows the node that was taken out last, which is the one that puts the next ones in."""

    def __init__(self, source: _Watched | None = None) -> None:
        super().__init__()
        self.node: Node | None = None
        self.source = self if source is None else source

    def pop(self, node: Any, *default: Any) -> Any:
        if self.source is self:
            self.node = node
        return super().pop(node, *default)

    def __setitem__(self, edge: Any, gradient: Any) -> None:
        node = self.source.node
        if node is not None and not isinstance(gradient, list) and gradient._dtype.kind in (FLOAT, COMPLEX):
            if (gradient != gradient).any():
                _report(node, edge)
        super().__setitem__(edge, gradient)


def _report(node: Node, edge: Any) -> None:
    call = _calls.get(node.sequence)
    if call is None:
        told = "No forward pass information available. Enable detect anomaly during forward pass for more information."
    else:
        told = "Traceback of forward call that caused the error:\n" + "".join(reversed(call.format()))
    warn(f"Error detected in {node.name()}. {told}")
    number = next((i for i, other in enumerate(node.edges) if other is edge), 0)
    raise RuntimeError(f"Function '{node.name()}' returned nan values in its {number}th output.")


def new_pass(*args: Any) -> Pass:
    """A backward pass, watched while NaNs are looked for."""
    return WatchedPass(*args) if _check_nan and is_anomaly_enabled() else Pass(*args)
