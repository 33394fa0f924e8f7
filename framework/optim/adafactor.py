"""Adafactor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import naiad
from naiad.optim.optimizer import Closure, Optimizer


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, arXiv:1804.04235) without momentum, as PyTorch has it.

    The second moments of a matrix are kept as those of its rows and columns (algorithm 4); the step is relative to the
    size of the parameter, and an update whose root mean square passes `d` is scaled down to it (algorithms 5 and 6).

        ρ = min(lr, 1/√t), α = max(eps₂, rms(p))·ρ, β = t^beta2_decay
        r ← r + β·(mean of g² over columns - r), c likewise over rows; v = r·c / mean(r)
        u = g/√v, p ← p - α·u / max(1, rms(u)/d)

    `eps[0]` None is the dtype's epsilon. `foreach` makes no difference.

    Raises:
        ValueError: an option outside its range.
        RuntimeError: a complex parameter.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, naiad.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for valid, text in (
            (lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}"),
            (beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}"),
            (weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}"),
        ):
            if not valid:
                raise ValueError(text)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)

    def step(self, closure: Closure | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` as in every optimizer."""
        loss = None
        if closure is not None:
            with naiad.enable_grad():
                loss = closure()
        with naiad.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        self._update(group, param)
        return loss

    def _update(self, group: dict, param: Any) -> None:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        grad = -param.grad if group["maximize"] else param.grad
        state = self.state[param] or self._begin(param, grad)
        state["step"] += 1
        step, lr = state["step"].item(), float(group["lr"])
        eps1, eps2 = group["eps"]
        eps1 = naiad.finfo(param.dtype).eps if eps1 is None else eps1
        alpha = max(eps2, _rms(param)) * min(lr, step**-0.5)
        if group["weight_decay"]:
            param.mul_(1 - lr * group["weight_decay"])
        variance = _second_moments(state, grad, step ** group["beta2_decay"], eps1)
        update = variance.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
        param.add_(update, alpha=-alpha / max(1.0, _rms(update) / group["d"]))

    def _begin(self, param: Any, grad: Any) -> dict:
        state = self.state[param]
        state["step"] = naiad.tensor(0.0)
        if grad.dim() > 1:
            state["row_var"] = grad.new_zeros((*grad.shape[:-1], 1))
            state["col_var"] = grad.new_zeros((*grad.shape[:-2], 1, grad.shape[-1]))
        else:
            state["variance"] = naiad.zeros_like(grad, memory_format=naiad.preserve_format)
        return state


def _second_moments(state: dict, grad: Any, weight: float, eps1: float) -> Any:
    """The estimate of g², moved towards this gradient's by `weight`: a new tensor."""
    square = grad * grad
    if grad.dim() == 1 or grad.dim() == 0:
        return state["variance"].lerp_(square, weight).clone()
    rows, cols = state["row_var"], state["col_var"]
    rows.lerp_(square.mean(-1, keepdim=True), weight)
    cols.lerp_(square.mean(-2, keepdim=True), weight)
    return (rows @ cols).div_(rows.mean(-2, keepdim=True).clamp_(min=eps1))


def _rms(tensor: Any) -> float:
    return tensor.norm(2).item() / tensor.numel() ** 0.5
