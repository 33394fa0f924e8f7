"""Programs that learn from images: segmentation, classification by patches, super-resolution, style transfer."""

from __future__ import annotations

import math
from typing import Any

from .run import Run


def unet(run: Run) -> list[float]:
    """U-Net segmentation: cross entropy and dice, RMSprop, gradient clipping, a schedule by plateaus."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class DoubleConv(nn.Module):
        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__()
            self.double_conv = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: Any) -> Any:
            return self.double_conv(x)

    class Up(nn.Module):
        def __init__(self, in_channels: int, out_channels: int, bilinear: bool) -> None:
            super().__init__()
            if bilinear:
                self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                self.conv = DoubleConv(in_channels + in_channels // 2, out_channels)
            else:
                self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
                self.conv = DoubleConv(in_channels, out_channels)

        def forward(self, x1: Any, x2: Any) -> Any:
            x1 = self.up(x1)
            dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
            x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            return self.conv(torch.cat([x2, x1], dim=1))

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inc = DoubleConv(3, 4)
            self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
            self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
            self.up1, self.up2 = Up(16, 8, bilinear=False), Up(8, 4, bilinear=True)
            self.outc = nn.Conv2d(4, 2, kernel_size=1)

        def forward(self, x: Any) -> Any:
            x1 = self.inc(x)
            x2 = self.down1(x1)
            return self.outc(self.up2(self.up1(self.down2(x2), x2), x1))

    def dice(input: Any, target: Any, epsilon: float = 1e-6) -> Any:
        inter = 2 * (input * target).sum(dim=(-1, -2))
        sets_sum = input.sum(dim=(-1, -2)) + target.sum(dim=(-1, -2))
        sets_sum = torch.where(sets_sum == 0, inter, sets_sum)
        return ((inter + epsilon) / (sets_sum + epsilon)).mean()

    model = run.weights(UNet()).to(memory_format=torch.channels_last)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-4, weight_decay=1e-8, momentum=0.9, foreach=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=1)
    losses = []
    for _ in range(2):
        images = run.normal(2, 3, 10, 10).to(memory_format=torch.channels_last)
        masks = run.integers(0, 2, 2, 10, 10)
        prediction = model(images)
        one_hot = F.one_hot(masks, 2).permute(0, 3, 1, 2).float()
        loss = F.cross_entropy(prediction, masks) + 1 - dice(F.softmax(prediction, dim=1).float(), one_hot)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step(loss)
        losses.append(loss.item())
    return losses


def vit(run: Run) -> list[float]:
    """Vision transformer with mixup, label smoothing, one cycle, groups of weight decay and averaged weights."""
    torch = run.torch
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 16, 4, 4)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
            self.pos_embed = nn.Parameter(torch.zeros(1, 5, 16))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
            layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, activation="gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(16), enable_nested_tensor=False)
            self.head = nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
            return self.head(self.encoder(x)[:, 0])

    model = run.weights(ViT())
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=6)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    averages = torch.optim.swa_utils
    ema = averages.AveragedModel(model, multi_avg_fn=averages.get_ema_multi_avg_fn(0.9))
    losses = []
    for _ in range(3):
        x, y, lam = run.normal(4, 3, 8, 8), run.integers(0, 5, 4), 0.3
        index = run.tensor(run.random.permutation(4))
        output = model(lam * x + (1 - lam) * x[index])
        loss = lam * criterion(output, y) + (1 - lam) * criterion(output, y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        ema.update_parameters(model)
        losses += [loss.item(), scheduler.get_last_lr()[0]]
    ema.eval()
    return [*losses, ema(x).abs().sum().item()]


def super_resolution(run: Run) -> list[float]:
    """Super-resolution by pixel shuffle, with squeeze and excitation, instance norm and grouped convolution."""
    torch = run.torch
    nn, F, init = torch.nn, torch.nn.functional, torch.nn.init

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, (5, 5), (1, 1), (2, 2))
            self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, groups=2, dilation=1)
            self.conv3 = nn.Conv2d(8, 4, 3, 1, 1)
            self.pixel_shuffle = nn.PixelShuffle(2)
            init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Hardsigmoid()
            )
            self.norm = nn.InstanceNorm2d(8, affine=True)
            self.prelu = nn.PReLU(8)

        def forward(self, x: Any) -> Any:
            x = self.prelu(self.conv1(x))
            x = x * self.squeeze(x)
            return self.pixel_shuffle(self.conv3(F.hardswish(self.norm(self.conv2(x)))))

    model = run.weights(Net())
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        x, y = run.normal(2, 1, 6, 6), run.normal(2, 1, 12, 12)
        output = model(x)
        loss = nn.L1Loss()(output, y) + nn.HuberLoss()(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), 10 * math.log10(1 / loss.item())]
    return losses


def style_transfer(run: Run) -> list[float]:
    """Style transfer: the picture itself is optimized, by LBFGS, towards the Gram matrix of another's features."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1)]
    network = run.weights(nn.Sequential(*layers)).eval().requires_grad_(False)
    content_image, style_image = run.uniform(1, 3, 8, 8), run.uniform(1, 3, 8, 8)
    picture = content_image.clone().requires_grad_(True)

    def gram_matrix(input: Any) -> Any:
        a, b, c, d = input.size()
        features = input.view(a * b, c * d)
        return torch.mm(features, features.t()).div(a * b * c * d)

    optimizer = torch.optim.LBFGS([picture], max_iter=5)
    style, content = gram_matrix(network(style_image)).detach(), network(content_image).detach()
    losses = []

    def closure() -> Any:
        with torch.no_grad():
            picture.clamp_(0, 1)
        optimizer.zero_grad()
        features = network(picture)
        loss = 1e3 * F.mse_loss(gram_matrix(features), style) + F.mse_loss(features, content)
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return losses
