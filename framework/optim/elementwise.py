"""What the optimizers with an elementwise rule share: collecting parameters, state and numbers, and one `step`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import naiad
from naiad.optim.optimizer import Closure, Optimizer
from naiad.optim.rule import Numbers, Rule, update

State = dict[str, Any]
Group = dict[str, Any]


class ElementwiseOptimizer(Optimizer):
    """An optimizer that is one rule (see `rule.py`) applied to each parameter.

    A subclass names its `rule` and `options` (what `load_state_dict` adds to groups saved by older versions) and says
    which buffers a parameter needs (`_new_state`, `_buffers`) and which numbers the rule gets (`_numbers`).
    """

    rule: ClassVar[Rule]
    options: ClassVar[dict[str, Any]]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        if defaults.get("fused"):
            self._check_fused(defaults)

    @staticmethod
    def _check_fused(defaults: dict[str, Any]) -> None:
        if defaults["differentiable"]:
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults["foreach"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.options.items():
                group.setdefault(name, value)
            for p in group["params"]:
                own = self.state.get(p)
                # Before PyTorch 1.12 counters were plain numbers.
                if own and "step" in own and not isinstance(own["step"], naiad.Tensor):
                    own["step"] = self._scalar(p, group, float(own["step"]))

    # --- what a subclass says ---------------------------------------------------------------------------------------

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _buffers(self, group: Group) -> tuple[str, ...]:
        """Names of the state that the rule reads and replaces, in the order of its arguments."""
        raise NotImplementedError

    def _numbers(self, group: Group, state: State, memo: dict[Any, Any]) -> Numbers:
        """The rule's keyword arguments for one parameter; `memo` lives as long as this group's step."""
        raise NotImplementedError

    # --- the step ---------------------------------------------------------------------------------------------------

    def step(self, closure: Closure | None = None) -> Any:
        """Update every parameter that has a gradient.

        `closure`, if given, computes the gradients anew and returns the loss, which `step` hands on.
        """
        loss = None
        if closure is not None:
            with naiad.enable_grad():
                loss = closure()
        with naiad.set_grad_enabled(bool(self.defaults["differentiable"])):
            for group in self.param_groups:
                self._step_group(group)
        return loss

    def _step_group(self, group: Group) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        self._check_options(group, params)
        memo: dict[Any, Any] = {}
        states, numbers = zip(*[self._row(group, p, memo) for p in params], strict=True)
        grads = [p.grad for p in params]
        update(type(self).rule, params, grads, states, numbers, differentiable=group["differentiable"])

    def _row(self, group: Group, param: naiad.Tensor, memo: dict[Any, Any]) -> tuple[tuple, Numbers]:
        """The buffers and the numbers that the rule gets for one parameter, whose state is made if it has none."""
        state = self.state[param]
        if not state:
            state.update(self._new_state(param, group))
        return tuple([state[name] for name in self._buffers(group)]), self._numbers(group, state, memo)

    def _check_options(self, group: Group, params: list[naiad.Tensor]) -> None:
        """Refuse what cannot be done, rather than ignore it."""
        if group.get("capturable"):
            _refuse_capturable(params)
        if group.get("fused") and not all(p.is_floating_point() for p in params):
            bad = next(p for p in params if not p.is_floating_point())
            raise RuntimeError(
                f"`fused=True` requires all the params to be floating point Tensors, but one is {bad.dtype} on "
                f"{bad.device.type}: leave `fused` out"
            )

    @staticmethod
    def _scalar(param: naiad.Tensor, group: Group, value: float = 0.0) -> naiad.Tensor:
        """A 0-d counter: kept on cpu, where its value is at hand, but for `fused`, whose kernels read it themselves."""
        if group.get("fused"):
            return naiad.tensor(value, dtype=naiad.float32, device=param.device)
        wide = naiad.get_default_dtype() == naiad.float64
        return naiad.tensor(value, dtype=naiad.float64 if wide else naiad.float32)

    @staticmethod
    def _zeros(param: naiad.Tensor) -> naiad.Tensor:
        return naiad.zeros_like(param, memory_format=naiad.preserve_format)


def _refuse_capturable(params: list[naiad.Tensor]) -> None:
    if any(p.device.type == "cpu" for p in params):
        raise AssertionError(
            "If capturable=True, params and state_steps must be on supported devices: ['cuda'], but a parameter is on "
            "cpu: pass capturable=False"
        )
    raise NotImplementedError(
        "capturable=True: naiad cannot capture an optimizer's step in a CUDA graph yet; pass capturable=False"
    )


def advance(step: naiad.Tensor) -> float:
    """Count one step more; returns the new count."""
    if step.device.type == "cpu":
        count = step._array.item() + 1.0  # faster than `+= 1` on the array
        step._array[()] = count
        step._version[0] += 1
        return count
    step.add_(1)
    return step.item()


def number(value: Any, differentiable: bool = False) -> Any:
    """A hyperparameter for the rule: a Python number, or, when autograd is to see it, the 0-d Tensor that it is."""
    if not isinstance(value, naiad.Tensor):
        return value
    if differentiable:
        return value.squeeze() if value.dim() else value
    return value.item()


def per_step(numbers: Callable[..., Numbers]) -> Callable[..., Numbers]:
    """Make `numbers(self, group, step)` a `_numbers` method that counts the step and computes once per count."""

    @functools.wraps(numbers)
    def wrapper(self: ElementwiseOptimizer, group: Group, state: State, memo: dict[Any, Any]) -> Numbers:
        step = advance(state["step"])
        found = memo.get(step)
        if found is None:
            found = memo[step] = numbers(self, group, step)
        return found

    return wrapper


def check_option(valid: Any, label: str, value: Any) -> None:
    """Raise ValueError "Invalid <label>: <value>" unless `valid` (a bool, or a one-element Tensor of it)."""
    if not valid:
        raise ValueError(f"Invalid {label}: {value}")


def check_lr(lr: Any) -> None:
    """Raise ValueError unless `lr` is a number, or a Tensor of one element, that is not negative."""
    if isinstance(lr, naiad.Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_option(lr >= 0.0, "learning rate", lr)


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raise ValueError unless both lie in [0, 1)."""
    for i in (0, 1):
        check_option(0.0 <= betas[i] < 1.0, f"beta parameter at index {i}", betas[i])
