"""The picture that train_digits.py leaves: curves, confusion matrix, predictions and mistakes."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # draws into a file, also where there is no screen

import matplotlib.pyplot as plt

BLUE, ORANGE, RED, GREY = "#1f5f99", "#d9822b", "#b3261e", "#555555"


def draw(path: Path, metrics: list[dict[str, Any]], images: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    """Draw the training's metrics and the test's (n, 8, 8) images with their labels and (n, 10) scores."""
    predicted = scores.argmax(axis=1)
    accuracy = 100 * (predicted == labels).mean()
    plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(13, 8.4), layout="constrained")
    figure.suptitle(f"Handwritten digits: {accuracy:.1f}% of {len(labels)} test digits are right", fontsize=15)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1], hspace=0.04)
    loss, right, matrix = above.subplots(1, 3)
    _curves(loss, metrics, "loss", "mean cross entropy")
    _curves(right, metrics, "accuracy", "accuracy, %")
    _confusion(matrix, labels, predicted)
    some, wrong = below.subfigures(1, 2, wspace=0.03)
    first = np.arange(min(40, len(labels)))
    _digits(some, first, images, labels, predicted, "The first test digits and what the network says")
    mistakes = np.flatnonzero(predicted != labels)
    shown = mistakes[:40]
    count = f"all {len(mistakes)}" if len(mistakes) <= 40 else f"40 of {len(mistakes)}"
    title = f"The mistakes, {count}: the network says (it is)" if len(shown) else "No mistake"
    _digits(wrong, shown, images, labels, predicted, title)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _curves(axes: Any, metrics: list[dict[str, Any]], name: str, title: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    for part, colour in (("train", BLUE), ("validation", ORANGE)):
        axes.plot(epochs, [row[f"{part}_{name}"] for row in metrics], color=colour, marker=".", label=part)
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _confusion(axes: Any, labels: np.ndarray, predicted: np.ndarray) -> None:
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    off = counts * (1 - np.eye(10, dtype=int))
    axes.imshow(np.where(off + (counts == 0) > 0, np.nan, counts), cmap="Blues", vmin=0, vmax=counts.max() * 1.4)
    for row, column in np.argwhere(counts):
        colour = RED if row != column else "black"
        weight = "bold" if row != column else "normal"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontweight=weight)
    axes.set(title="confusion matrix (test)", xlabel="the network says", ylabel="it is")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.spines[:].set_visible(False)


def _digits(figure: Any, rows: np.ndarray, images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, title: str):
    """A grid: each digit with what the network says, and in red what it is if that is wrong."""
    figure.suptitle(title, fontsize=12)
    down, across = next(shape for shape in ((2, 5), (3, 6), (4, 10)) if len(rows) <= shape[0] * shape[1])
    grid = figure.subplots(down, across).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, row in zip(grid, rows, strict=False):
        axes.imshow(images[row], cmap="gray_r", vmin=0, vmax=1)
        wrong = predicted[row] != labels[row]
        text = f"{predicted[row]} ({labels[row]})" if wrong else str(predicted[row])
        axes.set_title(text, fontsize=11, color=RED if wrong else GREY, pad=2)
