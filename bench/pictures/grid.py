"""Panels of lines: one panel for each combination of some axes, one line for each of others."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .style import Colour

PANEL = (2.7, 2.0)
MOST_COLUMNS = 6
LEGEND_COLUMNS = 6
CHARACTERS_PER_INCH = 14


@dataclass(frozen=True)
class Grid:
    """Axes of panels, from left to right and from top to bottom, and the axis along their x."""

    across: tuple[str, ...]
    down: tuple[str, ...]
    x: str


@dataclass(frozen=True)
class Point:
    """A value at a place; with ``low`` and ``high``, one of a band."""

    place: Mapping[str, str]
    value: float
    low: float = math.nan
    high: float = math.nan

    def at(self, axes: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.place[axis] for axis in axes)


@dataclass(frozen=True)
class Scale:
    """What is along y: ratios, logarithmic, around 1; or amounts, with a line at a limit."""

    unit: str
    ratios: bool = True
    limit: float = 1.0
    limit_label: str | None = None


def draw(grid: Grid, points: Sequence[Point], title: str, scale: Scale) -> Figure:
    """Axes that are not the grid's are the lines: the first by colour, the others by style."""
    lines = _lines(grid, points)
    places = [
        (d, a) for d in _combinations(points, grid.down) for a in _combinations(points, grid.across)
    ]
    columns = len(_combinations(points, grid.across))
    if columns > MOST_COLUMNS and columns == len(places):
        columns = math.ceil(columns / math.ceil(columns / MOST_COLUMNS))
    rows = math.ceil(len(places) / columns)
    size = (PANEL[0] * columns + 0.6, PANEL[1] * rows + 1.1)
    figure, panels = pyplot.subplots(
        rows,
        columns,
        figsize=size,
        squeeze=False,
        sharex=True,
        sharey="all" if scale.ratios else "row",
    )
    flat = [panel for row in panels for panel in row]
    xs = sorted({float(point.place[grid.x]) for point in points})
    for panel, (down, across) in zip(flat, places, strict=False):
        inside = [p for p in points if p.at(grid.down) == down and p.at(grid.across) == across]
        _draw_panel(panel, grid.x, lines, inside, scale)
        style.x_of_sizes(panel, xs)
        title_axes = (*grid.across, *grid.down)
        panel.set_title(style.label(title_axes, (*across, *down)), fontsize=8)
    # Once all is drawn: the panels share their y.
    for panel in flat:
        if scale.ratios:
            style.of_ratios(panel.yaxis, panel.set_yscale)
        else:
            panel.set_ylim(bottom=0)
    for row in panels:
        row[0].set_ylabel(scale.unit)
    for panel in flat[len(places) - columns : len(places)]:
        panel.set_xlabel(grid.x)
        panel.tick_params(labelbottom=True)
    for panel in flat[len(places) :]:
        panel.set_visible(False)
    figure.suptitle(textwrap.fill(title, int(CHARACTERS_PER_INCH * size[0])))
    _legend(figure, flat[0], size[1])
    return figure


@dataclass(frozen=True)
class _Line:
    axes: tuple[str, ...]
    name: tuple[str, ...]
    colour: Colour
    dashes: str


def _lines(grid: Grid, points: Sequence[Point]) -> list[_Line]:
    named = {*grid.across, *grid.down, grid.x}
    axes = tuple(
        axis
        for axis in points[0].place
        if axis not in named and len({point.place[axis] for point in points}) > 1
    )
    firsts = [first for (first,) in _combinations(points, axes[:1])] if axes else []
    colours = dict(zip(firsts, style.colours(firsts), strict=True))
    rests = _combinations(points, axes[1:])
    dashes = {rest: style.LINES[n % len(style.LINES)] for n, rest in enumerate(rests)}
    return [
        _Line(axes, name, colours[name[0]] if name else "tab:blue", dashes[name[1:]])
        for name in _combinations(points, axes)
    ]


def _draw_panel(
    panel: Axes, x: str, lines: Sequence[_Line], points: Sequence[Point], scale: Scale
) -> None:
    for line in lines:
        found = sorted(
            (p for p in points if p.at(line.axes) == line.name), key=lambda p: float(p.place[x])
        )
        places = [float(point.place[x]) for point in found]
        panel.plot(
            places,
            [point.value for point in found],
            color=line.colour,
            linestyle=line.dashes,
            linewidth=1.1,
            marker=".",
            markersize=3,
            label=style.label(line.axes, line.name),
        )
        if any(not math.isnan(point.low) for point in found):
            low, high = [p.low for p in found], [p.high for p in found]
            panel.fill_between(places, low, high, color=line.colour, alpha=0.15, linewidth=0)
    panel.axhline(
        scale.limit, color="black", linewidth=0.9, linestyle="dotted", label=scale.limit_label
    )
    panel.grid(alpha=0.3, linewidth=0.5)


def _legend(figure: Figure, panel: Axes, height: float) -> None:
    pairs = zip(*panel.get_legend_handles_labels(), strict=True)
    shown = [(handle, label) for handle, label in pairs if label]
    rows = math.ceil(len(shown) / LEGEND_COLUMNS)
    if shown:
        handles, labels = zip(*shown, strict=True)
        columns = math.ceil(len(shown) / rows)
        figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.tight_layout(rect=(0, 0.22 * rows / height, 1, 1 - 0.1 / height))


def _combinations(points: Sequence[Point], axes: Sequence[str]) -> list[tuple[str, ...]]:
    """The values that occur together: numbers in order, words as they come."""
    order: dict[str, dict[str, int]] = {axis: {} for axis in axes}
    for point in points:
        for axis in axes:
            order[axis].setdefault(point.place[axis], len(order[axis]))

    def key(values: tuple[str, ...]) -> list[float]:
        return [
            float(value) if style.is_number(value) else order[axis][value]
            for axis, value in zip(axes, values, strict=True)
        ]

    return sorted({point.at(axes) for point in points}, key=key)
