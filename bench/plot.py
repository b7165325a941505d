"""Pictures of results, in the manner of the publications that the suites come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import contrast
from .contrast import FASTEST, Group
from .records import Row

PANEL = (2.7, 2.0)
# The same file from the same rows: no date, no random identifiers.
matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 7})


@dataclass(frozen=True)
class Grid:
    """How a suite's cells are laid out: a panel for each combination of ``across`` and ``down``,
    ``x`` along its bottom, a line for each combination of the axes that are not named here."""

    across: tuple[str, ...]
    down: tuple[str, ...]
    x: str


GRIDS = {
    "fast_embedding": Grid(("rows",), ("width",), "batch"),
    "fast_multi_embedding": Grid(("tables",), (), "batch"),
    "cuembed_forward": Grid(("width",), ("alpha",), "batch"),
    "cuembed_sweep": Grid(("rows", "width"), ("direction", "alpha"), "batch"),
    "forward": Grid(("rows",), ("width",), "indices"),
    "backward": Grid(("rows",), ("width",), "indices"),
    "bag_backward": Grid(("rows", "width"), ("reduce", "layout"), "batch"),
    "pooled_tables": Grid(("rows",), ("hotness",), "batch"),
}
# Suites whose published pictures show rows read per second.
RATES = ("cuembed_forward",)
# Suites whose published pictures are of the time that the host sees.
WALL = ("fast_embedding", "fast_multi_embedding", "pooled_tables")
MOST_COLUMNS = 6


def draw_all(rows: Mapping[str, Sequence[Row]], folder: Path, subject: str | None) -> list[Path]:
    """Every picture that the rows give, as SVG files in the folder; returns their paths."""
    paths = []
    for group in contrast.groups(rows):
        if group.suite not in GRIDS:
            paths.append(_draw_bars(group, folder / f"{group.name}.svg"))
            continue
        for name in group.subjects(subject)[:1]:
            paths += _draw_ratios(group, name, folder)
        if group.suite in RATES:
            paths.append(_draw_rates(group, folder / f"{group.name}_rate.svg"))
    return paths


def draw_means(found: Sequence[Group], path: Path, subject: str | None) -> None:
    """The geometric means of the summary as bars, device time, logarithmic."""
    bars: list[tuple[str, float]] = []
    for group in found:
        for name in group.subjects(subject):
            for peer in [*group.others(name), FASTEST]:
                speedups = group.speedups(name, peer, "device_us")
                if speedups:
                    label = f"{group.name}: {name} against {peer}"
                    bars.append((label, contrast.mean(speedups.values())))
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.18 * max(len(bars), 1)))
    positions = range(len(bars))
    colours = ["tab:green" if value >= 1 else "tab:red" for _, value in bars]
    axes.barh(positions, [value for _, value in bars], color=colours)
    for position, (_, value) in zip(positions, bars, strict=True):
        axes.text(value, position, f" {value:.2f}", va="center")
    axes.set_yticks(positions, [label for label, _ in bars])
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("geometric mean of time of the other / time of the subject (device)")
    axes.margins(y=0.01)
    figure.tight_layout()
    _save(figure, path)


def _draw_ratios(group: Group, subject: str, folder: Path) -> list[Path]:
    metrics = ["device_us", *(["wall_us"] if group.suite in WALL else [])]
    peers = [peer for peer in ("torch_eager", FASTEST) if group.speedups(subject, peer, metrics[0])]
    paths = []
    for metric in metrics:
        for peer in peers:
            speedups = group.speedups(subject, peer, metric)
            suffix = "fastest" if peer == FASTEST else peer
            kind = metric.removesuffix("_us")
            path = folder / f"{group.name}_{kind}_vs_{suffix}.svg"
            title = f"{group.suite}, {kind} time: {peer} / {subject}, above 1 {subject} is faster"
            lines = [
                ({**dict(zip(group.axes, cell, strict=True))}, v) for cell, v in speedups.items()
            ]
            figure = _draw_grid(GRIDS[group.suite], group.axes, lines, title, 1.0, "ratio")
            _save(figure, path)
            paths.append(path)
    return paths


def _draw_rates(group: Group, path: Path) -> Path:
    points = [
        ({"peer": row["peer"], **{axis: row[axis] for axis in group.axes}}, float(row["rows_tbps"]))
        for row in group.rows
    ]
    ceiling = float(group.rows[0]["read_tbps"])
    title = f"{group.suite}: rows read, TB/s; dotted: what reading memory reaches ({ceiling:.2f})"
    axes = ["peer", *group.axes]
    _save(_draw_grid(GRIDS[group.suite], axes, points, title, ceiling, "TB/s"), path)
    return path


Point = tuple[dict[str, str], float]


def _draw_grid(
    grid: Grid, axes: Sequence[str], points: Sequence[Point], title: str, line: float, unit: str
) -> Figure:
    """Panels of lines; axes with a single value are left out of the labels."""
    varying = [a for a in axes if len({point[a] for point, _ in points}) > 1]
    across = _combinations(points, grid.across)
    down = _combinations(points, grid.down)
    labels = [a for a in varying if a not in (*grid.across, *grid.down, grid.x)]
    series = _combinations(points, labels)
    columns = len(across)
    rows = len(down)
    wrapped = rows == 1 and columns > MOST_COLUMNS
    if wrapped:
        columns = math.ceil(len(across) / math.ceil(len(across) / MOST_COLUMNS))
        rows = math.ceil(len(across) / columns)
    size = (PANEL[0] * columns + 0.6, PANEL[1] * rows + 0.9)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, sharex=True)
    flat = [panel for row in panels for panel in row]
    places = [(a, d) for d in down for a in across]
    for panel, (a, d) in zip(flat, places, strict=False):
        chosen = [
            (point, value)
            for point, value in points
            if _named(point, grid.across) == a and _named(point, grid.down) == d
        ]
        _draw_panel(panel, chosen, labels, series, grid.x, line)
        names = [*zip(grid.across, a, strict=True), *zip(grid.down, d, strict=True)]
        panel.set_title(", ".join(f"{name} {value}" for name, value in names), fontsize=7)
    for row in panels:
        row[0].set_ylabel(unit)
    for panel in flat[len(places) - columns : len(places)]:
        panel.set_xlabel(grid.x)
        panel.tick_params(labelbottom=True)
    for panel in flat[len(places) :]:
        panel.set_visible(False)
    handles, texts = flat[0].get_legend_handles_labels()
    if texts:
        figure.legend(handles, texts, loc="lower center", ncols=min(len(texts), 6), frameon=False)
    figure.suptitle(title)
    legend = 0.25 * (1 + (len(texts) - 1) // 6)
    figure.tight_layout(rect=(0, legend / size[1], 1, 1 - 0.15 / size[1]))
    return figure


def _draw_panel(
    panel: Axes,
    points: Sequence[Point],
    labels: Sequence[str],
    series: Sequence[tuple[str, ...]],
    x: str,
    line: float,
) -> None:
    for number, name in enumerate(series):
        found = sorted((float(p[x]), v) for p, v in points if _named(p, labels) == name)
        panel.plot(
            [place for place, _ in found],
            [value for _, value in found],
            marker=".",
            markersize=3,
            linewidth=1,
            color=matplotlib.colormaps["tab20" if len(series) > 10 else "tab10"](number % 20),
            label=_label(labels, name),
        )
    panel.axhline(line, color="black", linewidth=0.8, linestyle="dotted")
    panel.set_xscale("log", base=2)
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3, linewidth=0.5)


def _label(axes: Sequence[str], values: Sequence[str]) -> str | None:
    """A number needs the name of its axis, a word does not."""
    pairs = zip(axes, values, strict=True)
    return " ".join(f"{axis} {v}" if _is_number(v) else v for axis, v in pairs) or None


def _draw_bars(group: Group, path: Path) -> Path:
    """Times per cell and peer: device filled, wall as an outline."""
    cells = list(dict.fromkeys(group.cell(row) for row in group.rows))
    peers = group.peers()
    columns = min(len(cells), 4)
    rows = math.ceil(len(cells) / columns)
    size = (3.4 * columns, 0.6 + (0.5 + 0.2 * len(peers)) * rows)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    flat = [panel for row in panels for panel in row]
    for panel, cell in zip(flat, cells, strict=False):
        device, wall = (
            [group.times(peer, metric).get(cell, math.nan) / 1e3 for peer in peers]
            for metric in ("device_us", "wall_us")
        )
        positions = range(len(peers))
        panel.barh(positions, device, color=[f"C{n}" for n in positions])
        panel.barh(positions, wall, fill=False, edgecolor="black", linewidth=0.6)
        panel.set_yticks(positions, peers)
        panel.invert_yaxis()
        panel.set_title(group.describe(cell), fontsize=7)
        panel.set_xlabel("ms")
    for panel in flat[len(cells) :]:
        panel.set_visible(False)
    figure.suptitle(f"{group.suite}: filled on the device, outlined wall time of one call")
    figure.tight_layout()
    _save(figure, path)
    return path


def _combinations(points: Sequence[Point], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The values that occur together: numbers in order, words as they come."""
    order: dict[str, dict[str, int]] = {name: {} for name in names}
    for point, _ in points:
        for name in names:
            order[name].setdefault(point[name], len(order[name]))

    def key(values: tuple[str, ...]) -> list[float]:
        return [
            float(value) if _is_number(value) else order[name][value]
            for name, value in zip(names, values, strict=True)
        ]

    return sorted({_named(point, names) for point, _ in points}, key=key)


def _named(point: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(point[name] for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
