"""Module: the base of every network and layer."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from naiad.core.tensor import Tensor
from naiad.nn.modules._convert import Conversion
from naiad.nn.modules._hooks import BackwardHooks, HookRegistration
from naiad.nn.modules._members import Members
from naiad.nn.modules._state_dict import StateDict, _IncompatibleKeys
from naiad.nn.modules._tables import HOOK_TABLES
from naiad.nn.parameter import Buffer, Parameter

__all__ = ["Module", "_IncompatibleKeys"]

Self = TypeVar("Self", bound="Module")


class Module(Members, StateDict, Conversion, HookRegistration):
    """A network or a part of one: parameters, buffers and submodules, found by assigning them to attributes.

    A subclass calls ``super().__init__()`` first and defines ``forward``::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(10, 32)

            def forward(self, x):
                return self.hidden(x).relu()
    """

    dump_patches = False
    call_super_init = False
    _version = 1
    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            if kwargs:
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'")
            raise TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_non_persistent_buffers_set"] = set()
        for table in HOOK_TABLES:
            state[table] = OrderedDict()
        state["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any) -> Any:
        """What the module computes: every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and the hooks around it."""
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        called: set[int] = set()
        progress: list[Any] = [None]
        try:
            return self._run_hooked(args, kwargs, called, progress)
        except Exception:
            for key, hook in list(self._forward_hooks.items()):
                if key in self._forward_hooks_always_called and key not in called:
                    try:
                        self._run_forward_hook(key, hook, args, kwargs, progress)
                    except Exception as error:  # the first error is the one to raise; this one is only told
                        warnings.warn(
                            "module forward hook with ``always_call=True`` raised an exception "
                            f"that was silenced as another error was raised in forward: {error}",
                            stacklevel=3,
                        )
            raise

    def _run_hooked(self, args: tuple, kwargs: dict, called: set[int], progress: list) -> Any:
        for key, hook in list(self._forward_pre_hooks.items()):
            args, kwargs = self._run_pre_hook(key, hook, args, kwargs)
        backward = None
        if self._backward_hooks or self._backward_pre_hooks:
            backward = BackwardHooks(self, list(self._backward_hooks.values()), list(self._backward_pre_hooks.values()))
            args = backward.tap_inputs(args)
        progress[0] = self.forward(*args, **kwargs)
        for key, hook in list(self._forward_hooks.items()):
            called.add(key)
            self._run_forward_hook(key, hook, args, kwargs, progress)
        return progress[0] if backward is None else backward.tap_outputs(progress[0])

    def _run_pre_hook(self, key: int, hook: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if key in self._forward_pre_hooks_with_kwargs:
            changed = hook(self, args, kwargs)
            if changed is None:
                return args, kwargs
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                )
            return changed
        changed = hook(self, args)
        if changed is None:
            return args, kwargs
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs

    def _run_forward_hook(self, key: int, hook: Callable, args: tuple, kwargs: dict, progress: list) -> None:
        if key in self._forward_hooks_with_kwargs:
            changed = hook(self, args, kwargs, progress[0])
        else:
            changed = hook(self, args, progress[0])
        if changed is not None:
            progress[0] = changed

    # Registration

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep a tensor that is state but no parameter; ``persistent`` ones are in the state_dict."""
        self._check_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Keep a parameter (or, with None, the name for one that is absent)."""
        self._check_name("parameter", name, "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly."
                )
        self._parameters[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Keep a submodule under ``name``."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, "_modules")
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    def _check_name(self, what: str, name: str, table: str) -> None:
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_typename(name)}")
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if not name:
            raise KeyError(f'{what} name can\'t be empty string ""')

    # Attributes

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        if "_parameters" in state:
            found = state["_parameters"]
            if name in found:
                return found[name]
        if "_modules" in state:
            found = state["_modules"]
            if name in found:
                return found[name]
        if "_buffers" in state:
            found = state["_buffers"]
            if name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in state:
                raise AttributeError("cannot assign module before Module.__init__() call")
            if name in state["_parameters"]:
                raise TypeError(_cannot_assign(value, "parameter", name, "torch.nn.Parameter or None expected"))
            self._forget(name, "_modules")
            state["_modules"][name] = value
        elif isinstance(value, Buffer):
            if "_buffers" not in state:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            if name in state["_parameters"]:
                raise TypeError(_cannot_assign(value, "parameter", name, "torch.nn.Parameter or None expected"))
            if name in state["_modules"]:
                raise TypeError(_cannot_assign(value, "child module", name, "torch.nn.Module or None expected"))
            buffer: Any = value
            self.register_buffer(name, buffer, buffer.persistent)
        else:
            self._set_plain(name, value)

    def _set_plain(self, name: str, value: Any) -> None:
        """Assign what brings no registration of its own: only a registered name treats it specially."""
        state = self.__dict__
        if name in state.get("_parameters", ()):
            if value is not None:
                raise TypeError(_cannot_assign(value, "parameter", name, "torch.nn.Parameter or None expected"))
            state["_parameters"][name] = None
        elif name in state.get("_modules", ()):
            if value is not None:
                raise TypeError(_cannot_assign(value, "child module", name, "torch.nn.Module or None expected"))
            state["_modules"][name] = None
        elif name in state.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(_cannot_assign(value, "buffer", name, "torch.nn.Buffer, torch.Tensor or None expected"))
            state["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str, keep: str) -> None:
        """Remove ``name`` wherever it is but in the table ``keep``."""
        state = self.__dict__
        state.pop(name, None)
        for table in ("_parameters", "_buffers", "_modules"):
            if table != keep:
                state[table].pop(name, None)
        state["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted({name for name in names if not name[:1].isdigit()})

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        for table in HOOK_TABLES:
            self.__dict__.setdefault(table, OrderedDict())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())

    # Modes

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every submodule, then on this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Training mode (or, with False, evaluation mode) for this module and all below."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Evaluation mode: the same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Whether every parameter takes part in autograd."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every parameter's gradient, or set it to zeros."""
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                if parameter.grad.grad_fn is not None:
                    parameter.grad.detach_()
                else:
                    parameter.grad.requires_grad_(False)
                parameter.grad.zero_()

    # Printing

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return "\n".join([f"{self._get_name()}(", *(f"  {line}" for line in (*lines, *children)), ")"])


def _typename(value: Any) -> str:
    """The dotted type name that PyTorch's messages show."""
    if isinstance(value, Tensor):
        return value.type()
    kind = value if isinstance(value, type) else type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def _cannot_assign(value: Any, what: str, name: str, expected: str) -> str:
    return f"cannot assign '{_typename(value)}' as {what} '{name}' ({expected})"


def _addindent(text: str, spaces: int) -> str:
    """``text`` with every line but the first indented."""
    return text.replace("\n", "\n" + " " * spaces)
