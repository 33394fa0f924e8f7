"""Train a small GPT on the characters of a text, and sample from it before and after.

Any UTF-8 text file will do (--text FILE); without one it is 36 sonnets (data/DATA.md). The first nine tenths train,
the rest validates. What counts is bits per character: how well the next character is foreseen, less is better.

In the folder of the results: model.pt (weights, alphabet, sizes), metrics.csv, and checkpoint.pt, which --resume reads.
"""

import argparse
import math
import time
import zlib
from pathlib import Path
from typing import Any

from common import (
    add_common_options,
    at_least,
    load_checkpoint,
    make_folder,
    need,
    pick_device,
    progress_bar,
    save_checkpoint,
    stop,
    write_metrics,
)

import naiad as torch
import naiad.nn as nn
import naiad.nn.functional as F

DEFAULT_TEXT = Path(__file__).parent / "data" / "sonnets.txt"


class CausalSelfAttention(nn.Module):
    """Each position looks at itself and those before it, in several heads at once. (N, T, width) to the same."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        split = self.into(x).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = split[0], split[1], split[2]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """Attention, then a two-layer network, each on a normalized copy and added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """Characters as numbers, (N, T), to the scores of the next character at every position, (N, T, characters)."""

    def __init__(self, characters: int, context: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.context = context
        self.characters = nn.Embedding(characters, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        self.head.weight = self.characters.weight  # what a character means going in, it means coming out
        self.apply(self._begin)
        for block in self.blocks:  # 2 * layers branches are added up: begin with small ones
            nn.init.normal_(block.attention.out.weight, std=0.02 / math.sqrt(2 * layers))
            nn.init.normal_(block.mlp[2].weight, std=0.02 / math.sqrt(2 * layers))

    @staticmethod
    def _begin(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(indices.shape[1], device=indices.device)
        x = self.dropout(self.characters(indices) + self.positions(positions))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def sample(model: GPT, alphabet: str, prompt: str, length: int, device: torch.device) -> str:
    """The prompt continued by `length` characters, each drawn from what the model thinks likely."""
    model.eval()
    indices = torch.tensor([[alphabet.index(character) for character in prompt]], device=device)
    with torch.no_grad():
        for _ in range(length):
            scores = model(indices[:, -model.context :])[:, -1]
            chosen = torch.multinomial(torch.softmax(scores / 0.8, dim=-1), 1)
            indices = torch.cat([indices, chosen], dim=1)
    return "".join(alphabet[index] for index in indices[0].tolist())


def draw_batch(text: torch.Tensor, context: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces from random places, (batch, context), and the same moved on by one character."""
    starts = torch.randint(0, len(text) - context, (batch, 1))
    pieces = text[starts + torch.arange(context + 1)]
    return pieces[:, :-1], pieces[:, 1:]


def loss_of(model: GPT, inputs: torch.Tensor, targets: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Mean cross entropy of the next character."""
    scores = model(inputs.to(device))
    return F.cross_entropy(scores.flatten(0, 1), targets.to(device).flatten())


def validate(model: GPT, text: torch.Tensor, device: torch.device) -> float:
    """Bits per character over the whole text, in pieces as long as the context."""
    model.eval()
    pieces = (len(text) - 1) // model.context
    inputs = text[: pieces * model.context].view(pieces, model.context)
    targets = text[1 : pieces * model.context + 1].view(pieces, model.context)
    total = 0.0
    with torch.no_grad():
        for x, y in zip(inputs.split(16), targets.split(16), strict=True):
            total += loss_of(model, x, y, device).item() * len(x)
    return total / pieces / math.log(2)


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]


def train(model: GPT, texts: tuple[torch.Tensor, torch.Tensor], options: argparse.Namespace, device: torch.device):
    """Train up to --steps, with a line of metrics and a checkpoint every --every steps; returns those lines."""

    def rate(step: int) -> float:  # up for the first twentieth, then half a cosine down to a tenth
        warmup = max(1, options.schedule // 20)
        if step < warmup:
            return (step + 1) / warmup
        return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, options.schedule - warmup)))

    optimizer = torch.optim.AdamW(decay_groups(model), lr=options.lr, betas=(0.9, 0.95))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    names = ("seed", "schedule", "batch", "lr", "layers", "heads", "width", "context", "dropout", "every")
    settings = {name: getattr(options, name) for name in names}
    settings["text"] = zlib.crc32(options.text.read_bytes())
    checkpoint = options.out / "checkpoint.pt"
    facts: dict[str, Any] = {"step": 0, "since": 0, "sum": 0.0, "metrics": []}
    if options.resume:
        facts = load_checkpoint(checkpoint, device, settings, parts)
        print(f"going on after step {facts['step']} of {options.schedule}")
    first = facts["step"]
    last = max(first, min(options.steps or options.schedule, options.schedule))
    start = time.perf_counter()
    with progress_bar(last, first, "step") as bar:
        for step in range(first + 1, last + 1):
            model.train()
            loss = loss_of(model, *draw_batch(texts[0], options.context, options.batch), device)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            facts.update(step=step, sum=facts["sum"] + loss.item(), since=facts["since"] + 1)
            if step % options.every == 0 or step == options.schedule:
                trained = facts["sum"] / facts["since"] / math.log(2)
                row = {"step": step, "train_bits": trained, "validation_bits": validate(model, texts[1], device)}
                facts.update(since=0, sum=0.0, metrics=[*facts["metrics"], row])
                bar.set_postfix(train=f"{trained:.2f}", valid=f"{row['validation_bits']:.2f} bits")
            if step % options.every == 0 or step == last:
                save_checkpoint(checkpoint, device, settings, parts, **facts)
            bar.update()
    print(f"{last - first} steps in {time.perf_counter() - start:.1f} s")
    return facts["metrics"]


def read_text(options: argparse.Namespace) -> str:
    """The text, long enough for the context in both of its parts."""
    try:
        text = options.text.read_text(encoding="utf-8")
    except OSError as error:
        stop(f"--text {options.text}: {error.strerror}")
    except UnicodeDecodeError as error:
        stop(f"--text {options.text}: not UTF-8: {error.reason} at byte {error.start}")
    if len(text) // 10 <= options.context:
        shortest = 10 * (options.context + 1)
        stop(f"--text {options.text}: {len(text)} characters; --context {options.context} needs {shortest} or more")
    strange = set(options.prompt) - set(text)
    if strange or not options.prompt:
        stop(f"--prompt {options.prompt!r}: {sorted(strange)} not in the text" if strange else "--prompt: is empty")
    return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole, above = at_least(1), at_least(0, float, strictly=True)
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, metavar="FILE", help="default: the sonnets")
    parser.add_argument("--steps", type=whole, metavar="N", help="stop after N steps; --resume goes on from there")
    parser.add_argument("--schedule", type=whole, default=1000, metavar="N", help="steps in all (%(default)s)")
    parser.add_argument("--batch", type=whole, default=24, metavar="N", help="pieces of text per step (%(default)s)")
    parser.add_argument("--lr", type=above, default=4e-3, metavar="X", help="peak learning rate (%(default)s)")
    parser.add_argument("--layers", type=whole, default=3, metavar="N", help="blocks (%(default)s)")
    parser.add_argument("--heads", type=whole, default=4, metavar="N", help="attention heads (%(default)s)")
    parser.add_argument("--width", type=whole, default=96, metavar="N", help="numbers per position (%(default)s)")
    parser.add_argument("--context", type=whole, default=64, metavar="N", help="characters seen (%(default)s)")
    parser.add_argument("--dropout", type=at_least(0, float), default=0.1, metavar="P", help="(%(default)s)")
    parser.add_argument("--every", type=whole, default=100, metavar="N", help="steps between checkpoints (%(default)s)")
    parser.add_argument("--prompt", default="\n", metavar="TEXT", help="where the samples begin (a new line)")
    parser.add_argument("--length", type=whole, default=300, metavar="N", help="characters to sample (%(default)s)")
    add_common_options(parser, "runs/gpt")
    options = parser.parse_args()
    if options.width % options.heads:
        parser.error(f"--width {options.width} must be a multiple of --heads {options.heads}")
    if options.dropout >= 1:
        parser.error(f"--dropout {options.dropout} must be below 1")
    return options


def main() -> None:
    options = parse()
    need("tqdm")
    device = pick_device(options.device)
    text = read_text(options)
    make_folder(options.out)
    torch.manual_seed(options.seed)
    alphabet = "".join(sorted(set(text)))
    indices = torch.tensor([alphabet.index(character) for character in text])
    border = len(text) * 9 // 10
    sizes = {name: getattr(options, name) for name in ("context", "width", "layers", "heads", "dropout")}
    model = GPT(len(alphabet), **sizes).to(device)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{border:,} training characters, {len(alphabet)} different ones; {weights:,} weights, on {device}")
    if not options.resume:
        print(f"before:\n{sample(model, alphabet, options.prompt, options.length, device)}\n", flush=True)
    metrics = train(model, (indices[:border], indices[border:]), options, device)
    torch.save({"model": model.state_dict(), "alphabet": alphabet, "sizes": sizes}, options.out / "model.pt")
    if metrics:
        write_metrics(options.out / "metrics.csv", metrics)
    print(f"after:\n{sample(model, alphabet, options.prompt, options.length, device)}\n")
    print(f"validation: {validate(model, indices[border:], device):.3f} bits per character")


if __name__ == "__main__":
    main()
