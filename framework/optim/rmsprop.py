"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, State, check_lr, check_option, number, per_step
from naiad.optim.rule import Numbers, lerp


def rmsprop(
    m: Any,
    param: Any,
    grad: Any,
    square_avg: Any,
    *rest: Any,
    lr: Any,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> tuple:
    """RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012), centered as in Graves, arXiv:1308.0850.

        v ← α·v + (1 - α)·g²
        a ← α·a + (1 - α)·g          (centered)
        d = g / (√(v - a²) + ε)      (not centered: a = 0)
        b ← μ·b + d
        p ← p - lr·b                 (without momentum: p - lr·d)

    `rest` is the momentum buffer, if there is one, and then the average gradient, if centered.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    square_avg = square_avg * alpha + (1 - alpha) * grad * grad
    spread, grad_avg = square_avg, None
    if centered:
        grad_avg = lerp(rest[-1], grad, 1 - alpha)
        spread = square_avg - grad_avg * grad_avg
    scale = m.sqrt(spread) + eps
    state: tuple[Any, ...]
    if momentum > 0:
        buf = rest[0] * momentum + grad / scale
        state = (param - lr * buf, square_avg, buf)
    else:
        state = (param - lr * grad / scale, square_avg)
    return (*state, grad_avg) if centered else state


class RMSprop(ElementwiseOptimizer):
    """RMSprop, centered or not, with momentum if asked for: `rmsprop` has the formula.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative option.
    """

    rule = staticmethod(rmsprop)
    options = {
        "momentum": 0,
        "centered": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(eps >= 0.0, "epsilon value", eps)
        check_option(momentum >= 0.0, "momentum value", momentum)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        check_option(alpha >= 0.0, "alpha value", alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        return {"step": self._scalar(param, group)} | {name: self._zeros(param) for name in self._buffers(group)}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        names: tuple[str, ...] = ("square_avg",)
        if group["momentum"] > 0:
            names += ("momentum_buffer",)
        return (*names, "grad_avg") if group["centered"] else names

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        names = ("alpha", "eps", "weight_decay", "momentum", "centered", "maximize")
        return {"lr": number(group["lr"], group["differentiable"])} | {name: group[name] for name in names}
