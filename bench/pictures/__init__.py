"""Pictures of results, in the manner of the publications that the suites come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import contrast
from ..contrast import FASTEST, Group, Times
from ..goals import View
from ..goals.odd_widths import WITHIN, against_neighbours
from . import bars, grid, style
from .grid import Grid, Point, Scale

BASE = "torch_eager"
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
# Suites whose published pictures are of the time that the host sees.
WALL = ("fast_embedding", "fast_multi_embedding", "pooled_tables")
# Scenarios: in the picture of all peers their mean is a line and their range a band.
SCENARIOS = ("distribution", "mix")
# Suites whose published pictures show rows read per second.
RATES = ("cuembed_forward",)


def draw(group: Group, folder: Path, subject: str | None) -> list[Path]:
    """Every picture that the rows give, as SVG files in the folder; returns their paths."""
    if group.suite == "odd_widths":
        return [_odd_widths(group, name, folder) for name in group.subjects(subject)[:1]]
    if group.suite not in GRIDS:
        return [style.save(bars.times(group), folder / f"{group.name}.svg")]
    paths = []
    for name in group.subjects(subject)[:1]:
        for metric in ["device_us", *(["wall_us"] if group.suite in WALL else [])]:
            paths += _ratios(group, name, metric, folder)
            paths += _peers(group, metric, folder)
    if group.suite in RATES:
        paths.append(_rates(group, folder))
    return paths


def draw_means(found: Sequence[Group], path: Path, subject: str | None) -> Path:
    """The geometric means of the summary, device time."""
    values = []
    for group in found:
        for name in group.subjects(subject):
            for peer in group.opponents(name):
                speedups = group.speedups(name, peer)
                if speedups:
                    label = f"{group.name}: {name} against {peer}"
                    values.append((label, contrast.mean(speedups.values())))
    label = "geometric mean of time of the other / time of the subject (device)"
    return style.save(bars.means(values, label), path)


def _ratios(group: Group, subject: str, metric: str, folder: Path) -> list[Path]:
    """The subject against one other: a line for each scenario."""
    paths = []
    for peer in group.opponents(subject):
        if peer not in (BASE, FASTEST):
            continue
        kind, other = metric.removesuffix("_us"), peer.replace(" ", "_")
        speedups = group.speedups(subject, peer, metric)
        title = f"{group.name}, {kind} time: {peer} / {subject}, above 1 {subject} is faster"
        points = [Point(_place(group, cell), value) for cell, value in speedups.items()]
        if points:
            figure = grid.draw(GRIDS[group.suite], points, title, Scale("ratio"))
            paths.append(style.save(figure, folder / f"{group.name}_{kind}_vs_{other}.svg"))
    return paths


def _peers(group: Group, metric: str, folder: Path) -> list[Path]:
    """All peers against the first of torch: a line for each peer."""
    points = [
        point
        for peer in group.peers()
        if peer != BASE
        for point in _bands(group, peer, group.speedups(peer, BASE, metric))
    ]
    if not points:
        return []
    kind = metric.removesuffix("_us")
    title = f"{group.name}, {kind} time: {BASE} / peer, above 1 the peer is faster"
    if any(axis in SCENARIOS for axis in group.axes):
        title += "; mean over the scenarios, shaded: all of them"
    figure = grid.draw(GRIDS[group.suite], points, title, Scale("ratio"))
    return [style.save(figure, folder / f"{group.name}_{kind}_peers.svg")]


def _bands(group: Group, peer: str, values: Times) -> list[Point]:
    """The mean and the range over the scenarios."""
    together: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for cell, value in values.items():
        place = {k: v for k, v in _place(group, cell).items() if k not in SCENARIOS}
        together.setdefault(tuple(place.items()), []).append(value)
    return [
        Point({"peer": peer, **dict(place)}, contrast.mean(found), min(found), max(found))
        for place, found in together.items()
    ]


def _rates(group: Group, folder: Path) -> Path:
    points = [
        Point({"peer": peer, **_place(group, cell)}, rate)
        for peer in group.peers()
        for cell, rate in group.column(peer, "rows_tbps").items()
    ]
    ceiling = float(group.rows[0]["read_tbps"])
    scale = Scale(
        "TB/s", ratios=False, limit=ceiling, limit_label=f"reading HBM, {ceiling:.2f} TB/s"
    )
    figure = grid.draw(GRIDS[group.suite], points, f"{group.name}: rows read", scale)
    return style.save(figure, folder / f"{group.name}_rate.svg")


def _odd_widths(group: Group, subject: str, folder: Path) -> Path:
    points = [
        Point({"against": text, **_place(group, cell), "case": ""}, 1 / value)
        for text, values in against_neighbours(View(group, subject, [group])).items()
        for cell, value in values.items()
    ]
    title = f"{group.name}, {subject}: time per byte / that of the neighbour, above 1 is slower"
    scale = Scale("ratio", limit=WITHIN, limit_label=f"{WITHIN:g}")
    figure = grid.draw(Grid(("op",), (), "around"), points, title, scale)
    return style.save(figure, folder / f"{group.name}.svg")


def _place(group: Group, cell: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(group.axes, cell, strict=True))
