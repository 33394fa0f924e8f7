"""Programs that learn to draw samples: DCGAN, Wasserstein GAN, variational autoencoder, diffusion."""

from __future__ import annotations

import math
from typing import Any

from .run import Run


def dcgan(run: Run) -> list[float]:
    """DCGAN: transposed convolutions against strided ones, binary cross entropy, an Adam for each."""
    torch = run.torch
    nn = torch.nn

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.ConvTranspose2d(10, 8, 4, 1, 0, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(True),
                nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
                nn.Tanh(),
            )

        def forward(self, input: Any) -> Any:
            return self.main(input)

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(3, 8, 4, 2, 1, bias=False),
                nn.BatchNorm2d(8),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(8, 1, 4, 1, 0, bias=False),
                nn.Sigmoid(),
            )

        def forward(self, input: Any) -> Any:
            return self.main(input).view(-1, 1).squeeze(1)

    generator, discriminator = run.weights(Generator()), run.weights(Discriminator())
    criterion = nn.BCELoss()
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    losses = []
    for _ in range(3):
        real, noise = run.normal(4, 3, 8, 8), run.normal(4, 10, 1, 1)
        discriminator.zero_grad()
        label = torch.full((4,), 1.0, dtype=real.dtype, device=run.device)
        error_real = criterion(discriminator(real), label)
        error_real.backward()
        fake = generator(noise)
        label.fill_(0.0)
        error_fake = criterion(discriminator(fake.detach()), label)
        error_fake.backward()
        optimizer_d.step()
        generator.zero_grad()
        label.fill_(1.0)
        error = criterion(discriminator(fake), label)
        error.backward()
        optimizer_g.step()
        losses += [error_real.item(), error_fake.item(), error.item()]
    return losses


def wgan_gp(run: Run) -> list[float]:
    """The critic of a Wasserstein GAN with gradient penalty: a derivative of a derivative."""
    torch = run.torch
    nn = torch.nn
    layers = [nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    critic = run.weights(nn.Sequential(*layers))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    losses = []
    for _ in range(4):
        real, fake, alpha = run.normal(6, 8), run.normal(6, 8), run.uniform(6, 1)
        interpolates = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        ones = torch.autograd.Variable(torch.Tensor(6, 1).fill_(1.0), requires_grad=False).to(run.device)
        gradients = torch.autograd.grad(
            outputs=critic(interpolates),
            inputs=interpolates,
            grad_outputs=ones,
            create_graph=True,
            retain_graph=True,
            only_inputs=True,
        )[0]
        gradients = gradients.view(gradients.size(0), -1)
        penalty = ((gradients.norm(2, dim=1) - 1) ** 2).mean()
        loss = -critic(real).mean() + critic(fake).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def vae(run: Run) -> list[float]:
    """Variational autoencoder: reparametrization, summed binary cross entropy, divergence."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc21, self.fc22 = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
            self.fc3, self.fc4 = nn.Linear(4, 32), nn.Linear(32, 64)

        def encode(self, x: Any) -> Any:
            h1 = F.relu(self.fc1(x))
            return self.fc21(h1), self.fc22(h1)

        def decode(self, z: Any) -> Any:
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

        def forward(self, x: Any) -> Any:
            mu, logvar = self.encode(x.view(-1, 64))
            std = torch.exp(0.5 * logvar)
            return self.decode(mu + run.normal(8, 4) * std), mu, logvar

    model = run.weights(VAE())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        x = run.uniform(8, 1, 8, 8)
        optimizer.zero_grad()
        reconstruction, mu, logvar = model(x)
        bce = F.binary_cross_entropy(reconstruction, x.view(-1, 64), reduction="sum")
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = bce + kld
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def ddpm(run: Run) -> list[float]:
    """Denoising diffusion: embedded time, group norm, attention over the pixels, resampling."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def timestep_embedding(timesteps: Any, dim: int) -> Any:
        half = dim // 2
        freqs = torch.exp(-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / half).to(timesteps.device)
        args = timesteps[:, None].float() * freqs[None]
        return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time_embed = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
            self.conv_in, self.conv_out = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
            self.norm, self.qkv = nn.GroupNorm(4, 8), nn.Conv1d(8, 24, 1)

        def forward(self, x: Any, t: Any) -> Any:
            h = self.norm(self.conv_in(x)) + self.time_embed(timestep_embedding(t, 8))[:, :, None, None]
            h = F.silu(h)
            b, c, height, width = h.shape
            q, k, v = self.qkv(h.reshape(b, c, -1)).chunk(3, dim=1)
            scale = 1 / math.sqrt(math.sqrt(c))
            weight = torch.einsum("bct,bcs->bts", q * scale, k * scale)
            weight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)
            h = h + torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, height, width)
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            return self.conv_out(F.interpolate(h, size=(height, width), mode="bilinear", align_corners=False))

    model = run.weights(Denoiser())
    betas = torch.linspace(1e-4, 0.02, 50)
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0).to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        x, noise, t = run.normal(2, 1, 6, 6), run.normal(2, 1, 6, 6), run.integers(0, 50, 2)
        a = alphas_cumprod[t].view(-1, 1, 1, 1)
        loss = F.mse_loss(model(a.sqrt() * x + (1 - a).sqrt() * noise, t), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
