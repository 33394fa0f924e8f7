"""Rectified Adam."""

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


def radam(
    m: Any,
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    *,
    lr: Any,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    bias_correction1: float,
    sqrt_bias_correction2: float,
    rectifier: float | None,
) -> tuple:
    """RAdam (Liu et al., arXiv:1908.03265).

        m ← β₁·m + (1 - β₁)·g
        v ← β₂·v + (1 - β₂)·g²
        p ← p - lr · m / (1 - β₁ᵗ) · √(1 - β₂ᵗ) / (√v + ε) · r

    `rectifier` r is None while the variance cannot be estimated: then the last two factors are left out.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled:
            param = param * (1 - lr * weight_decay)
        else:
            grad = grad + weight_decay * param
    exp_avg = lerp(exp_avg, grad, 1 - beta1)
    exp_avg_sq = exp_avg_sq * beta2 + (1 - beta2) * grad * grad
    delta = exp_avg / bias_correction1 * lr
    if rectifier is not None:
        delta = delta * (sqrt_bias_correction2 / (m.sqrt(exp_avg_sq) + eps)) * rectifier
    return param - delta, exp_avg, exp_avg_sq


def rectifier(step: float, beta2: float) -> float | None:
    """r of Liu et al., section 3.3, at count `step`; None where the length ρ of the average is at most 5."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= 5.0:
        return None
    return ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5


class RAdam(ElementwiseOptimizer):
    """Rectified Adam: `radam` has the formula. `weight_decay` is an L2 penalty unless `decoupled_weight_decay`.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    rule = staticmethod(radam)
    options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {"step": self._scalar(param, group), "exp_avg": self._zeros(param), "exp_avg_sq": self._zeros(param)}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        beta1, beta2 = group["betas"]
        numbers = {
            "lr": number(group["lr"], group["differentiable"]),
            "beta1": beta1,
            "beta2": beta2,
            "decoupled": group["decoupled_weight_decay"],
            "bias_correction1": 1 - beta1**step,
            "sqrt_bias_correction2": (1 - beta2**step) ** 0.5,
            "rectifier": rectifier(step, beta2),
        }
        return numbers | {name: group[name] for name in ("eps", "weight_decay", "maximize")}
