"""The base of every optimizer: parameter groups, state, hooks, `state_dict`."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import naiad
from naiad.optim import checkpoint
from naiad.utils.hooks import RemovableHandle

StateDict = dict[str, Any]
Closure = Callable[[], Any]

_STEP_PRE, _STEP_POST = "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"
_SAVE_PRE, _SAVE_POST = "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks"
_LOAD_PRE, _LOAD_POST = "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks"
_HOOK_LISTS = (_STEP_PRE, _STEP_POST, _SAVE_PRE, _SAVE_POST, _LOAD_PRE, _LOAD_POST)

_global_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable] = OrderedDict()


class _Required:
    """Marks an option that has no default: every parameter group must name it."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every optimizer's `step`."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every optimizer's `step`."""
    return _register(_global_post_hooks, hook)


def _register(hooks: OrderedDict[int, Callable], hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _with_hooks(step: Callable) -> Callable:
    """`step` with the pre and post hooks of its instance and of all optimizers around it."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        for hook in chain(_global_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"a step pre-hook of {step} must return None or a tuple (new_args, new_kwargs), but got {changed}."
                )
            args, kwargs = changed
        out = step(*args, **kwargs)
        for hook in chain(self._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
            hook(self, args, kwargs)
        return out

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class Optimizer:
    """Base class of all optimizers.

    Args:
        params: an iterable of Tensors, of `(name, Tensor)` pairs or of dicts, one dict per parameter group. Its
            order must be the same from run to run (`state_dict` counts parameters), so a set is refused.
        defaults: the options of a group that does not set them itself; `required` marks those it must set.

    A subclass writes `step(closure=None)`; `self.state[param]` is the dict to keep its buffers in.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._prepare()
        if isinstance(params, naiad.Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{_type_name(params)}: put a single Tensor in a list"
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _prepare(self) -> None:
        """Make what does not travel with a pickle: the hook lists, and the hooks around this class's `step`."""
        for name in _HOOK_LISTS:
            self.__dict__.setdefault(name, OrderedDict())
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [""] if i else []
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # --- parameter groups -------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: a dict with "params" (a Tensor, or an iterable of them, named or not) and options of its own.

        Raises:
            TypeError: not a dict, a set of parameters, or something that is no Tensor.
            ValueError: a non-leaf Tensor, a required option missing, a parameter that another group has, or names in
                some groups only.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        self._read_params(param_group)
        for param in param_group["params"]:
            self._check_param(param)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        self._check_group(param_group)
        self.param_groups.append(param_group)

    @staticmethod
    def _read_params(group: dict[str, Any]) -> None:
        """Make `group["params"]` a list of Tensors, and `group["param_names"]` the list of names if there are any."""
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but a set's order changes between "
                "runs: use a list instead"
            )
        entries = [params] if isinstance(params, naiad.Tensor) else list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        if names and len(names) != len(entries):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        group["params"] = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names:
            group["param_names"] = names

    def _check_param(self, param: Any) -> None:
        if not isinstance(param, naiad.Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {_type_name(param)}")
        if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
            raise ValueError(
                "can't optimize a non-leaf Tensor: pass the Tensor that you created, or a detached copy "
                f"(this one has grad_fn={param.grad_fn})"
            )

    def _check_group(self, group: dict[str, Any]) -> None:
        ids = {id(p) for p in group["params"]}
        if len(ids) != len(group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=4,
            )
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                kind = "with names" if "param_names" in group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
            if any(id(p) in ids for p in other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")

    # --- one step ---------------------------------------------------------------------------------------------------

    def step(self, closure: Closure | None = None) -> Any:
        """Update every parameter once; `closure`, if given, computes gradients anew and returns the loss."""
        raise NotImplementedError(f"{type(self).__name__} must implement step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or, with `set_to_none=False`, fill them with zeros where there are any."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad.detach_()
                    else:
                        p.grad.requires_grad_(False)
                    p.grad.zero_()

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new `(args, kwargs)`."""
        return _register(self.__dict__[_STEP_PRE], hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return _register(self.__dict__[_STEP_POST], hook)

    # --- saving and loading -----------------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """`{"state": {number: {name: value}}, "param_groups": [...]}`, parameters named by their running number.

        The values are the live state, not copies, as in `Module.state_dict`.
        """
        for hook in self.__dict__[_SAVE_PRE].values():
            hook(self)
        state_dict = checkpoint.pack(self.state, self.param_groups)
        for hook in self.__dict__[_SAVE_POST].values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over options and state from `state_dict()` of an optimizer with groups of the same sizes.

        Tensors are cast to their parameter's dtype and device (`step` counters keep theirs).

        Raises:
            ValueError: another number of groups, or of parameters in one.
        """
        state_dict = state_dict.copy()
        for hook in self.__dict__[_LOAD_PRE].values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        state, groups = checkpoint.unpack(state_dict, self.param_groups)
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self.__dict__[_LOAD_POST].values():
            hook(self)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` is made."""
        return _register(self.__dict__[_SAVE_PRE], hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on a fresh `state_dict`; it may return another."""
        return _register(self.__dict__[_SAVE_POST], hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another to load."""
        return _register(self.__dict__[_LOAD_PRE], hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return _register(self.__dict__[_LOAD_POST], hook, prepend)


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
