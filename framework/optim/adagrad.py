"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, State, check_lr, check_option, number, per_step
from naiad.optim.rule import Numbers


def adagrad(
    m: Any, param: Any, grad: Any, total: Any, *, rate: Any, eps: float, weight_decay: float, maximize: bool
) -> tuple:
    """Adagrad (Duchi et al., "Adaptive subgradient methods", JMLR 12, 2011); `rate` = lr / (1 + (t - 1)·lr_decay).

    s ← s + g²
    p ← p - rate · g / (√s + ε)
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    total = total + grad * grad
    return param - rate * grad / (m.sqrt(total) + eps), total


class Adagrad(ElementwiseOptimizer):
    """Adagrad: `adagrad` has the formula. Its state is made at construction, as PyTorch's is.

    `foreach` and `fused` choose among PyTorch's implementations; ours treats all parameters in one call anyway, and
    gives the same result for each. With `differentiable=True` autograd records the step.

    Raises:
        ValueError: a negative option.
    """

    rule = staticmethod(adagrad)
    options = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_option(lr_decay >= 0.0, "lr_decay value", lr_decay)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        check_option(initial_accumulator_value >= 0.0, "initial_accumulator_value value", initial_accumulator_value)
        check_option(eps >= 0.0, "epsilon value", eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(self._new_state(p, group))

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        start = self.defaults["initial_accumulator_value"]
        if param.is_complex():
            start = complex(start, start)
        total = naiad.full_like(param, start, memory_format=naiad.preserve_format, requires_grad=False)
        return {"step": self._scalar(param, group), "sum": total}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("sum",)

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        rate = number(group["lr"], group["differentiable"]) / (1 + (step - 1) * group["lr_decay"])
        return {"rate": rate} | {name: group[name] for name in ("eps", "weight_decay", "maximize")}
