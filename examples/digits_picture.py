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
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(f"Handwritten digits: {accuracy:.1f}% of {len(labels)} test digits are right", fontsize=15)
    above, below = figure.subfigures(2, 1, hspace=0.05)
    loss, right, matrix = above.subplots(1, 3)
    some, wrong = below.subplots(1, 2)
    _curves(loss, metrics, "loss", "mean cross entropy")
    _curves(right, metrics, "accuracy", "accuracy, %")
    _confusion(matrix, labels, predicted)
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


def _digits(axes: Any, rows: np.ndarray, images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, title: str):
    """A grid: over each digit what the network says and, in red and in brackets, what it is if that is wrong."""
    down, across = next(shape for shape in ((2, 5), (3, 6), (4, 10)) if len(rows) <= shape[0] * shape[1])
    high, wide = 11, 10  # a cell: 8 pixels of digit, the rest for the words above it
    sheet = np.zeros((down * high, across * wide))
    for cell, row in enumerate(rows):
        top, left = cell // across * high + 3, cell % across * wide + 1
        sheet[top : top + 8, left : left + 8] = images[row]
        wrong = predicted[row] != labels[row]
        text = f"{predicted[row]} ({labels[row]})" if wrong else str(predicted[row])
        axes.text(left + 3.5, top - 1.6, text, ha="center", va="center", color=RED if wrong else GREY)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axes.set_title(title)
    axes.axis("off")
