"""Programs that classify images: residual and mobile networks, groups of learning rates, mixed precision."""

from __future__ import annotations

from typing import Any

from .run import Run


def resnet(run: Run) -> list[float]:
    """ResNet: residual blocks, frozen stem, learning rates by group, warm-up, evaluation with running statistics."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class BasicBlock(nn.Module):
        expansion = 1

        def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inplanes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.downsample = None
            if stride != 1 or inplanes != planes * self.expansion:
                shortcut = nn.Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes))

        def forward(self, x: Any) -> Any:
            identity = x
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu(out)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
            self.layer1, self.layer2 = BasicBlock(4, 4), BasicBlock(4, 8, stride=2)
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8, 5)
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                    nn.init.constant_(m.weight, 1)
                    nn.init.constant_(m.bias, 0)

        def forward(self, x: Any) -> Any:
            x = self.layer2(self.layer1(self.maxpool(self.stem(x))))
            return self.fc(torch.flatten(self.avgpool(x), 1))

    model = run.weights(ResNet())
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith("stem")
    body = [p for n, p in model.named_parameters() if p.requires_grad and "fc" not in n]
    optimizer = torch.optim.SGD([{"params": body}, {"params": model.fc.parameters(), "lr": 0.1}], 0.01, 0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))
    losses = []
    for _ in range(2):
        model.train()
        images, target = run.normal(3, 3, 8, 8), run.integers(0, 5, 3)
        loss = F.cross_entropy(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses += [loss.item(), *(group["lr"] for group in optimizer.param_groups)]
    model.eval()
    with torch.no_grad():
        output = model(images)
        _, predicted = output.topk(2, 1, True, True)
        correct = predicted.t().eq(target.view(1, -1).expand_as(predicted.t()))
        top2 = correct[:2].reshape(-1).float().sum(0, keepdim=True).mul_(100.0 / target.size(0))
    return [*losses, top2.item(), output.std().item()]


def mobile_net(run: Run) -> list[float]:
    """MobileNetV3: inverted residuals with depthwise convolution, squeeze and excitation, hard activations."""
    torch = run.torch
    nn = torch.nn

    def make_divisible(v: float, divisor: int = 8) -> int:
        new = max(divisor, int(v + divisor / 2) // divisor * divisor)
        return new + divisor if new < 0.9 * v else new

    class SqueezeExcite(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            squeezed = make_divisible(channels // 4)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
            self.activation, self.scale = nn.ReLU(), nn.Hardsigmoid(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.scale(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x

    class InvertedResidual(nn.Module):
        def __init__(self, channels: int, expanded: int, kernel: int) -> None:
            super().__init__()
            self.block = nn.Sequential(
                nn.Conv2d(channels, expanded, 1, bias=False),
                nn.BatchNorm2d(expanded, eps=0.001, momentum=0.01),
                nn.Hardswish(inplace=True),
                nn.Conv2d(expanded, expanded, kernel, padding=(kernel - 1) // 2, groups=expanded, bias=False),
                nn.BatchNorm2d(expanded, eps=0.001, momentum=0.01),
                nn.ReLU6(),
                SqueezeExcite(expanded),
                nn.Conv2d(expanded, channels, 1, bias=False),
                nn.BatchNorm2d(channels, eps=0.001, momentum=0.01),
            )

        def forward(self, x: Any) -> Any:
            return x + self.block(x)

    layers = [nn.Conv2d(3, 4, 3, 2, 1), InvertedResidual(4, 8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = run.weights(nn.Sequential(*layers, nn.Linear(4, 6), nn.Hardswish(), nn.Dropout(0.0), nn.Linear(6, 3)))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, alpha=0.9, eps=0.0316, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.973)
    losses = []
    for _ in range(3):
        loss = nn.CrossEntropyLoss()(model(run.normal(2, 3, 8, 8)), run.integers(0, 3, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses += [loss.item(), scheduler.get_last_lr()[0]]
    return losses


def accumulate_in_mixed_precision(run: Run) -> list[float]:
    """Mixed precision: autocast in bfloat16, scaled and accumulated gradients, clipping after unscaling."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    model = run.weights(nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler(run.device, init_scale=256.0, growth_interval=2)
    losses, accumulate = [], 2
    for step in range(4):
        with torch.autocast(device_type=run.device, dtype=torch.bfloat16):
            output = model(run.normal(4, 8))
            assert output.dtype is torch.bfloat16
            loss = F.cross_entropy(output.float(), run.integers(0, 3, 4)) / accumulate
        scaler.scale(loss).backward()
        if (step + 1) % accumulate == 0:
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            losses += [scaler.get_scale(), round(norm.item(), 1)]
        losses.append(round(loss.item(), 1))  # bfloat16 has three digits
    return losses


def grad_cam(run: Run) -> list[float]:
    """Grad-CAM: hooks keep a layer's activations and their gradients, which weigh the picture's regions."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
    model = run.weights(nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))).eval()
    activations, gradients = [], []
    target_layer = dict(model.named_modules())["0.2"]
    handles = [
        target_layer.register_forward_hook(lambda module, args, output: activations.append(output)),
        target_layer.register_full_backward_hook(lambda module, grads, outputs: gradients.append(outputs[0])),
    ]
    logits = model(run.normal(2, 3, 6, 6))
    one_hot = torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1.0)
    model.zero_grad()
    logits.backward(gradient=one_hot, retain_graph=True)
    weights = gradients[0].mean(dim=(2, 3), keepdim=True)
    cam = F.relu((weights * activations[0].detach()).sum(dim=1, keepdim=True))
    cam = cam - cam.amin(dim=(2, 3), keepdim=True)
    cam = cam / (cam.amax(dim=(2, 3), keepdim=True) + 1e-7)
    for handle in handles:
        handle.remove()
    model(run.normal(2, 3, 6, 6))
    assert len(activations) == 1
    heat = _as_bytes(cam.squeeze(1).cpu().numpy())
    return [cam.mean().item(), cam[0, 0].std().item(), float(heat.max())]


def _as_bytes(array: Any) -> Any:
    """The map as the bytes of a picture."""
    return (255 * array).astype("uint8")
