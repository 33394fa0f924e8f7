"""Muon."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

import naiad
from naiad.optim.optimizer import Closure, Optimizer

_SCALES = {
    "original": lambda rows, cols: sqrt(max(1.0, rows / cols)),
    "match_rms_adamw": lambda rows, cols: 0.2 * sqrt(max(rows, cols)),
}


def orthogonalized(matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """The matrix with its singular values pushed to about 1, in bfloat16, by `steps` of x ← a·x + (b·s + c·s²)·x with
    s = x·xᵀ (the Newton-Schulz iteration of Jordan et al.).

    Raises ValueError for 100 steps or more, or other than three coefficients.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)  # singular values of at most 1
    for _ in range(steps):
        gram = x @ x.T
        x = naiad.addmm(x, naiad.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(Optimizer):
    """Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024), for matrices only.

        m ← m + (1 - momentum)·(g - m);  u = orthogonalized(m, or with nesterov g + momentum·(m - g))
        p ← p·(1 - lr·weight_decay) - lr·scale·u

    `adjust_lr_fn` names the scale for a matrix of (A, B): "original" (also None) √max(1, A/B), "match_rms_adamw"
    0.2·√max(A, B) (Liu et al., arXiv:2502.16982).

    Raises:
        ValueError: an option outside its range, or a parameter that is no matrix.
        RuntimeError: a complex parameter.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, naiad.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for valid, text in (
            (lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}"),
            (momentum >= 0.0, f"momentum should be >= 0 but is: {momentum}"),
            (weight_decay >= 0.0, f"weight decay should be >= 0 but is: {weight_decay}"),
            (
                adjust_lr_fn is None or adjust_lr_fn in _SCALES,
                f"Adjust learning rate function {adjust_lr_fn} is not supported",
            ),
        ):
            if not valid:
                raise ValueError(text)
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                    )

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
            raise RuntimeError("Muon does not support complex parameters")
        grad, momentum, lr = param.grad, group["momentum"], float(group["lr"])
        state = self.state[param]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = naiad.zeros_like(grad, memory_format=naiad.preserve_format)
        mean = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        update = grad.lerp(mean, momentum) if group["nesterov"] else mean
        update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        scale = _SCALES[group["adjust_lr_fn"] or "original"](*param.shape)
        param.mul_(1 - lr * group["weight_decay"])
        param.add_(update, alpha=-lr * scale)
