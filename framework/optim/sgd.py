"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, check_lr, check_option, number
from naiad.optim.rule import Numbers


def sgd(
    m: Any,
    param: Any,
    grad: Any,
    buf: Any = None,
    *,
    lr: Any,
    momentum: float,
    dampening: float,
    weight_decay: Any,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> tuple:
    """Gradient descent with heavy-ball or Nesterov momentum (Sutskever et al., "On the importance of initialization
    and momentum in deep learning", ICML 2013; as PyTorch, the learning rate stays outside of the buffer).

        b ← μ·b + (1 - dampening)·g      (b ← g at the first step)
        p ← p - lr·(g + μ·b if nesterov else b)
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    if buf is None:
        return (param - lr * grad,)
    buf = grad if first else buf * momentum + (1 - dampening) * grad
    direction = grad + momentum * buf if nesterov else buf
    return param - lr * direction, buf


class SGD(ElementwiseOptimizer):
    """Stochastic gradient descent, with momentum if asked for: `sgd` has the formula.

    `foreach` and `fused` choose among PyTorch's implementations; ours treats all parameters in one call anyway, and
    gives the same result for each. With `differentiable=True` autograd records the step.

    Raises:
        ValueError: a negative option, or Nesterov momentum without momentum or with dampening.
    """

    rule = staticmethod(sgd)
    options = {"nesterov": False, "maximize": False, "foreach": None, "differentiable": False, "fused": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | naiad.Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_option(momentum >= 0.0, "momentum value", momentum)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"Nesterov momentum requires a momentum and zero dampening, but got {momentum} and {dampening}"
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _row(self, group: Group, param: naiad.Tensor, memo: dict[Any, Any]) -> tuple[tuple, Numbers]:
        if group["momentum"] == 0:  # no state at all, not even an empty entry
            return (), self._shared_numbers(group, memo, first=False)
        state = self.state[param]
        first = state.get("momentum_buffer") is None
        if first:
            state["momentum_buffer"] = self._zeros(param)
        return (state["momentum_buffer"],), self._shared_numbers(group, memo, first)

    @staticmethod
    def _shared_numbers(group: Group, memo: dict[Any, Any], first: bool) -> Numbers:
        if first not in memo:
            traced = group["differentiable"]
            memo[first] = {
                "lr": number(group["lr"], traced),
                "momentum": group["momentum"],
                "dampening": group["dampening"],
                "weight_decay": number(group["weight_decay"], traced),
                "nesterov": group["nesterov"],
                "maximize": group["maximize"],
                "first": first,
            }
        return memo[first]
