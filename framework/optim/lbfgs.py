"""Limited-memory BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import naiad
from naiad.optim.elementwise import check_lr, number
from naiad.optim.line_search import Point, strong_wolfe
from naiad.optim.optimizer import Optimizer


def two_loop(grad: Any, old_dirs: list, old_stps: list, ro: list, h_diag: float) -> Any:
    """-H·grad for the inverse Hessian H that the last steps suggest (Nocedal and Wright, algorithm 7.4).

    `old_dirs` are the changes y of the gradient, `old_stps` the steps s, `ro` the numbers 1 / y·s; `h_diag` · identity
    is H before them.
    """
    q = grad.neg()
    weights = []
    for y, s, rho in zip(reversed(old_dirs), reversed(old_stps), reversed(ro), strict=True):
        weights.append(s.dot(q).item() * float(rho))
        q.add_(y, alpha=-weights[-1])
    r = q.mul(h_diag)
    for y, s, rho, weight in zip(old_dirs, old_stps, ro, reversed(weights), strict=True):
        r.add_(s, alpha=weight - y.dot(r).item() * float(rho))
    return r


class LBFGS(Optimizer):
    """Limited-memory BFGS (Liu and Nocedal, "On the limited memory BFGS method", 1989) over one parameter group.

    `step(closure)` runs up to `max_iter` iterations or `max_eval` evaluations of `closure`, which must clear the
    gradients, compute the loss, call `backward` and return the loss. `line_search_fn` is None (take `lr` as it is) or
    "strong_wolfe".

    Raises:
        ValueError: a negative learning rate, or several parameter groups.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | naiad.Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[naiad.Tensor]:
        return self.param_groups[0]["params"]

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimize; returns the loss before the first iteration.

        Raises:
            RuntimeError: an unknown `line_search_fn`.
        """
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(
                f"only 'strong_wolfe' is supported as line_search_fn, but got {group['line_search_fn']!r}"
            )
        with naiad.no_grad():
            return _Run(self, group, closure).run()

    def _flat_grad(self) -> naiad.Tensor:
        """All gradients in one vector (real and imaginary parts side by side), zeros where there is none."""
        parts = []
        for p in self._params:
            part = naiad.zeros_like(p) if p.grad is None else p.grad
            parts.append((naiad.view_as_real(part) if part.is_complex() else part).reshape(-1))
        return naiad.cat(parts, 0)

    def _move(self, t: float, direction: naiad.Tensor) -> None:
        """params += t · direction."""
        offset = 0
        for p in self._params:
            real = naiad.view_as_real(p) if p.is_complex() else p
            real.add_(direction[offset : offset + real.numel()].reshape(real.shape), alpha=t)
            offset += real.numel()


class _Run:
    """One `LBFGS.step`: what it carries from iteration to iteration."""

    def __init__(self, optimizer: LBFGS, group: dict[str, Any], closure: Callable[[], Any]) -> None:
        self._opt, self._group, self._closure = optimizer, group, closure
        self._state = optimizer.state[optimizer._params[0]]
        self._state.setdefault("func_evals", 0)
        self._state.setdefault("n_iter", 0)
        self._evals = 0

    def _evaluate(self) -> tuple[Any, naiad.Tensor]:
        with naiad.enable_grad():
            loss = self._closure()
        self._evals += 1
        self._state["func_evals"] += 1
        return loss, self._opt._flat_grad()

    def run(self) -> Any:
        group, state = self._group, self._state
        first_loss, grad = self._evaluate()
        loss = float(first_loss)
        if _largest(grad) <= group["tolerance_grad"]:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(grad)
            before, state["prev_loss"] = loss, loss
            state["prev_flat_grad"] = grad.clone()
            t = number(group["lr"])
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / grad.abs().sum().item()) * t
            slope = grad.dot(direction).item()
            state["d"], state["t"] = direction, t
            if slope > -group["tolerance_change"]:
                break
            last = iteration == group["max_iter"]
            loss, grad, t = self._advance(Point(0.0, loss, grad, slope), t, direction, last)
            state["t"] = t
            if last or self._evals >= group["max_eval"] or self._settled(grad, t, direction, loss - before):
                break
        return first_loss

    def _direction(self, grad: naiad.Tensor) -> naiad.Tensor:
        """Learn from the last step, then ask the two-loop recursion where to go."""
        state = self._state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return grad.neg()
        y, s = grad.sub(state["prev_flat_grad"]), state["d"].mul(number(state["t"]))
        ys = y.dot(s).item()
        if ys > 1e-10:  # else the curvature is not positive, and the pair would spoil the estimate
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / ys)):
                if len(state[name]) == self._group["history_size"]:
                    state[name].pop(0)
                state[name].append(value)
            state["H_diag"] = ys / y.dot(y).item()
        return two_loop(grad, state["old_dirs"], state["old_stps"], state["ro"], number(state["H_diag"]))

    def _advance(
        self, start: Point, t: float, direction: naiad.Tensor, last: bool
    ) -> tuple[float, naiad.Tensor, float]:
        """Take the step; returns the loss, the gradient there and the step length taken."""
        if self._group["line_search_fn"] is None:
            self._opt._move(t, direction)
            if last:  # nobody would look at the loss
                return start.value, start.grad, t
            loss, grad = self._evaluate()
            return float(loss), grad, t
        home = [p.clone() for p in self._opt._params]

        def at(t: float) -> tuple[float, naiad.Tensor, float]:
            self._opt._move(t, direction)
            loss, grad = self._evaluate()
            for p, value in zip(self._opt._params, home, strict=True):
                p.copy_(value)
            return float(loss), grad, grad.dot(direction).item()

        left = self._group["max_eval"] - self._evals
        found, _ = strong_wolfe(at, start, t, _largest(direction), max_iter=left)
        self._opt._move(found.t, direction)
        return found.value, found.grad, found.t

    def _settled(self, grad: naiad.Tensor, t: float, direction: naiad.Tensor, change: float) -> bool:
        tolerance = self._group["tolerance_change"]
        return (
            _largest(grad) <= self._group["tolerance_grad"]
            or _largest(direction.mul(t)) <= tolerance
            or abs(change) < tolerance
        )


def _largest(vector: naiad.Tensor) -> float:
    return vector.abs().max().item()
