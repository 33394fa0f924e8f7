"""Averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, State, advance, check_lr, check_option, number
from naiad.optim.rule import Numbers


def asgd(
    m: Any,
    param: Any,
    grad: Any,
    average: Any,
    *,
    eta: float,
    mu: float,
    lambd: float,
    weight_decay: float,
    maximize: bool,
) -> tuple:
    """Averaged SGD (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the schedule
    of ηₜ = lr / (1 + λ·lr·t)^α is Bottou's).

        p ← p·(1 - λ·η) - η·g
        a ← a + μ·(p - a)
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    param = param * (1 - lambd * eta) - eta * grad
    return param, param if mu == 1 else average + (param - average) * mu


class ASGD(ElementwiseOptimizer):
    """Averaged SGD: `asgd` has the formula; averaging begins at step `t0`, and `state[p]["ax"]` holds the average.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative learning rate or weight decay.
    """

    rule = staticmethod(asgd)
    options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for p in group["params"]:
                own: Any = self.state.get(p)
                for name in ("eta", "mu") if own else ():
                    if not isinstance(own[name], naiad.Tensor):
                        own[name] = self._scalar(p, group, own[name])

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {
            "step": self._scalar(param, group),
            "eta": self._scalar(param, group, number(group["lr"])),
            "mu": self._scalar(param, group, 1.0),
            "ax": self._zeros(param),
        }

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("ax",)

    def _numbers(self, group: Group, state: State, memo: dict[Any, Any]) -> Numbers:
        step, lr, lambd = advance(state["step"]), number(group["lr"]), group["lambd"]
        numbers = {"eta": state["eta"].item(), "mu": state["mu"].item(), "lambd": lambd}
        # What the next step will use: the state that PyTorch keeps, rounded to the default dtype as PyTorch does.
        state["eta"].copy_(naiad.tensor(lr / (1 + lambd * lr * step) ** group["alpha"]))
        state["mu"].copy_(naiad.tensor(1.0 / max(1, step - group["t0"])))
        return numbers | {"weight_decay": group["weight_decay"], "maximize": group["maximize"]}
