"""The models whose training is compared with PyTorch's: each is built by the same code for both libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def classifier(m: Any) -> Any:
    """Embedding, transformer encoder, mean over the sequence, linear."""

    class Classifier(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = m.nn.Embedding(50, 32)
            layer = m.nn.TransformerEncoderLayer(d_model=32, nhead=4, dim_feedforward=64, dropout=0.0)
            self.encoder = m.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
            self.head = m.nn.Linear(32, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(self.embedding(x)).mean(dim=1))

    return Classifier()


def convolutional(m: Any) -> Any:
    """Convolutions with batch norm, pooling, dropout-free."""
    nn = m.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def recurrent(m: Any) -> Any:
    """A two-layer bidirectional LSTM over embedded tokens."""

    class Recurrent(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = m.nn.Embedding(50, 16)
            self.lstm = m.nn.LSTM(16, 24, num_layers=2, batch_first=True, bidirectional=True)
            self.head = m.nn.Linear(48, 5)

        def forward(self, x: Any) -> Any:
            out, _ = self.lstm(self.embedding(x))
            return self.head(out[:, -1])

    return Recurrent()


def gpt(m: Any) -> Any:
    """A small causal language model with tied weights."""
    nn, F = m.nn, m.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
            self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
            self.up, self.down = nn.Linear(32, 128), nn.Linear(128, 32)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).split(c, dim=2)
            q, k, v = (z.view(b, t, 4, c // 4).transpose(1, 2) for z in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, c))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(50, 32), nn.Embedding(12, 32)
            self.blocks = nn.ModuleList([Block() for _ in range(2)])
            self.norm = nn.LayerNorm(32)
            self.head = nn.Linear(32, 50, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, x: Any) -> Any:
            h = self.tokens(x) + self.positions(m.arange(x.shape[1], device=x.device))
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h))

    return GPT()


def batches(kind: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets for a model, the same for both libraries."""
    random = np.random.default_rng(11)
    for _ in range(count):
        if kind == "convolutional":
            yield random.standard_normal((8, 1, 8, 8)), random.integers(0, 5, 8)
        elif kind == "gpt":
            tokens = random.integers(0, 50, (4, 13))
            yield tokens[:, :-1], tokens[:, 1:]
        else:
            yield random.integers(0, 50, (6, 12)), random.integers(0, 5, 6)


MODELS: dict[str, Callable] = {
    "classifier": classifier,
    "convolutional": convolutional,
    "recurrent": recurrent,
    "gpt": gpt,
}


def losses(m: Any, model: Any, kind: str, dtype: Any, steps: int, lr: float) -> list[float]:
    """The loss of each of `steps` steps of AdamW with gradient clipping."""
    optimizer = m.optim.AdamW(model.parameters(), lr=lr)
    found = []
    for x, y in batches(kind, steps):
        inputs = m.from_numpy(x)
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        logits = model(inputs)
        target = m.from_numpy(y)
        loss = m.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        m.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found
