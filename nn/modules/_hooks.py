"""Hooks of a Module: their handles, their registration, and the taps that show gradients to backward hooks."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from naiad.autograd import Function
from naiad.core.tensor import Tensor
from naiad.nn.modules._tables import Tables


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes the hook out again; also a context manager.

    ``extra_dict`` names further dictionaries (or a list of them) keyed by the same id.
    """

    _ids = itertools.count()

    def __init__(self, hooks_dict: dict, *, extra_dict: dict | Sequence[dict] | None = None) -> None:
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.id = next(RemovableHandle._ids)
        extras = [extra_dict] if isinstance(extra_dict, dict) else list(extra_dict or ())
        self.extra_dict_ref = tuple(weakref.ref(extra) for extra in extras)

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple:
        # Copies of a module are to have handles on their own hooks, so the dictionaries travel along.
        return self.hooks_dict_ref(), self.id, [extra() for extra in self.extra_dict_ref]

    def __setstate__(self, state: tuple) -> None:
        hooks, self.id, extras = state
        # Those that were gone before the copy was made: nothing to remove from.
        gone: OrderedDict = OrderedDict()
        self.hooks_dict_ref = weakref.ref(gone if hooks is None else hooks)
        self.extra_dict_ref = tuple(weakref.ref(extra) for extra in extras if extra is not None)
        RemovableHandle._ids = itertools.count(max(next(RemovableHandle._ids), self.id + 1))

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class HookRegistration(Tables):
    """The part of Module that registers hooks. Every method returns a RemovableHandle."""

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns, if not None, replaces the arguments.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)``, returning None or ``(args, kwargs)``.
        """
        handle = _register(self._forward_pre_hooks, hook, prepend, [self._forward_pre_hooks_with_kwargs])
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns, if not None, replaces the output.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``; with ``always_call`` it is called
        (with the output so far, or None) even when ``forward`` or another hook raised.
        """
        extras = [self._forward_hooks_with_kwargs, self._forward_hooks_always_called]
        handle = _register(self._forward_hooks, hook, prepend, extras)
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        return handle

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the module's backward; a result replaces ``grad_output``."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` after the module's backward.

        A result that is not None replaces ``grad_input``, the gradients of the positional arguments
        (None where an argument is no tensor).
        """
        return _register(self._backward_hooks, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict`` reads the module."""
        return _register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after ``state_dict`` has read the module.

        It changes ``state_dict`` in place and returns None.
        """
        hook = _MustReturnNone(hook)
        return _register(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """The older kind, whose result, if not None, replaces the state_dict."""
        return _register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)`` first."""
        return _register(self._load_state_dict_pre_hooks, _WithModule(hook, self))

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> RemovableHandle:
        return _register(self._load_state_dict_pre_hooks, _WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may change the key lists in place."""
        return _register(self._load_state_dict_post_hooks, hook)


def _register(
    hooks: OrderedDict, hook: Callable, prepend: bool = False, extras: Sequence[dict] | None = None
) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=extras)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class _MustReturnNone:
    """A state_dict post-hook, which has to work in place."""

    def __init__(self, hook: Callable) -> None:
        self.hook = hook

    def __call__(self, *args: Any) -> None:
        if self.hook(*args) is not None:
            raise RuntimeError("state_dict post-hook must return None: change the state_dict in place")


class _WithModule:
    """A load pre-hook that wants its module as the first argument.

    The module is held as it is, not weakly: with it in the same object graph, deepcopy and pickle
    hand the copy's hook the copy.
    """

    def __init__(self, hook: Callable, module: Any) -> None:
        self.hook = hook
        self.module = module

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module, *args)


class _Tap(Function):
    """The identity on tensors; its backward shows the gradients to ``look`` and passes on what that returns."""

    @staticmethod
    def forward(ctx: Any, look: Callable, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.look = look
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return (None, *ctx.look(grads))


class BackwardHooks:
    """One call's backward hooks: taps on its inputs and outputs, and what passed them so far."""

    def __init__(self, module: Any, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: tuple | None = None
        self.tapped_inputs = False
        self.n_inputs = 0

    def tap_inputs(self, args: tuple) -> tuple:
        """The call's positional arguments, those that need a gradient behind a tap."""
        self.n_inputs = len(args)
        args, self.tapped_inputs = self._tap(args, self._see_grad_inputs)
        return args

    def tap_outputs(self, result: Any) -> Any:
        """The call's result (a tensor or a tuple with tensors), behind a tap."""
        outputs = result if isinstance(result, tuple) else (result,)
        tapped, _ = self._tap(outputs, self._see_grad_outputs)
        if tapped is outputs:
            return result
        if not isinstance(result, tuple):
            return tapped[0]
        return tapped if type(result) is tuple else type(result)(*tapped)

    @staticmethod
    def _tap(values: tuple, see: Callable) -> tuple[tuple, bool]:
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
        if not places:
            return values, False

        def look(grads: tuple) -> tuple:
            spread: list = [None] * len(values)
            for place, grad in zip(places, grads, strict=True):
                spread[place] = grad
            changed = see(tuple(spread))
            return tuple(changed[place] for place in places)

        tapped = list(values)
        outputs = _Tap.apply(look, *(values[place] for place in places))
        for place, tensor in zip(places, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
            tapped[place] = tensor
        return tuple(tapped), True

    def _see_grad_outputs(self, grads: tuple) -> tuple:
        for hook in self.pre_hooks:
            grads = _replaced(grads, hook(self.module, grads), "grad_output")
        self.grad_outputs = grads
        if self.hooks and not self.tapped_inputs:
            # Nothing below asks for gradients, so this is the end of the module's backward.
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs "
                "since no inputs require gradients.",
                stacklevel=2,
            )
            nothing = (None,) * self.n_inputs
            for hook in self.hooks:
                if hook(self.module, nothing, grads) is not None:
                    raise RuntimeError(
                        "backward hook for Modules where no input requires gradient "
                        "should always return None or None for all gradients."
                    )
        return grads

    def _see_grad_inputs(self, grads: tuple) -> tuple:
        if self.grad_outputs is None:
            return grads  # the output was not part of this backward
        for hook in self.hooks:
            grads = _replaced(grads, hook(self.module, grads, self.grad_outputs), "grad_input")
        self.grad_outputs = None
        return grads


def _replaced(grads: tuple, result: Any, what: str) -> tuple:
    if result is None:
        return grads
    result = result if isinstance(result, tuple) else (result,)
    if len(result) != len(grads):
        raise RuntimeError(f"backward hook returned {len(result)} gradients as {what}, expected {len(grads)}")
    return result
