"""One training step of three models, beside PyTorch in the same run: `python -m naiad.bench.training`.

The models are those of the example programs: the digits net at batch 64, the transformer classifier at batch 16, and
the character GPT at batch 16. A step is forward, backward, and the optimizer's step.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from naiad.bench.overhead import at_threads, rival, row
from naiad.bench.timing import interleaved, machine


def digits_step(m: Any) -> Callable[[], Any]:
    """Three convolutions with batch norm on 8x8 images."""
    nn = m.nn
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10)),
    )
    x, y = _floats(m, 64, 1, 8, 8), _integers(m, 10, 64)
    return _step(m, model, x, y)


def classifier_step(m: Any) -> Callable[[], Any]:
    """Embedding(10000, 256), two transformer encoder layers, linear: sequences of 32."""

    class Classifier(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = m.nn.Embedding(10000, 256)
            self.encoder = m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(d_model=256, nhead=4), num_layers=2)
            self.head = m.nn.Linear(256, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(self.embedding(x)).mean(dim=1))

    return _step(m, Classifier(), _integers(m, 10000, 16, 32), _integers(m, 5, 16))


def gpt_step(m: Any) -> Callable[[], Any]:
    """Four blocks of width 128 over 64 characters."""
    nn: Any = m.nn
    F, width, heads, context = nn.functional, 128, 4, 64

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = (z.view(b, t, heads, c // heads).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(c, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
            x = x + self.proj(y)
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(96, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(4)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 96, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.blocks(self.tokens(x) + self.positions(m.arange(x.shape[1])))
            return self.head(self.norm(h)).flatten(0, 1)

    return _step(m, GPT(), _integers(m, 96, 16, context), _integers(m, 96, 16 * context))


def _floats(m: Any, *shape: int) -> Any:
    return m.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _integers(m: Any, high: int, *shape: int) -> Any:
    return m.from_numpy(np.random.default_rng(1).integers(0, high, shape))


def _step(m: Any, model: Any, x: Any, y: Any) -> Callable[[], Any]:
    optimizer = m.optim.AdamW(model.parameters(), lr=1e-4)
    criterion = m.nn.CrossEntropyLoss()
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


STEPS = {
    "digits net, batch 64": digits_step,
    "classifier, batch 16 x 32": classifier_step,
    "GPT, batch 16 x 64": gpt_step,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the table shows their minimum and median")
    parser.add_argument("--seconds", type=float, default=0.3, help="time per case and round")
    options = parser.parse_args()
    naiad, torch = importlib.import_module("naiad"), rival()
    timed: dict[Any, Callable[[], Any]] = {(name, "naiad"): make(naiad) for name, make in STEPS.items()}
    for threads in (1, 2) if torch is not None else ():
        for name, make in STEPS.items():
            timed[name, f"torch {threads}"] = at_threads(torch, threads, make(torch))
    times = interleaved(timed, options.rounds, options.seconds)
    print(machine() + (f", torch {torch.__version__}" if torch is not None else ""))
    print(f"milliseconds, minimum / median of {options.rounds} interleaved rounds\n")
    print(f"{'':42} {'naiad':>15} {'torch 1 thread':>15} {'torch 2 threads':>15} {'ratio':>6}")
    for name in STEPS:
        print(row(name, times, scale=1e3))


if __name__ == "__main__":
    main()
