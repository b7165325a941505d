"""Bars: times of whole models, and the means of the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import pyplot
from matplotlib.figure import Figure

from ..contrast import Group
from . import style

MOST_COLUMNS = 4


def times(group: Group) -> Figure:
    """A panel for each cell, a bar for each peer: device time filled, wall time as an outline."""
    cells = list(dict.fromkeys(group.cell(row) for row in group.rows))
    peers = group.peers()
    columns = min(len(cells), MOST_COLUMNS)
    rows = math.ceil(len(cells) / columns)
    size = (3.4 * columns, 0.6 + (0.5 + 0.2 * len(peers)) * rows)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    flat = [panel for row in panels for panel in row]
    for panel, cell in zip(flat, cells, strict=False):
        device, wall = (
            [group.column(peer, metric).get(cell, math.nan) / 1e3 for peer in peers]
            for metric in ("device_us", "wall_us")
        )
        positions = range(len(peers))
        panel.barh(positions, device, color=style.colours(peers))
        panel.barh(positions, wall, fill=False, edgecolor="black", linewidth=0.6)
        panel.set_yticks(positions, peers)
        panel.invert_yaxis()
        panel.set_title(style.label(group.axes, cell), fontsize=8)
        panel.set_xlabel("ms")
    for panel in flat[len(cells) :]:
        panel.set_visible(False)
    figure.suptitle(f"{group.suite}: filled on the device, outlined wall time of one call")
    figure.tight_layout()
    return figure


def means(bars: Sequence[tuple[str, float]], label: str) -> Figure:
    """A bar for each mean, from 1 to the right where it is above."""
    figure, axes = pyplot.subplots(figsize=(7, 0.7 + 0.18 * max(len(bars), 1)))
    positions = range(len(bars))
    values = [value for _, value in bars]
    colours = ["tab:green" if value >= 1 else "tab:red" for value in values]
    axes.barh(positions, [value - 1 for value in values], left=1, color=colours)
    for position, value in zip(positions, values, strict=True):
        axes.text(max(value, 1), position, f" {value:.2f}", va="center")
    axes.set_yticks(positions, [name for name, _ in bars])
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=0.8)
    style.of_ratios(axes.xaxis, axes.set_xscale)
    # Room for the numbers behind the bars.
    axes.set_xlim(0.9 * min(1, *values), 2.0 * max(1, *values))
    axes.margins(y=0.01)
    figure.supxlabel(label, fontsize=8)
    figure.tight_layout()
    return figure
