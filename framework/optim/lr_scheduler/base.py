"""What all learning-rate schedules share."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import naiad
from naiad.optim.optimizer import Optimizer

_EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler."
)


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """`group[key]` of every group, Tensors copied."""
    return [_copied(group[key]) for group in optimizer.param_groups]


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, naiad.Tensor) else value


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """`group[key] = value`; a Tensor there is filled, so that whoever holds it sees the change."""
    if isinstance(group[key], naiad.Tensor):
        group[key].fill_(value.squeeze() if isinstance(value, naiad.Tensor) else value)
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` for each group: a list or tuple of as many, or one for all.

    Raises:
        ValueError: a list or tuple of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        value = [value] * groups
    if len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, param_groups "
            f"has {groups}."
        )
    return [_copied(v) for v in value]


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless `optimizer` is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def warn_epoch(stacklevel: int = 3) -> None:
    """Warn that `step(epoch)` is deprecated."""
    warnings.warn(_EPOCH_WARNING, UserWarning, stacklevel=stacklevel)


class LRScheduler:
    """Base class of the schedules: sets the groups' "lr" at construction and at each `step()`.

    A subclass writes `get_lr()`, which returns the groups' new rates from `self.last_epoch`, `self.base_lrs` and the
    present rates; and, if there is one, the closed form in `_get_closed_form_lr()`.

    Args:
        optimizer: whose learning rates to set.
        last_epoch: the number of the last epoch when resuming; the groups must then have an "initial_lr".

    Raises:
        TypeError: `optimizer` is none.
        KeyError: resuming without "initial_lr".
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch "
                    f">= 0 (here {last_epoch}): load the optimizer's state first, or leave last_epoch out"
                )
        self.base_lrs: list[Any] = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _track_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        with _flag(self, "_is_initial"):
            self.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one per group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The groups' rates for `self.last_epoch`; meant to be called by `step` only."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch (or, deprecated, to `epoch`) and set the groups' rates."""
        if self._step_count == 1:
            self._warn_order()
        self._step_count += 1
        if epoch is not None:
            warn_epoch()
        self._update_lr(epoch)

    def _warn_order(self) -> None:
        """At the first step after construction: was the optimizer stepped, as it should have been?"""
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            message = (
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`."
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            message = (
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order: "
                "`optimizer.step()` before `lr_scheduler.step()`; else the first value of the schedule is skipped."
            )
        else:
            return
        warnings.warn(message, UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        with _flag(self, "_get_lr_called_within_step"):
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                values = getattr(self, "_get_closed_form_lr", self.get_lr)()
        self._set_lrs(values)

    def _set_lrs(self, values: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            set_value(group, "lr", lr)
        self._last_lr = group_values(self.optimizer, "lr")

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


class FactorLR(LRScheduler):
    """A schedule whose step multiplies every group's rate by one factor."""

    def _factor(self) -> float:
        """What to multiply the rates with on arriving at `self.last_epoch`; 1 leaves them alone."""
        raise NotImplementedError(f"{type(self).__name__} must implement _factor()")

    def get_lr(self) -> list[Any]:
        """The present rates times this epoch's factor."""
        self._warn_outside_step()
        factor = self._factor()
        if factor == 1:
            return group_values(self.optimizer, "lr")
        return [group["lr"] * factor for group in self.optimizer.param_groups]


@contextmanager
def _flag(scheduler: LRScheduler, name: str) -> Iterator[None]:
    setattr(scheduler, name, True)
    try:
        yield
    finally:
        setattr(scheduler, name, False)


def _track_steps(optimizer: Optimizer) -> None:
    """Make `optimizer.step` note that it was called, so that a wrong order of the two steps can be pointed out."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    owner, step = weakref.ref(optimizer), optimizer.step.__func__  # type: ignore[attr-defined]

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        opt = owner()
        opt._opt_called = True  # type: ignore[union-attr]
        return step.__get__(opt, type(opt))(*args, **kwargs)

    wrapper._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = wrapper  # type: ignore[method-assign]


def callables_state(functions: list[Callable]) -> list[dict[str, Any] | None]:
    """What of user functions can be saved: the attributes of callable objects; None for plain functions."""
    return [None if type(fn).__name__ == "function" else fn.__dict__.copy() for fn in functions]


def load_callables(functions: list[Callable], saved: list[dict[str, Any] | None]) -> None:
    """Put back what `callables_state` saved."""
    for fn, attributes in zip(functions, saved, strict=True):
        if attributes is not None:
            fn.__dict__.update(attributes)
