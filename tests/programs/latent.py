"""Programs with hidden codes: flows that can be inverted, vectors from a code book, a diffusion's sampler."""

from __future__ import annotations

import itertools
import math
from typing import Any

from .run import Run


def real_nvp(run: Run) -> list[float]:
    """RealNVP: coupling layers with masks in buffers, log-determinants, weight-normed layers, exact inversion."""
    torch = run.torch
    nn = torch.nn

    class Coupling(nn.Module):
        def __init__(self, mask: Any) -> None:
            super().__init__()
            self.register_buffer("mask", mask)
            self.net = nn.Sequential(
                nn.Linear(4, 8), nn.LeakyReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
            )
            self.scale = nn.Parameter(torch.zeros(4))

        def forward(self, x: Any) -> tuple[Any, Any]:
            s, t = self.net(x * self.mask).chunk(2, dim=-1)
            s = torch.tanh(s) * self.scale.exp() * (1 - self.mask)
            return x * torch.exp(s) + t * (1 - self.mask), s.sum(dim=-1)

        def inverse(self, y: Any) -> Any:
            s, t = self.net(y * self.mask).chunk(2, dim=-1)
            s = torch.tanh(s) * self.scale.exp() * (1 - self.mask)
            return (y - t * (1 - self.mask)) * torch.exp(-s)

    mask = torch.arange(4).remainder(2).float()
    flow = run.weights(nn.ModuleList([Coupling(mask), Coupling(1 - mask)]))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2, weight_decay=1e-5)
    losses = []
    for _ in range(2):
        x = run.normal(6, 4)
        z, log_det = x, x.new_zeros(x.shape[0])
        for layer in flow:
            z, contribution = layer(z)
            log_det += contribution
        log_prob = -0.5 * (z**2 + math.log(2 * math.pi)).sum(dim=1) + log_det
        loss = -log_prob.mean()
        optimizer.zero_grad()
        with torch.autograd.set_detect_anomaly(True):
            loss.backward()
        optimizer.step()
        losses += [loss.item(), log_det.mean().item()]
    with torch.no_grad():
        y = x
        for layer in flow:
            y, _ = layer(y)
        for layer in reversed(flow):
            y = layer.inverse(y)
    assert torch.allclose(x, y, atol=1e-5)
    return losses


def vq_vae(run: Run) -> list[float]:
    """VQ-VAE: nearest codes, gradients straight through, the code book by running averages in buffers."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class VectorQuantizerEMA(nn.Module):
        def __init__(self, codes: int = 6, dim: int = 4, decay: float = 0.9) -> None:
            super().__init__()
            self.codes, self.decay = codes, decay
            embedding = torch.from_numpy(run.random.standard_normal((codes, dim))).float()
            self.register_buffer("embedding", embedding)
            self.register_buffer("cluster_size", torch.zeros(codes))
            self.register_buffer("ema_w", embedding.clone())

        def forward(self, inputs: Any) -> tuple[Any, Any, Any]:
            inputs = inputs.permute(0, 2, 3, 1).contiguous()
            flat = inputs.view(-1, inputs.shape[-1])
            distances = (
                torch.sum(flat**2, dim=1, keepdim=True)
                + torch.sum(self.embedding**2, dim=1)
                - 2 * torch.matmul(flat, self.embedding.t())
            )
            indices = torch.argmin(distances, dim=1).unsqueeze(1)
            encodings = torch.zeros(indices.shape[0], self.codes, device=inputs.device)
            encodings.scatter_(1, indices, 1)
            quantized = torch.matmul(encodings, self.embedding).view(inputs.shape)
            if self.training:
                with torch.no_grad():
                    self.cluster_size.mul_(self.decay).add_(encodings.sum(0), alpha=1 - self.decay)
                    n = self.cluster_size.sum()
                    smoothed = (self.cluster_size + 1e-5) / (n + self.codes * 1e-5) * n
                    self.ema_w.data.copy_(self.ema_w * self.decay + (1 - self.decay) * (encodings.t() @ flat))
                    self.embedding.data = self.ema_w / smoothed.unsqueeze(1)
            loss = 0.25 * F.mse_loss(quantized.detach(), inputs)
            quantized = inputs + (quantized - inputs).detach()
            avg_probs = encodings.mean(dim=0)
            perplexity = torch.exp(-torch.sum(avg_probs * torch.log(avg_probs + 1e-10)))
            return loss, quantized.permute(0, 3, 1, 2).contiguous(), perplexity

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Conv2d(1, 4, 4, 2, 1)
            self.vq = VectorQuantizerEMA()
            self.decoder = nn.ConvTranspose2d(4, 1, 4, 2, 1)

        def forward(self, x: Any) -> tuple[Any, Any, Any]:
            loss, quantized, perplexity = self.vq(self.encoder(x))
            return loss, self.decoder(quantized), perplexity

    model = run.weights(Model())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=False)
    losses = []
    for _ in range(2):
        x = run.normal(2, 1, 6, 6)
        vq_loss, reconstruction, perplexity = model(x)
        loss = F.mse_loss(reconstruction, x) / 0.5 + vq_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), perplexity.item()]
    return losses


def ddim_sampling(run: Run) -> list[float]:
    """A diffusion's sampler: cosine schedule, steps backwards, guidance without a classifier, dynamic thresholds."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    steps = 10
    x = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    alphas_cumprod = torch.cos(((x / steps) + 0.008) / 1.008 * math.pi * 0.5) ** 2
    alphas_cumprod = alphas_cumprod / alphas_cumprod[0]
    betas = torch.clip(1 - (alphas_cumprod[1:] / alphas_cumprod[:-1]), 0, 0.999)
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0).to(torch.float32).to(run.device)
    model = run.weights(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Mish(), nn.Conv2d(4, 1, 3, padding=1))).eval()

    def extract(a: Any, t: Any, shape: Any) -> Any:
        return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(shape) - 1)))

    with torch.inference_mode():
        image, condition = run.normal(2, 1, 4, 4), run.normal(2, 1, 4, 4)
        times = torch.linspace(-1, steps - 1, steps=4)
        times = list(reversed(times.int().tolist()))
        for time, following in itertools.pairwise(times):
            t = torch.full((2,), time, device=run.device, dtype=torch.long)
            both = model(torch.cat([torch.cat([image, condition], 1), torch.cat([image, torch.zeros_like(image)], 1)]))
            conditional, unconditional = both.chunk(2)
            noise = unconditional + 2.0 * (conditional - unconditional)
            alpha = extract(alphas_cumprod, t, image.shape)
            start = (image - (1 - alpha).sqrt() * noise) / alpha.sqrt()
            s = torch.quantile(start.flatten(1).abs(), 0.9, dim=-1)
            s.clamp_(min=1.0)
            s = s.view(-1, *((1,) * (start.ndim - 1)))
            start = start.clamp(-s, s) / s
            if following < 0:
                image = start
                continue
            alpha_next = alphas_cumprod[following]
            sigma = 0.5 * ((1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha)).sqrt()
            c = (1 - alpha_next - sigma**2).sqrt()
            image = start * alpha_next.sqrt() + c * noise + sigma * run.normal(2, 1, 4, 4)
        grid = F.pad((image + 1) * 0.5, (1, 1, 1, 1), value=0.5).clamp(0, 1)
        picture = grid.mul(255).add_(0.5).clamp_(0, 255).permute(0, 2, 3, 1).to("cpu", torch.uint8)
    return [image.mean().item(), image.std().item(), float(picture.float().mean())]
