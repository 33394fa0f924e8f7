"""Programs of scientific computing: equations as losses, differentiable integration, classical methods."""

from __future__ import annotations

import itertools
import math
from typing import Any

from .run import Run


def physics_informed(run: Run) -> list[float]:
    """A network that solves Burgers' equation: second derivatives in the loss, Adam and then LBFGS with line search."""
    torch = run.torch
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self, layers: Any) -> None:
            super().__init__()
            self.linears = nn.ModuleList([nn.Linear(i, o) for i, o in itertools.pairwise(layers)])
            self.activation = nn.Tanh()
            self.nu = nn.Parameter(torch.tensor([0.1]))

        def forward(self, x: Any, t: Any) -> Any:
            a = torch.cat([x, t], dim=1)
            for layer in self.linears[:-1]:
                a = self.activation(layer(a))
            return self.linears[-1](a)

    net = run.weights(Net([2, 6, 1]))
    x = (2 * run.uniform(5, 1) - 1).requires_grad_()
    t = run.uniform(5, 1).requires_grad_()
    x0 = torch.linspace(-1, 1, 5, device=run.device).view(-1, 1)
    u0 = -torch.sin(math.pi * x0)

    def gradient(y: Any, x: Any) -> Any:
        return torch.autograd.grad(y, x, grad_outputs=torch.ones_like(y), retain_graph=True, create_graph=True)[0]

    def residual() -> Any:
        u = net(x, t)
        u_x, u_t = gradient(u, x), gradient(u, t)
        return torch.mean((u_t + u * u_x - net.nu * gradient(u_x, x)) ** 2)

    losses = []

    def total() -> Any:
        return residual() + torch.mean((net(x0, torch.zeros_like(x0)) - u0) ** 2)

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        loss = total()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=2, history_size=5, line_search_fn="strong_wolfe")

    def closure() -> Any:
        lbfgs.zero_grad()
        loss = total()
        loss.backward()
        return loss

    lbfgs.step(closure)
    return [*losses, closure().item()]


def neural_ode(run: Run) -> list[float]:
    """A neural differential equation by Runge and Kutta's steps, its gradient by the adjoint equation as a Function."""
    torch = run.torch
    nn = torch.nn

    class Dynamics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))

        def forward(self, t: Any, y: Any) -> Any:
            return self.net(y**3) * torch.cos(t)

    def rk4(f: Any, y: Any, t: Any) -> Any:
        states = [y]
        for t0, t1 in itertools.pairwise(t):
            h = t1 - t0
            k1 = f(t0, y)
            k2 = f(t0 + h / 2, y + h * k1 / 2)
            k3 = f(t0 + h / 2, y + h * k2 / 2)
            k4 = f(t1, y + h * k3)
            y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
            states.append(y)
        return torch.stack(states)

    class Adjoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, y0: Any, t: Any, func: Any, *parameters: Any) -> Any:
            ctx.func = func
            with torch.no_grad():
                y = y0
                for t0, t1 in itertools.pairwise(t):
                    y = y + (t1 - t0) * func(t0, y)
            ctx.save_for_backward(t, y, *parameters)
            return y

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            t, y, *parameters = ctx.saved_tensors
            adjoint, totals = grad_output, [torch.zeros_like(p) for p in parameters]
            for t1, t0 in itertools.pairwise(t.flip(0)):
                with torch.enable_grad():
                    y = y.detach().requires_grad_(True)
                    f = ctx.func(t1, y)
                    grads = torch.autograd.grad(f, (y, *parameters), adjoint, allow_unused=True)
                h = t1 - t0
                y, adjoint = y.detach() - h * f.detach(), adjoint + h * grads[0]
                for total, grad in zip(totals, grads[1:], strict=True):
                    total.add_(h * grad)
            return (adjoint, None, None, *totals)

    func = run.weights(Dynamics())
    optimizer = torch.optim.RMSprop(func.parameters(), lr=1e-2)
    t = torch.linspace(0.0, 1.0, 3, device=run.device)
    losses = []
    for _ in range(2):
        y0, goal = run.normal(3, 2), run.normal(3, 2)
        loss = torch.mean(torch.abs(rk4(func, y0, t)[-1] - goal))
        loss = loss + torch.mean((Adjoint.apply(y0, t, func, *func.parameters()) - goal) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def classical(run: Run) -> list[float]:
    """k-means, principal axes by power iteration, logistic regression by hand, a fit by batches of polynomials."""
    torch = run.torch
    x = run.normal(12, 3)
    centroids = x[:3].clone()
    for _ in range(3):
        labels = torch.cdist(x, centroids).argmin(dim=1)
        sums = torch.zeros_like(centroids).scatter_add_(0, labels.unsqueeze(1).expand(-1, 3), x)
        counts = torch.bincount(labels, minlength=3).clamp(min=1).unsqueeze(1)
        centroids = sums / counts
    inertia = (x - centroids[labels]).pow(2).sum().item()
    centred = x - x.mean(0, keepdim=True)
    covariance = centred.T @ centred / (x.size(0) - 1)
    axis = torch.ones(3, device=run.device)
    for _ in range(20):
        axis = covariance @ axis
        axis /= axis.norm()
    w = torch.zeros(3, requires_grad=True, device=run.device)
    b = torch.zeros(1, requires_grad=True, device=run.device)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).float()
    for _ in range(3):
        p = 1 / (1 + torch.exp(-(x @ w + b)))
        loss = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean() + 0.01 * w.abs().sum()
        loss.backward()
        with torch.no_grad():
            w -= 0.5 * w.grad
            b -= 0.5 * b.grad
            w.grad.zero_()
            b.grad = None
    accuracy = ((x @ w + b > 0) == y.bool()).sum().item() / len(y)
    grid = torch.linspace(-math.pi, math.pi, 20, device=run.device)
    powers = grid.unsqueeze(-1).pow(torch.tensor([1, 2, 3], device=run.device))
    model = run.weights(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1)))
    for _ in range(3):
        fit = torch.nn.MSELoss(reduction="sum")(model(powers), torch.sin(grid))
        model.zero_grad()
        fit.backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 1e-6 * param.grad
    return [inertia, axis.abs().sum().item(), loss.item(), accuracy, fit.item()]
