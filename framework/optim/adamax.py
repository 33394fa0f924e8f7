"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import (
    ElementwiseOptimizer,
    Group,
    State,
    check_betas,
    check_lr,
    check_option,
    number,
    per_step,
)
from naiad.optim.rule import Numbers, lerp


def adamax(
    m: Any,
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_inf: Any,
    *,
    rate: Any,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple:
    """Adamax (Kingma and Ba, arXiv:1412.6980, section 7.1); `rate` = lr / (1 - β₁ᵗ).

    m ← β₁·m + (1 - β₁)·g
    u ← max(β₂·u, |g| + ε)
    p ← p - rate · m / u
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    exp_avg = lerp(exp_avg, grad, 1 - beta1)
    exp_inf = m.maximum(exp_inf * beta2, m.abs(grad) + eps)
    return param - rate * exp_avg / exp_inf, exp_avg, exp_inf


class Adamax(ElementwiseOptimizer):
    """Adamax: `adamax` has the formula.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    rule = staticmethod(adamax)
    options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(eps >= 0.0, "epsilon value", eps)
        check_betas(betas)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {"step": self._scalar(param, group), "exp_avg": self._zeros(param), "exp_inf": self._zeros(param)}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        beta1, beta2 = group["betas"]
        rate = number(group["lr"], group["differentiable"]) / (1 - beta1**step)
        shared = {name: group[name] for name in ("eps", "weight_decay", "maximize")}
        return {"rate": rate, "beta1": beta1, "beta2": beta2} | shared
