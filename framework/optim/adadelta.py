"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, State, check_lr, check_option, number, per_step
from naiad.optim.rule import Numbers


def adadelta(
    m: Any,
    param: Any,
    grad: Any,
    square_avg: Any,
    acc_delta: Any,
    *,
    lr: Any,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple:
    """Adadelta (Zeiler, arXiv:1212.5701).

    v ← ρ·v + (1 - ρ)·g²
    d = √(u + ε) / √(v + ε) · g
    u ← ρ·u + (1 - ρ)·d²
    p ← p - lr·d
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    square_avg = square_avg * rho + (1 - rho) * grad * grad
    delta = m.sqrt(acc_delta + eps) / m.sqrt(square_avg + eps) * grad
    acc_delta = acc_delta * rho + (1 - rho) * delta * delta
    return param - lr * delta, square_avg, acc_delta


class Adadelta(ElementwiseOptimizer):
    """Adadelta: `adadelta` has the formula.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative option, or rho above 1.
    """

    rule = staticmethod(adadelta)
    options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(0.0 <= rho <= 1.0, "rho value", rho)
        check_option(eps >= 0.0, "epsilon value", eps)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {"step": self._scalar(param, group), "square_avg": self._zeros(param), "acc_delta": self._zeros(param)}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        names = ("rho", "eps", "weight_decay", "maximize")
        return {"lr": number(group["lr"], group["differentiable"])} | {name: group[name] for name in names}
