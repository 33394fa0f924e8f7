"""Train a small convolutional network on real handwritten digits, and draw what it learned.

The data: 1797 images of 8 × 8 pixels (data/DATA.md). Rows 0 to 1136 train and rows 1137 to 1436 validate: network,
learning rate and number of epochs were chosen on these. The last 360 rows test, once, after the training.

In the folder of the results: model.pt (the weights), metrics.csv (a line per epoch), digits.png (curves, confusion
matrix, predictions, mistakes), checkpoint.pt (all that --resume needs) and predictions.pt (for --check).
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
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
from naiad.utils.data import DataLoader, TensorDataset

DATA = Path(__file__).parent / "data" / "digits.csv.gz"
PARTS = {"train": slice(0, 1137), "validation": slice(1137, 1437), "test": slice(1437, 1797)}

Images = tuple[torch.Tensor, torch.Tensor]  # (n, 1, 8, 8) float32 in [0, 1] and (n,) int64


def load_digits() -> dict[str, Images]:
    """The three parts of the data, in file order."""
    table = np.loadtxt(DATA, delimiter=",", dtype=np.float32)
    images = torch.from_numpy(table[:, :64].reshape(-1, 1, 8, 8) / 16)
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    return {name: (images[rows], labels[rows]) for name, rows in PARTS.items()}


def build_model() -> nn.Module:
    """Three convolutions with batch norm, two poolings, one linear layer: 31 thousand weights."""

    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *convolution(1, 32),
        *convolution(32, 32),
        nn.MaxPool2d(2),
        *convolution(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(256, 10),
    )


def shifted(images: torch.Tensor) -> torch.Tensor:
    """The batch moved by up to one pixel each way, the same way for all."""
    down, right = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]


def predict(model: nn.Module, images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The network's scores, (n, 10), for images in pieces of 128."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(piece.to(device)).cpu() for piece in images.split(128)])


def measure(model: nn.Module, part: Images, device: torch.device) -> tuple[float, float]:
    """Mean loss, and accuracy in percent, on a part of the data."""
    scores = predict(model, part[0], device)
    right = (scores.argmax(dim=1) == part[1]).float().mean()
    return F.cross_entropy(scores, part[1]).item(), 100 * right.item()


def train_epoch(model: nn.Module, optimizer, scheduler, batches, device: torch.device, bar) -> None:
    """One step per batch: forward, backward, update."""
    model.train()
    for images, labels in batches:
        scores = model(shifted(images).to(device))
        loss = F.cross_entropy(scores, labels.to(device), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        bar.update()
        if bar.n >= bar.total:
            return


def train(model: nn.Module, data: dict[str, Images], options: argparse.Namespace, device: torch.device) -> list[dict]:
    """Train, write a checkpoint after each epoch, and return a line of metrics per epoch."""
    loader = DataLoader(TensorDataset(*data["train"]), batch_size=options.batch, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=options.lr, epochs=options.epochs, steps_per_epoch=len(loader)
    )
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    settings = {name: getattr(options, name) for name in ("seed", "epochs", "batch", "lr")}
    checkpoint = options.out / "checkpoint.pt"
    metrics: list[dict[str, Any]] = []
    if options.resume:
        metrics = load_checkpoint(checkpoint, device, settings, parts)["metrics"]
        print(f"going on after epoch {len(metrics)} of {options.epochs}")
    total = options.epochs * len(loader)
    done = len(metrics) * len(loader)
    total = max(done, min(total, options.steps or total))
    start = time.perf_counter()
    with progress_bar(total, done, "batch") as bar:
        for epoch in range(len(metrics) + 1, options.epochs + 1):
            if bar.n >= total:
                break
            train_epoch(model, optimizer, scheduler, loader, device, bar)
            row: dict[str, Any] = {"epoch": epoch}
            for name in ("train", "validation"):
                row[f"{name}_loss"], row[f"{name}_accuracy"] = measure(model, data[name], device)
            metrics.append(row)
            bar.set_postfix(epoch=epoch, loss=f"{row['train_loss']:.3f}", valid=f"{row['validation_accuracy']:.1f}%")
            if bar.n == epoch * len(loader):  # an epoch that --steps cut short is no place to go on from
                save_checkpoint(checkpoint, device, settings, parts, metrics=metrics)
    print(f"{total - done} steps in {time.perf_counter() - start:.1f} s")
    return metrics


def check(out: Path, device: torch.device) -> None:
    """Load model.pt as any later program would: its scores must be those of predictions.pt, bit for bit."""
    for name in ("model.pt", "predictions.pt"):
        if not (out / name).exists():
            stop(f"--check: there is no {out / name}; train first")
    model = build_model().to(device)
    model.load_state_dict(torch.load(out / "model.pt", map_location=device))
    scores = predict(model, load_digits()["test"][0], device)
    saved = torch.load(out / "predictions.pt")
    if scores.numpy().tobytes() != saved.numpy().tobytes():
        differing = int((scores.argmax(dim=1) != saved.argmax(dim=1)).sum())
        stop(f"--check: {out / 'model.pt'} predicts otherwise than before it was saved: {differing} digits differ")
    print(f"{out / 'model.pt'}, read by a fresh process, predicts the same")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=at_least(1), default=30, metavar="N", help="default %(default)s")
    parser.add_argument("--batch", type=at_least(1), default=64, metavar="N", help="images per step (%(default)s)")
    parser.add_argument(
        "--lr", type=at_least(0, float, strictly=True), default=4e-3, metavar="X", help="peak learning rate %(default)s"
    )
    parser.add_argument("--steps", type=at_least(1), metavar="N", help="stop after N steps, for a quick try")
    add_common_options(parser, "runs/digits")
    parser.add_argument("--check", action="store_true", help="only compare DIR's model.pt with its predictions.pt")
    return parser.parse_args()


def main() -> None:
    options = parse()
    device = pick_device(options.device)
    if options.check:
        check(options.out, device)
        return
    need("matplotlib", "tqdm")
    make_folder(options.out)
    torch.manual_seed(options.seed)
    data = load_digits()
    model = build_model().to(device)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(data['train'][0])} training digits, {weights:,} weights, on {device}", flush=True)
    metrics = train(model, data, options, device)

    images, labels = data["test"]
    scores = predict(model, images, device)
    torch.save(model.state_dict(), options.out / "model.pt")
    torch.save(scores, options.out / "predictions.pt")
    write_metrics(options.out / "metrics.csv", metrics)
    from digits_picture import draw

    draw(options.out / "digits.png", metrics, images[:, 0].numpy(), labels.numpy(), scores.numpy())
    print(f"see {options.out / 'digits.png'}", flush=True)
    subprocess.run(
        [sys.executable, __file__, "--check", "--out", str(options.out), "--device", device.type], check=True
    )
    accuracy = 100 * (scores.argmax(dim=1) == labels).float().mean().item()
    print(f"test accuracy: {accuracy:.1f}")


if __name__ == "__main__":
    main()
