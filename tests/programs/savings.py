"""Programs that train with less: low-rank adapters, distillation, pruning, recomputed blocks, averaged weights."""

from __future__ import annotations

import copy
from typing import Any

from .run import Run


def lora(run: Run) -> list[float]:
    """LoRA: linear layers found by name and replaced, all but the adapters frozen, merged and saved in the end."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class LoRALinear(nn.Module):
        def __init__(self, base: Any, rank: int = 2, alpha: float = 4.0) -> None:
            super().__init__()
            self.base, self.scaling = base, alpha / rank
            self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
            self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
            nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

        def forward(self, x: Any) -> Any:
            return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling

        @torch.no_grad()
        def merge(self) -> Any:
            self.base.weight += self.lora_B @ self.lora_A * self.scaling
            return self.base

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.ModuleDict({"q_proj": nn.Linear(4, 4), "v_proj": nn.Linear(4, 4)})
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.head(F.gelu(self.encoder["q_proj"](x)) * self.encoder["v_proj"](x).sigmoid())

    model = Model()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.endswith("_proj"):
            parent = model.get_submodule(name.rpartition(".")[0])
            parent[name.rpartition(".")[2]] = LoRALinear(module)
    run.weights(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    losses: list[float] = [trainable]
    for _ in range(3):
        loss = F.cross_entropy(model(run.normal(5, 4)), run.integers(0, 3, 5))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    adapters = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    missing, unexpected = model.load_state_dict(adapters, strict=False)
    assert len(adapters) == 4 and len(missing) == 6 and not unexpected
    x = run.normal(2, 4)
    before = model(x)
    for name in ("q_proj", "v_proj"):
        model.encoder[name] = model.encoder[name].merge()
    assert torch.allclose(before, model(x), atol=1e-5)
    return [*losses, before.sum().item()]


def distillation(run: Run) -> list[float]:
    """Distillation: a frozen teacher's softened outputs and inner features, mixed by a temperature."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    teacher = run.weights(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)))
    student = run.weights(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4)))
    regressor = run.weights(nn.Linear(4, 16, bias=False))
    teacher.eval()
    parameters = [*student.parameters(), *regressor.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)
    milestones = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], gamma=0.1)
    features: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, args, output: features.update({name: output})

    teacher[1].register_forward_hook(keep("teacher"))
    student[1].register_forward_hook(keep("student"))
    losses, T = [], 4.0
    for _ in range(3):
        x, labels = run.normal(5, 6), run.integers(0, 4, 5)
        with torch.no_grad():
            teacher_logits = teacher(x)
        logits = student(x)
        soft = nn.KLDivLoss(reduction="batchmean")(
            F.log_softmax(logits / T, dim=1), F.softmax(teacher_logits / T, dim=1)
        )
        hint = F.mse_loss(regressor(features["student"]), features["teacher"])
        loss = 0.9 * T * T * soft + 0.1 * F.cross_entropy(logits, labels) + 0.01 * hint
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        milestones.step()
        losses += [loss.item(), optimizer.param_groups[0]["lr"]]
    return losses


def pruning_by_masks(run: Run) -> list[float]:
    """Lottery tickets: the smallest weights cut by a quantile, masks on gradients and weights, rewound to the start."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    model = run.weights(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    initial = copy.deepcopy(model.state_dict())
    masks = {n: torch.ones_like(p) for n, p in model.named_parameters() if "weight" in n}
    losses = []
    for _ in range(2):
        optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
        for _ in range(2):
            loss = F.multi_margin_loss(model(run.normal(5, 6)), run.integers(0, 3, 5))
            optimizer.zero_grad()
            loss.backward()
            for name, parameter in model.named_parameters():
                if name in masks:
                    parameter.grad.mul_(masks[name])
            optimizer.step()
            losses.append(loss.item())
        alive = torch.cat([p.data[masks[n].bool()].abs().flatten() for n, p in model.named_parameters() if n in masks])
        threshold = torch.kthvalue(alive, int(0.3 * alive.numel()))[0]
        for name, parameter in model.named_parameters():
            if name in masks:
                masks[name][parameter.data.abs() <= threshold] = 0.0
                parameter.data = initial[name] * masks[name]
            else:
                parameter.data = initial[name].clone()
        losses.append(sum((m == 0).sum().item() for m in masks.values()))
    return losses


def recomputed_blocks(run: Run) -> list[float]:
    """Gradient checkpointing of residual blocks, weights averaged over the last steps, their batch norms renewed."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    from importlib import import_module

    checkpoint = import_module(torch.__name__ + ".utils.checkpoint").checkpoint
    swa = import_module(torch.__name__ + ".optim.swa_utils")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.CELU()) for _ in range(2))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = x + (checkpoint(block, x, use_reentrant=False) if self.training else block(x))
            return self.head(x)

    model = run.weights(Net())
    averaged = swa.AveragedModel(model)
    optimizer = torch.optim.ASGD(model.parameters(), lr=0.05)
    scheduler = swa.SWALR(optimizer, swa_lr=0.02, anneal_epochs=2, anneal_strategy="linear")
    batches = [(run.normal(6, 6), run.integers(0, 2, 6)) for _ in range(3)]
    losses = []
    for i, (x, y) in enumerate(batches):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i > 0:
            averaged.update_parameters(model)
            scheduler.step()
        losses += [loss.item(), optimizer.param_groups[0]["lr"]]
    swa.update_bn(batches, averaged)
    averaged.eval()
    with torch.no_grad():
        return [*losses, averaged(batches[0][0]).sum().item(), averaged.module.blocks[0][1].running_var.sum().item()]


def constrained_weights(run: Run) -> list[float]:
    """Parametrized tensors: a symmetric weight by one's own module, rounded weights with gradients straight through."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    parametrize = nn.utils.parametrize

    class Symmetric(nn.Module):
        def forward(self, X: Any) -> Any:
            return X.triu() + X.triu(1).transpose(-1, -2)

        def right_inverse(self, A: Any) -> Any:
            return A.triu()

    class Quantize(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, w: Any) -> Any:
            scale = w.abs().max() / 7
            ctx.mark_non_differentiable(scale)
            return torch.round(w / scale).clamp(-8, 7) * scale

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.clone()

    class QuantizedLinear(nn.Linear):
        def forward(self, input: Any) -> Any:
            return F.linear(input, Quantize.apply(self.weight), self.bias)

    model = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), QuantizedLinear(4, 4), nn.LogSigmoid(), nn.Linear(4, 1))
    run.weights(model)
    parametrize.register_parametrization(model[0], "weight", Symmetric().to(run.device))
    assert parametrize.is_parametrized(model[0]) and torch.equal(model[0].weight, model[0].weight.T)
    optimizer = torch.optim.Rprop(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = F.poisson_nll_loss(model(run.normal(5, 4)).squeeze(1), run.uniform(5) * 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with parametrize.cached():
        total = model[0].weight.sum().item()
    parametrize.remove_parametrizations(model[0], "weight")
    assert sorted(model[0].state_dict()) == ["bias", "weight"]
    return [*losses, total]
