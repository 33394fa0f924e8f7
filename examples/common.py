"""What the training programs share: the device, the progress bar, checkpoints, and words for what went wrong."""

import argparse
import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import naiad as torch


def stop(message: str) -> NoReturn:
    """End the program with a message and exit status 2, as argparse does."""
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def need(*packages: str) -> None:
    """Stop at once, not after the training, if a package that will be wanted is missing."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        stop(f"{' and '.join(missing)} not found; install what the examples need: pip install 'naiad[examples]'")


def at_least(low: float, kind: Callable[[str], Any] = int, strictly: bool = False) -> Callable[[str], Any]:
    """A type for argparse: a number that is not below `low`, or with `strictly` above it."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
        if not (value > low or (value == low and not strictly)):
            raise argparse.ArgumentTypeError(f"must be {'above' if strictly else 'at least'} {low}, got {text}")
        return value

    return convert


def add_common_options(parser: argparse.ArgumentParser, out: str) -> None:
    """The options that every training program has."""
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, dropout (default %(default)s)")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes cuda where there is one (default)"
    )
    parser.add_argument("--out", type=Path, default=Path(out), metavar="DIR", help="results (default %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR, to the same numbers")


def pick_device(name: str) -> torch.device:
    """The device for --device auto, cpu or cuda."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        stop("--device cuda: no GPU can be used here; --device auto takes one where there is one, --device cpu none")
    return torch.device(name)


def make_folder(folder: Path) -> None:
    """Create the folder of the results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"--out {folder}: the folder cannot be made: {error.strerror}")


def progress_bar(total: int, done: int, unit: str) -> Any:
    """A bar with rate and estimated time to go; `done` steps were made by an earlier run."""
    from tqdm import tqdm

    often = 0.1 if sys.stderr.isatty() else 5.0  # seconds between two lines: a log file needs fewer
    return tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True, smoothing=0.1, mininterval=often)


def random_state(device: torch.device) -> list[torch.Tensor]:
    """Where the streams of random numbers are: the CPU's, and the GPU's if it is used."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state())
    return states


def save_checkpoint(
    path: Path, device: torch.device, settings: dict[str, Any], parts: dict[str, Any], **facts: Any
) -> None:
    """Write all that a later run needs to go on: the state of each part, the random streams, and plain facts."""
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"settings": settings, "states": states, "random": random_state(device), "facts": facts}, path)


def load_checkpoint(
    path: Path, device: torch.device, settings: dict[str, Any], parts: dict[str, Any]
) -> dict[str, Any]:
    """Put the saved states back and return the facts. A checkpoint of other settings is refused."""
    if not path.exists():
        stop(f"--resume: there is no {path}; run once without --resume, which writes it")
    saved = torch.load(path)
    for name, value in settings.items():
        if saved["settings"].get(name) != value:
            was = saved["settings"].get(name)
            stop(f"--resume: {path} was made with --{name} {was}, not {value}; give the same, or another --out")
    for name, part in parts.items():
        part.load_state_dict(saved["states"][name])
    torch.set_rng_state(saved["random"][0].cpu())
    if device.type == "cuda" and len(saved["random"]) > 1:
        torch.cuda.set_rng_state(saved["random"][1].cpu())
    return saved["facts"]


def write_metrics(path: Path, metrics: list[dict[str, Any]]) -> None:
    """The metrics as a CSV file, a line per row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, metrics[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics)
