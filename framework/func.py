"""Modules as functions of their parameters: ``torch.func.functional_call``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from naiad import Tensor
from naiad.nn import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """What the module gives with these tensors in place of its parameters and buffers; the module keeps its own.

    parameter_and_buffer_dicts: tensors by their names in the state_dict, in one dict or in several without names in
    common. They may have histories, through which gradients flow.
    args: the positional argument, or a tuple of them. kwargs: those by keyword.
    tie_weights: a tensor given for one name of a shared parameter stands for all of its names.
    strict: every parameter and buffer must be given, and nothing else.

    Raises TypeError for what is no Tensor, ValueError for a name in two dicts or two tensors for one shared parameter,
    RuntimeError for missing and unexpected names in strict mode.
    """
    given = _joined(parameter_and_buffer_dicts)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _in_place(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def _joined(dicts: Any) -> dict[str, Tensor]:
    if isinstance(dicts, Mapping):
        dicts = (dicts,)
    if not isinstance(dicts, (tuple, list)) or not all(isinstance(d, Mapping) for d in dicts):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, not {type(dicts).__name__}"
        )
    joined: dict[str, Tensor] = {}
    for d in dicts:
        twice = [name for name in d if name in joined]
        if twice:
            raise ValueError(f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        joined.update(d)
    for value in joined.values():
        if not isinstance(value, Tensor):
            raise TypeError(f"{value!r:.60} is not an instance of Tensor")
    return joined


@contextmanager
def _in_place(module: Module, given: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    places = {name: (table, key) for name, table, key in _places(module)}
    if strict:
        _check_names(module, set(given), set(places), tie_weights, places)
    if tie_weights:
        given = _tied(given, places)
    unknown = [name for name in given if name not in places and "." in name]
    if unknown:
        raise AttributeError(f"{type(module).__name__} has no parameter or buffer {unknown[0]!r}")
    held = [(*places[name], value) for name, value in given.items() if name in places]
    before = [table[key] for table, key, _ in held]
    try:
        for table, key, value in held:
            table[key] = value
        yield
    finally:
        for (table, key, _), own in zip(held, before, strict=True):
            table[key] = own


def _places(module: Module) -> Iterator[tuple[str, dict, str]]:
    """Every name of a parameter or buffer, also the further ones of a shared module, and the table it lies in."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key, value in table.items():
                if value is not None:
                    yield f"{prefix}.{key}".lstrip("."), table, key


def _tied(given: dict[str, Tensor], places: dict[str, tuple[dict, str]]) -> dict[str, Tensor]:
    names: dict[int, list[str]] = {}
    for name, (table, key) in places.items():
        names.setdefault(id(table[key]), []).append(name)
    result = dict(given)
    for same in names.values():
        values = [given[name] for name in same if name in given]
        if any(value is not values[0] for value in values[1:]):
            raise ValueError(
                f"functional_call got multiple values for keys {same}, which are tied. Consider using tie_weights=False"
            )
        if values:
            result.update(dict.fromkeys(same, values[0]))
    return result


def _check_names(module: Module, given: set, own: set, tie_weights: bool, places: dict) -> None:
    held = {id(places[name][0][places[name][1]]) for name in given & own} if tie_weights else set()
    missing = sorted(name for name in own - given if id(places[name][0][places[name][1]]) not in held)
    lines = []
    if given - own:
        lines.append(f"\tUnexpected key(s): {', '.join(repr(name) for name in sorted(given - own))}.")
    if missing:
        lines.append(f"\tMissing key(s): {', '.join(repr(name) for name in missing)}.")
    if lines:
        raise RuntimeError("\n".join([f"Error(s) in reparametrizing for {type(module).__name__}:", *lines]))
