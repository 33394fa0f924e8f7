"""Programs about how one trains: learning to learn, functions and hooks of one's own, stopping and going on."""

from __future__ import annotations

import io
from typing import Any

from .run import Run


def maml(run: Run) -> list[float]:
    """Model-agnostic meta-learning: steps of gradient descent are themselves differentiated."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    model = run.weights(nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True)

    def functional(x: Any, params: Any) -> Any:
        return F.linear(torch.tanh(F.linear(x, params[0], params[1])), params[2], params[3])

    losses = []
    for _ in range(2):
        total = 0
        for _ in range(2):
            x = run.normal(5, 1)
            params = list(model.parameters())
            for _ in range(2):
                inner = F.mse_loss(functional(x, params), torch.sin(x))
                grads = torch.autograd.grad(inner, params, create_graph=True)
                params = [p - 0.1 * g for p, g in zip(params, grads, strict=True)]
            query = run.normal(5, 1)
            total = total + F.mse_loss(functional(query, params), torch.sin(query))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total))
    return losses


def functions_and_hooks(run: Run) -> list[float]:
    """A differentiable function of one's own, hooks on modules and gradients, containers, a running buffer."""
    torch = run.torch
    nn = torch.nn

    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, input: Any, low: float, high: float) -> Any:
            ctx.save_for_backward(input)
            ctx.low, ctx.high = low, high
            return input.clamp(low, high)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            (input,) = ctx.saved_tensors
            inside = (input >= ctx.low) & (input <= ctx.high)
            return grad_output * inside.to(grad_output.dtype) * 0.5, None, None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([nn.Parameter(torch.randn(4, 4)) for _ in range(2)])
            self.scales = nn.ParameterDict({"a": nn.Parameter(torch.ones(4))})
            self.acts = nn.ModuleDict([["lrelu", nn.LeakyReLU()], ["prelu", nn.PReLU()]])
            self.register_buffer("running", torch.zeros(4))

        def forward(self, x: Any) -> Any:
            for i, w in enumerate(self.weights):
                x = self.acts["lrelu" if i else "prelu"](x @ w)
            self.running.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
            return Clip.apply(x * self.scales["a"], -1.0, 1.0)

    model = run.weights(Net())
    activations, norms = {}, []

    def keep(module: Any, input: Any, output: Any) -> None:
        activations["prelu"] = output.detach()

    def halve(grad: Any) -> Any:
        norms.append(grad.norm().item())
        return grad * 0.5

    handle = model.acts["prelu"].register_forward_hook(keep)
    model.weights[0].register_hook(halve)
    groups = [{"params": model.weights.parameters(), "lr": 0.1}, {"params": model.scales.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.01, weight_decay=1e-3)
    losses = []
    for _ in range(3):
        loss = model(run.normal(3, 4)).pow(2).sum().sqrt()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), activations["prelu"].sum().item(), norms[-1], model.running.sum().item()]
    handle.remove()
    return losses


def checkpoint_and_resume(run: Run) -> list[float]:
    """Training that is saved in the middle and goes on in new objects: model, optimizer, scheduler."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def build() -> tuple[Any, Any, Any]:
        model = nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Dropout(0.0), nn.Linear(8, 2)).to(run.device)
        optimizer = torch.optim.Adam(model.parameters())
        return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    model, optimizer, scheduler = build()
    run.weights(model)
    target = torch.tensor([0, 1, 1], device=run.device)
    class_weight = torch.tensor([1.0, 2.0], device=run.device)
    losses = []
    for epoch in range(4):
        loss = F.cross_entropy(model(run.normal(3, 4)), target, weight=class_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if epoch == 1:
            buffer = io.BytesIO()
            torch.save(
                {
                    "epoch": epoch,
                    "model_state_dict": model.state_dict(),
                    "optimizer_state_dict": optimizer.state_dict(),
                    "scheduler_state_dict": scheduler.state_dict(),
                },
                buffer,
            )
            buffer.seek(0)
            checkpoint = torch.load(buffer, map_location=run.device, weights_only=True)
            model, optimizer, scheduler = build()
            model.load_state_dict(checkpoint["model_state_dict"])
            optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
            scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
    return losses
