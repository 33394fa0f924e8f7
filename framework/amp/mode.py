"""Autocast as an interpreter over the op table, and the settings of a thread that it is made from.

What mixed precision makes of an op is a fact of its entry (`autocast`, see `naiad.core.op`), for one kind of device or
for all:

- "lower": floating-point operands are brought to the region's dtype (products, convolutions, attention);
- "float32": they are brought to float32 (exponentials, sums, norms, losses);
- "promote": they are brought to the widest among them, the region's dtype at least;
- "unsafe": calling it is an error, which names the safe way;
- "keep": nothing is cast, in a composed function not even by the ops that it is made of.

float64, integers and tensors on other kinds of devices are left alone. Where no region is entered, none of this is on
the way of a call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from naiad.core.device import device
from naiad.core.dispatch import apply
from naiad.core.dtype import FLOAT, bfloat16, dtype, float16, float32, float64
from naiad.core.op import Op
from naiad.core.state import State, current, replace
from naiad.core.tensor import Tensor

KINDS = ("cuda", "cpu")  # where an op has operands on both, the first counts


class Settings(threading.local):
    """What a thread has set, whether a region is entered or not."""

    def __init__(self) -> None:
        self.dtypes: dict[str, dtype] = {"cpu": bfloat16, "cuda": float16}
        self.use_cache = True
        self.nesting = 0
        self.cache: dict[tuple[int, dtype], tuple] = {}


settings = Settings()


def kind_of(device_type: str) -> str:
    """The kind of device that a user names. Raises RuntimeError for one without autocast."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    kind = device(device_type).type
    if kind not in KINDS:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}': use 'cuda' or 'cpu'")
    return kind


class Autocast:
    """The interpreter: casts the operands of an op as its entry says, and runs it.

    dtypes: per kind of device for which autocast is enabled, the dtype that "lower" means.
    """

    __slots__ = ("dtypes",)
    rank = 50  # above whatever watches or records ops: those see the casts

    def __init__(self, dtypes: Mapping[str, dtype]) -> None:
        self.dtypes = dtypes

    def process(self, op: Op, xs: Sequence, attrs: dict | None) -> Any:
        """Run one op; by now this interpreter is peeled off."""
        rule = op.autocast
        if rule is not None:
            kind = self._kind(xs)
            found = self.class_of(rule, kind)
            if kind is not None and found is not None and found != "keep":
                to = self._target(found, kind, xs, op.name)
                xs = [cast(x, to, kind, self.dtypes[kind]) if isinstance(x, Tensor) else x for x in xs]
        return apply(op, xs, attrs)

    def compose(self, function: Callable, rule: str | Mapping[str, str], args: tuple, kwargs: dict) -> Any:
        """Call a composed function that counts as one op."""
        tensors = list(_tensors((args, kwargs)))
        kind = self._kind(tensors)
        found = self.class_of(rule, kind)
        if kind is None or found is None:
            return function(*args, **kwargs)
        state = current()
        replace(State(state.grad, tuple(m for m in state.modes if m is not self), state.inference))
        try:
            if found != "keep":
                to = self._target(found, kind, tensors, function.__name__)
                args, kwargs = _map((args, kwargs), lambda x: cast(x, to, kind, self.dtypes[kind]))
            return function(*args, **kwargs)
        finally:
            replace(state)

    def class_of(self, rule: str | Mapping[str, str], kind: str | None) -> str | None:
        """What an entry's `autocast` says for a kind of device."""
        return rule if isinstance(rule, str) else rule.get(kind)  # type: ignore[arg-type]

    def _kind(self, xs: Sequence) -> str | None:
        """The kind of device that an op with these operands runs on, if autocast is enabled there."""
        kind = None
        for x in xs:
            if isinstance(x, Tensor):
                kind = x._device.type
                if kind != "cpu":
                    break
        return kind if kind in self.dtypes else None

    def _target(self, rule: str, kind: str, xs: Sequence, name: str) -> dtype:
        lower = self.dtypes[kind]
        if rule == "unsafe":
            raise RuntimeError(
                f"{name} is unsafe to autocast on {kind}: its gradient can leave the range of {lower.name}. Use the "
                "form that takes logits, or call it on float32 tensors under autocast(enabled=False)"
            )
        if rule != "promote":
            return lower if rule == "lower" else float32
        widest = lower
        for x in xs:
            if isinstance(x, Tensor) and _eligible(x, kind):
                if x._dtype is float32:
                    widest = float32
                elif x._dtype is not widest and widest is not float32:
                    raise RuntimeError(
                        f"{name}: autocast cannot promote {x._dtype.name} with {lower.name}, the dtype of this region. "
                        f"Convert it, or enter autocast with dtype={x.dtype}"
                    )
        return widest


def _eligible(x: Tensor, kind: str) -> bool:
    return x._dtype.kind == FLOAT and x._dtype is not float64 and x._device.type == kind


def cast(x: Tensor, to: dtype, kind: str, lower: dtype) -> Tensor:
    """A floating-point tensor on this kind of device in another dtype; anything else as it is.

    The cast of a float32 leaf that requires grad (a weight) is made once per outermost region and kept: unless the
    leaf has been written to since, or the cast was made in another grad mode.
    """
    if x._dtype is to or not _eligible(x, kind):
        return x
    if not (to is lower and x._dtype is float32 and x._needs_grad and x._node is None and settings.use_cache):
        return x.to(to)
    kept = settings.cache.get((id(x), to))
    if kept is not None:
        leaf, array, version, made = kept
        if leaf is x and array is x._array and version == x._version[0] and made._needs_grad == current().grad:
            return made
    made = x.to(to)
    settings.cache[id(x), to] = (x, x._array, x._version[0], made)
    return made


def _tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _map(value: Any, function: Callable) -> Any:
    """The same structure with every tensor replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if value.__class__ in (list, tuple):
        return value.__class__(_map(item, function) for item in value)
    if value.__class__ is dict:
        return {key: _map(item, function) for key, item in value.items()}
    return value


# ---------------------------------------------------------------- which kinds of device are enabled
def active() -> dict[str, dtype]:
    """The kinds of device for which autocast is enabled here, with their dtypes."""
    for mode in current().modes:
        if mode.__class__ is Autocast:
            return dict(mode.dtypes)
    return {}


def enable(dtypes: Mapping[str, dtype]) -> None:
    """Make autocast be enabled for these kinds of device, and no others."""
    state = current()
    modes = tuple(m for m in state.modes if m.__class__ is not Autocast)
    if dtypes:
        modes = tuple(sorted((*modes, Autocast(dtypes)), key=lambda m: m.rank))
    replace(State(state.grad, modes, state.inference))
