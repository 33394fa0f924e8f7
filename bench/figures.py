"""Bars as SVG, without a plotting library: a GPU host need not have one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

LINE, LABEL, WIDTH = 18, 420, 1000  # pixels


def bars(title: str, rows: Sequence[tuple[str, float]], unit: str, mark: float, most: float | None = None) -> str:
    """A picture of one bar per (label, value), with a line at `mark`; values above `most` are cut off there."""
    most = most or max([mark, *(value for _, value in rows)]) * 1.05
    height, room = LINE * (len(rows) + 3), WIDTH - LABEL - 90

    def x(value: float) -> float:
        return LABEL + room * min(value, most) / most

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="{LINE}" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (label, value) in enumerate(rows):
        top = LINE * (i + 2)
        text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
        lines += [
            f'<text x="{LABEL - 6}" y="{top + 12}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL}" y="{top + 2}" width="{x(value) - LABEL:.1f}" height="{LINE - 5}" fill="#4878a8"/>',
            f'<text x="{x(value) + 4:.1f}" y="{top + 12}">{text}{escape(unit)}</text>',
        ]
    bottom = LINE * (len(rows) + 2)
    lines.append(f'<path d="M{x(mark):.1f} {LINE * 2 - 4}V{bottom}" stroke="#c03030" stroke-dasharray="4 3"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"
