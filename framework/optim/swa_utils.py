"""Weight averaging: stochastic weight averaging and exponential moving averages of a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, Literal

import naiad
from naiad import nn
from naiad.optim.lr_scheduler.base import LRScheduler, per_group
from naiad.optim.optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

AverageFn = Callable[[Any, Any, Any], Any]
MultiAverageFn = Callable[[list, list, Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> AverageFn:
    """`f(average, value, n) -> new average`: decay · average + (1 - decay) · value."""
    _check_decay(decay)

    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with naiad.no_grad():
            return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> AverageFn:
    """`f(average, value, n) -> new average` of n + 1 values: average + (value - average) / (n + 1)."""

    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with naiad.no_grad():
            return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverageFn:
    """As `get_ema_avg_fn`, on lists and in place."""
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> MultiAverageFn:
    """As `get_swa_avg_fn`, on lists and in place."""
    return _in_place(get_swa_avg_fn())


def _in_place(average: AverageFn) -> MultiAverageFn:
    def update(averages: list, values: list, num_averaged: Any) -> None:
        with naiad.no_grad():
            for mean, value in zip(averages, values, strict=True):
                mean.copy_(average(mean, value, num_averaged))

    return update


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


class AveragedModel(nn.Module):
    """A copy of `model` that holds the average of its parameters over the calls of `update_parameters`.

    Args:
        device: where to keep the copy.
        avg_fn: f(average, value, n) -> new average of one Tensor; default: the mean of all values.
        multi_avg_fn: f(averages, values, n), in place, of all Tensors of one device and dtype; not both.
        use_buffers: average the buffers too, instead of copying them.
    """

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: AverageFn | None = None,
        multi_avg_fn: MultiAverageFn | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", naiad.tensor(0, dtype=naiad.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's output."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the present parameters of `model` into the average."""
        with naiad.no_grad():
            pairs = [(a.detach(), b.detach().to(a.device)) for a, b in zip(*self._tensors(model), strict=False)]
            if self.n_averaged.item() == 0:
                for mean, value in pairs:
                    mean.copy_(value)
            else:
                self._average(pairs)
            if not self.use_buffers:  # buffers such as batch-norm statistics stay in step with the source
                for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
                    mean.detach().copy_(value.detach().to(mean.device))
            self.n_averaged += 1

    def _tensors(self, model: nn.Module) -> tuple[Iterable, Iterable]:
        if self.use_buffers:
            return chain(self.module.parameters(), self.module.buffers()), chain(model.parameters(), model.buffers())
        return self.parameters(), model.parameters()

    def _average(self, pairs: list[tuple[Any, Any]]) -> None:
        if self.multi_avg_fn is None:
            average = self.avg_fn or get_swa_avg_fn()
            for mean, value in pairs:
                mean.copy_(average(mean, value, self.n_averaged.to(mean.device)))
            return
        groups: dict[Any, list[tuple[Any, Any]]] = {}
        for mean, value in pairs:
            groups.setdefault((mean.device, mean.dtype), []).append((mean, value))
        for (device, _), group in groups.items():
            means, values = (list(column) for column in zip(*group, strict=True))
            self.multi_avg_fn(means, values, self.n_averaged.to(device))


def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Measure the batch-norm statistics of `model` anew, in one pass over `loader` (of inputs, or of tuples or lists
    whose first element is the input)."""
    norms = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            norms[module] = module.momentum
            module.momentum = None  # a plain mean over the batches
    if not norms:
        return
    was_training = model.training
    model.train()
    with naiad.no_grad():
        for batch in loader:
            inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(inputs if device is None else inputs.to(device))
    for module, momentum in norms.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Anneal each group's rate from what it is to `swa_lr` in `anneal_epochs` epochs, then keep it there.

    Raises:
        ValueError: an unknown strategy, or no natural number of epochs.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        for lr, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _done(self, step: int) -> float:
        """How much of the way to `swa_lr` is done after `step` steps, in [0, 1]."""
        part = max(0, min(1, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[Any]:
        """The next rates on the way."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=2,
            )
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._done(step - 1), self._done(step)
        lrs = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            lrs.append(end * now + start * (1 - now))
        return lrs
