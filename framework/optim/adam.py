"""Adam, with coupled or decoupled weight decay."""

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


def adam(
    m: Any,
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    max_exp_avg_sq: Any = None,
    *,
    lr: Any,
    beta1: Any,
    beta2: Any,
    eps: float,
    weight_decay: Any,
    decoupled: bool,
    maximize: bool,
    bias_correction1: Any,
    sqrt_bias_correction2: Any,
) -> tuple:
    """Adam (Kingma and Ba, arXiv:1412.6980), AMSGrad (Reddi et al., arXiv:1904.09237) with a `max_exp_avg_sq`, AdamW
    (Loshchilov and Hutter, arXiv:1711.05101) with `decoupled`.

        m ← β₁·m + (1 - β₁)·g
        v ← β₂·v + (1 - β₂)·g²
        p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)      (AMSGrad: the largest v so far instead of v)
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
    largest = exp_avg_sq if max_exp_avg_sq is None else m.maximum(max_exp_avg_sq, exp_avg_sq)
    scale = m.sqrt(largest) / sqrt_bias_correction2 + eps
    param = param - (lr / bias_correction1) * exp_avg / scale
    if max_exp_avg_sq is None:
        return param, exp_avg, exp_avg_sq
    return param, exp_avg, exp_avg_sq, largest


class Adam(ElementwiseOptimizer):
    """Adam: `adam` has the formula. `weight_decay` is an L2 penalty unless `decoupled_weight_decay`.

    `foreach` and `fused` choose among PyTorch's implementations; ours treats all parameters in one call anyway, and
    gives the same result for each. With `differentiable=True` autograd records the step. `capturable=True` is refused
    at the first step.

    Raises:
        ValueError: a negative option, a beta outside [0, 1), betas of two kinds, or Tensor options with `foreach`.
    """

    rule = staticmethod(adam)
    options = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-3,
        betas: tuple[float | naiad.Tensor, float | naiad.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(eps >= 0.0, "epsilon value", eps)
        check_betas(betas)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        _check_tensor_options(lr, betas, bool(foreach) and not capturable)
        defaults = {
            "lr": lr,
            "betas": tuple(number(beta, differentiable=True) for beta in betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        state = {"step": self._scalar(param, group), "exp_avg": self._zeros(param), "exp_avg_sq": self._zeros(param)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = self._zeros(param)
        return state

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        traced = group["differentiable"]
        beta1, beta2 = (number(beta, traced) for beta in group["betas"])
        return {
            "lr": number(group["lr"], traced),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "weight_decay": number(group["weight_decay"], traced),
            "decoupled": group["decoupled_weight_decay"],
            "maximize": group["maximize"],
            "bias_correction1": 1 - beta1**step,
            "sqrt_bias_correction2": (1 - beta2**step) ** 0.5,
        }


def _check_tensor_options(lr: Any, betas: tuple[Any, Any], plain_foreach: bool) -> None:
    kinds = {isinstance(beta, naiad.Tensor) for beta in betas}
    if len(kinds) == 2 or not all(isinstance(beta, (float, naiad.Tensor)) for beta in betas):
        raise ValueError(f"betas must be either both floats or both Tensors, but got {betas}")
    for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
        if not isinstance(value, naiad.Tensor):
            continue
        if plain_foreach:
            raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
