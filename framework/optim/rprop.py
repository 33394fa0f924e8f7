"""Resilient backpropagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import ElementwiseOptimizer, Group, State, check_lr, check_option, number, per_step
from naiad.optim.rule import Numbers


def rprop(
    m: Any,
    param: Any,
    grad: Any,
    prev: Any,
    step_size: Any,
    *,
    shrink: float,
    grow: float,
    smallest: float,
    largest: float,
    maximize: bool,
) -> tuple:
    """Rprop (Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning", 1993), in the
    variant that forgets the gradient after a change of sign (iRprop-, Igel and Hüsken 2000).

        d ← clip(d · (grow if g·g' > 0, shrink if g·g' < 0, else 1), smallest, largest)
        g ← 0 where g·g' < 0
        p ← p - sign(g)·d,  g' ← g
    """
    if maximize:
        grad = -grad
    agreement = grad * prev
    # A nan must reach the step size, so the last branch keeps the value itself.
    factor = m.where(agreement == 0, 1.0, agreement)
    factor = m.where(agreement < 0, shrink, factor)
    factor = m.where(agreement > 0, grow, factor)
    step_size = m.clip(step_size * factor, smallest, largest)
    grad = m.where(agreement < 0, 0.0, grad)
    return param - m.sign(grad) * step_size, grad, step_size


class Rprop(ElementwiseOptimizer):
    """Rprop: `rprop` has the formula; `lr` is the first step size.

    `foreach` chooses among PyTorch's implementations; ours treats all parameters in one call anyway. With
    `differentiable=True` autograd records the step. `capturable=True` is refused at the first step.

    Raises:
        ValueError: a negative learning rate, or etas that are not 0 < η⁻ < 1 < η⁺.
    """

    rule = staticmethod(rprop)
    options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option(0.0 < etas[0] < 1.0 < etas[1], "eta values", f"{etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: naiad.Tensor, group: Group) -> State:
        lr = number(group["lr"])
        start = complex(lr, lr) if param.is_complex() else lr
        size = naiad.full_like(param, start, memory_format=naiad.preserve_format, requires_grad=False)
        return {"step": self._scalar(param, group), "prev": self._zeros(param), "step_size": size}

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return ("prev", "step_size")

    @per_step
    def _numbers(self, group: Group, step: float) -> Numbers:
        shrink, grow = group["etas"]
        smallest, largest = group["step_sizes"]
        return {
            "shrink": shrink,
            "grow": grow,
            "smallest": smallest,
            "largest": largest,
            "maximize": group["maximize"],
        }
