"""Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import (
    ElementwiseOptimizer,
    Group,
    State,
    advance,
    check_betas,
    check_lr,
    check_option,
    number,
)
from naiad.optim.rule import Numbers, lerp


def nadam(
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
    grad_rate: Any,
    momentum_rate: Any,
    bias_correction2: float,
) -> tuple:
    """NAdam (Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016).

        μₜ = β₁·(1 - 0.96^(t·momentum_decay) / 2)
        m ← β₁·m + (1 - β₁)·g
        v ← β₂·v + (1 - β₂)·g²
        s = √(v / (1 - β₂ᵗ)) + ε
        p ← p - grad_rate · g / s - momentum_rate · m / s

    with grad_rate = lr·(1 - μₜ) / (1 - μ₁…μₜ) and momentum_rate = lr·μₜ₊₁ / (1 - μ₁…μₜ₊₁).
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
    scale = m.sqrt(exp_avg_sq / bias_correction2) + eps
    return param - grad_rate * grad / scale - momentum_rate * exp_avg / scale, exp_avg, exp_avg_sq


class NAdam(ElementwiseOptimizer):
    """NAdam: `nadam` has the formula. `weight_decay` is an L2 penalty unless `decoupled_weight_decay`.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    rule = staticmethod(nadam)
    options = {
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_option(momentum_decay >= 0.0, "momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {
            "step": self._scalar(param, group),
            "mu_product": self._scalar(param, group, 1.0),
            "exp_avg": self._zeros(param),
            "exp_avg_sq": self._zeros(param),
        }

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _numbers(self, group: Group, state: State, memo: dict[Any, Any]) -> Numbers:
        step, before = advance(state["step"]), number(state["mu_product"])
        if (step, before) not in memo:
            memo[step, before] = self._step_numbers(group, step, state["mu_product"])
        else:
            state["mu_product"].fill_(memo[step, before][1])
        return memo[step, before][0]

    @staticmethod
    def _step_numbers(group: Group, step: float, mu_product: naiad.Tensor) -> tuple[Numbers, float]:
        beta1, beta2 = group["betas"]
        lr = number(group["lr"], group["differentiable"])
        mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        mu_product.mul_(mu)
        product = mu_product.item()
        numbers = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "decoupled": group["decoupled_weight_decay"],
            "grad_rate": lr * (1.0 - mu) / (1.0 - product),
            "momentum_rate": lr * mu_next / (1.0 - product * mu_next),
            "bias_correction2": 1 - beta2**step,
        }
        return numbers | {name: group[name] for name in ("eps", "weight_decay", "maximize")}, product
