"""A Module's state_dict: collecting it, and loading one with every disagreement named."""

from __future__ import annotations

import itertools
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

import naiad
from naiad.core.caution import warn
from naiad.core.tensor import Tensor
from naiad.nn.modules._tables import Tables
from naiad.nn.parameter import Parameter, is_lazy

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` returns: the keys it did not find and those it had no place for."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateDict(Tables):
    """The part of Module that saves to and loads from state_dicts."""

    def get_extra_state(self) -> Any:
        """What else belongs in the state_dict; a class that overrides this overrides ``set_extra_state`` too."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: "
            f"{type(self).__name__} does not override it"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: "
            f"{type(self).__name__} does not override it"
        )

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Names to tensors, in order of registration; they share memory with the module.

        With ``keep_vars`` they are the parameters themselves instead of detached tensors.
        """
        if args:  # the older positional form: destination, prefix, keep_vars
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        return destination

    def _persistent_buffers(self) -> dict[str, Tensor | None]:
        return {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Write this module's own entries; subclasses may override."""
        for name, value in (*self._parameters.items(), *self._persistent_buffers().items()):
            if value is not None:
                destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if _has_extra_state(self, "get_extra_state"):
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state_dict into this module.

        Args:
            strict: missing and unexpected keys are an error. Misshaped ones always are.
            assign: take the given tensors themselves instead of copying their values.

        Raises:
            TypeError: not a dict-like object.
            RuntimeError: keys or shapes disagree; every disagreement is listed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)
        report = (missing_keys, unexpected_keys, errors)
        _load_below(self, state_dict, "", _Loading(metadata, strict, assign, report))
        if strict:
            if unexpected_keys:
                errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected_keys)}. ")
            if missing_keys:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing_keys)}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return _IncompatibleKeys(missing_keys, unexpected_keys)

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own entries, not its children's; subclasses may override to migrate old formats."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        members = itertools.chain(self._parameters.items(), self._persistent_buffers().items())
        own = {name: value for name, value in members if value is not None}
        for name, value in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            error = _load_one(self, name, value, key, state_dict[key], assign)
            if error:
                error_msgs.append(error)
        self._load_extra_state(state_dict, prefix + _EXTRA_STATE_KEY_SUFFIX, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys.extend(_unexpected(state_dict, prefix, own, self._modules))

    def _load_extra_state(self, state_dict: dict, key: str, strict: bool, missing: list, unexpected: list) -> None:
        if _has_extra_state(self, "set_extra_state"):
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)


class _Loading:
    """What stays the same while one state_dict is loaded."""

    def __init__(self, metadata: dict | None, strict: bool, assign: bool, report: tuple[list, list, list]) -> None:
        self.metadata = metadata
        self.strict = strict
        self.assign = assign
        self.report = report


def _load_below(module: Any, state_dict: dict, prefix: str, loading: _Loading) -> None:
    local_metadata = {} if loading.metadata is None else loading.metadata.get(prefix[:-1], {})
    if loading.assign:
        local_metadata["assign_to_params_buffers"] = True
    module._load_from_state_dict(state_dict, prefix, local_metadata, True, *loading.report)
    for name, child in module._modules.items():
        if child is not None:
            below = f"{prefix}{name}."
            part = {key: value for key, value in state_dict.items() if key.startswith(below)}
            _load_below(child, part, below, loading)
    missing, unexpected, _ = loading.report
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, _IncompatibleKeys(missing, unexpected)) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                "expected to return new values, if incompatible_keys need to be modified, "
                "it should be done inplace."
            )


def _load_one(module: Any, name: str, own: Tensor, key: str, given: Any, assign: bool) -> str | None:
    """Load one entry; the error to report, if there is one."""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
            f"from checkpoint but received {type(given)}"
        )
    if is_lazy(own) and is_lazy(given):
        return None  # neither has values yet
    if is_lazy(own):
        own.materialize(given.shape)  # type: ignore[attr-defined]
    if own.dim() == 0 and given.dim() == 1 and given.shape[0] > 0:
        given = given[0]  # scalars were saved as one-element vectors once
    if given.shape != own.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
            f"the shape in current model is {own.shape}."
        )
    if own.is_meta and not given.is_meta and not assign:
        warn(
            f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the current model, "
            "which is a no-op. Pass `assign=True` to assign items in the state dictionary to their key in the module"
        )
    try:
        with naiad.no_grad():
            if not assign:
                own.copy_(given)
            elif isinstance(own, Parameter):
                setattr(module, name, _as_parameter(given, own))
            else:
                setattr(module, name, given)
    except Exception as error:  # reported with all the others, so that one run shows every disagreement
        return (
            f'While copying the parameter named "{key}", whose dimensions in the model are {own.size()} and '
            f"whose dimensions in the checkpoint are {given.size()}, an exception occurred : {error.args}."
        )
    return None


def _as_parameter(given: Tensor, own: Parameter) -> Parameter:
    if isinstance(given, Parameter):
        given.requires_grad_(own.requires_grad)
        return given
    return type(own)(given, own.requires_grad)


def _unexpected(state_dict: dict, prefix: str, own: dict, modules: dict) -> list[str]:
    """Keys under ``prefix`` that neither this module nor a child of it has a place for."""
    unexpected = []
    for key in state_dict:
        if not key.startswith(prefix) or key == prefix + _EXTRA_STATE_KEY_SUFFIX:
            continue
        name, dot, _ = key[len(prefix) :].partition(".")
        if name not in modules if dot else name not in own:
            unexpected.append(key)
    return unexpected


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _has_extra_state(module: Any, method: str) -> bool:
    return getattr(type(module), method) is not getattr(StateDict, method)
