"""One training step of three models, beside PyTorch in the same run: `python -m naiad.bench.training`.

The models are those of the example programs: the digits net at batch 64, the transformer classifier at batch 16, and
the character GPT at batch 16. A step is forward, backward, and the optimizer's step. On cuda (`--device cuda`) a GPT of
the size of GPT-2 follows, in float32 and in bfloat16 by autocast, and the optimizer's step by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from naiad.bench.overhead import at_threads, rival
from naiad.bench.timing import interleaved, machine


def digits_step(m: Any, device: str = "cpu") -> Callable[[], Any]:
    """Three convolutions with batch norm on 8x8 images."""
    nn = m.nn
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10)),
    )
    x, y = _floats(m, 64, 1, 8, 8), _integers(m, 10, 64)
    return _step(m, model, x, y, device)


def classifier_step(m: Any, device: str = "cpu") -> Callable[[], Any]:
    """Embedding(10000, 256), two transformer encoder layers, linear: sequences of 32."""

    class Classifier(m.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = m.nn.Embedding(10000, 256)
            self.encoder = m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(d_model=256, nhead=4), num_layers=2)
            self.head = m.nn.Linear(256, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(self.embedding(x)).mean(dim=1))

    return _step(m, Classifier(), _integers(m, 10000, 16, 32), _integers(m, 5, 16), device)


def gpt_step(
    m: Any,
    device: str = "cpu",
    width: int = 128,
    blocks: int = 4,
    heads: int = 4,
    context: int = 64,
    batch: int = 16,
    tokens: int = 96,
    half: bool = False,
) -> Callable[[], Any]:
    """A GPT, by default four blocks of width 128 over 64 characters; half: in bfloat16, by autocast."""
    nn: Any = m.nn
    F = nn.functional

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
            self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(blocks)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.blocks(self.tokens(x) + self.positions(m.arange(x.shape[1], device=device)))
            return self.head(self.norm(h)).flatten(0, 1)

    x, y = _integers(m, tokens, batch, context), _integers(m, tokens, batch * context)
    return _step(m, GPT(), x, y, device, half)


def optimizer_step(m: Any, device: str = "cpu", width: int = 768, blocks: int = 12) -> Callable[[], Any]:
    """AdamW's step by itself, over the matrices and biases of so many blocks."""
    shapes = [
        (3 * width, width),
        (width, width),
        (4 * width, width),
        (width, 4 * width),
        (width,),
        (4 * width,),
    ] * blocks
    parameters = [m.nn.Parameter(_floats(m, *shape).to(device)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = m.ones_like(parameter)
    return m.optim.AdamW(parameters, lr=1e-4).step


def _floats(m: Any, *shape: int) -> Any:
    return m.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _integers(m: Any, high: int, *shape: int) -> Any:
    return m.from_numpy(np.random.default_rng(1).integers(0, high, shape))


def _step(m: Any, model: Any, x: Any, y: Any, device: str, half: bool = False) -> Callable[[], Any]:
    model, x, y = model.to(device), x.to(device), y.to(device)
    optimizer = m.optim.AdamW(model.parameters(), lr=1e-4)
    criterion = m.nn.CrossEntropyLoss()
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        with m.autocast(device, m.bfloat16) if half else contextlib.nullcontext():
            loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()

    return step


STEPS: dict[str, Callable[..., Callable[[], Any]]] = {
    "digits net, batch 64": digits_step,
    "classifier, batch 16 x 32": classifier_step,
    "GPT, batch 16 x 64": gpt_step,
}
GPT2: dict[str, Any] = dict(width=768, blocks=12, heads=12, context=1024, batch=8, tokens=50304)
ON_GPU: dict[str, Callable[..., Callable[[], Any]]] = {
    "GPT-2 124M, batch 8 x 1024, float32": partial(gpt_step, **GPT2),
    "GPT-2 124M, batch 8 x 1024, bfloat16": partial(gpt_step, half=True, **GPT2),
    "AdamW alone, 85M parameters": optimizer_step,
}


def measure(
    steps: dict[str, Callable[..., Callable[[], Any]]], device: str, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Seconds per step of each model and library, one figure per round: ``{model: {library: [...]}}``."""
    naiad, torch = importlib.import_module("naiad"), rival()
    if torch is not None and device == "cuda" and not torch.cuda.is_available():
        torch = None
    columns: dict[str, Callable[[Callable], Callable[[], Any]]] = {"naiad": lambda make: make(naiad, device)}
    if torch is not None and device == "cuda":
        columns["torch"] = lambda make: make(torch, device)
    elif torch is not None:
        for n in (1, 2):
            columns[f"torch {n}"] = lambda make, n=n: at_threads(torch, n, make(torch, device))  # type: ignore[misc]

    def wait() -> None:
        if device == "cuda":
            naiad.cuda.synchronize()
            if torch is not None:
                torch.cuda.synchronize()

    found: dict[str, dict[str, list[float]]] = {}
    # The CPU's models together, by library: PyTorch's threads are switched twice a round. A GPU's one by one: memory.
    for group in [steps] if device == "cpu" else [{name: make} for name, make in steps.items()]:
        timed = {(name, column): of(make) for column, of in columns.items() for name, make in group.items()}
        times = interleaved(timed, rounds, seconds, wait)
        found |= {name: {column: times[name, column] for column in columns} for name in group}
    return found


def table(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """Milliseconds, minimum / median per library, and the ratio of medians to PyTorch's better one."""
    columns = list(next(iter(found.values())))
    lines = [f"{'':42} {' '.join(f'{c:>19}' for c in columns)} {'ratio':>6}"]
    for name, times in found.items():
        cells = [f"{min(t) * 1e3:8.2f} / {statistics.median(t) * 1e3:8.2f}" for t in times.values()]
        others = [statistics.median(t) for c, t in times.items() if c != "naiad"]
        ratio = f"{statistics.median(times['naiad']) / min(others):6.2f}" if others else "     -"
        lines.append(f"{name:42} {' '.join(cells)} {ratio}")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the table shows their minimum and median")
    parser.add_argument("--seconds", type=float, default=0.3, help="time per case and round")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only models whose name has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds of every round")
    options = parser.parse_args(arguments)
    steps = STEPS | (ON_GPU if options.device == "cuda" else {})
    steps = {name: make for name, make in steps.items() if options.filter in name}
    if not steps:
        parser.error(f"no model has {options.filter!r} in its name")
    torch = rival()
    found = measure(steps, options.device, options.rounds, options.seconds)
    print(machine() + (f", torch {torch.__version__}" if torch is not None else ""))
    print(f"milliseconds, minimum / median of {options.rounds} interleaved rounds\n")
    print(*table(found), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
