"""One page that says how fast we are: geometric means, goals, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import commands, contrast, goals, pictures
from .contrast import FASTEST, ROOFLINE_FROM_US, Group, Times
from .records import Row
from .suites import SUITES

LARGE = 4096
WORST_CELLS = 3

Subject = tuple[Group, str]


def write(rows: Mapping[str, Sequence[Row]], folder: Path, subject: str | None) -> list[Path]:
    """Draws all pictures and writes ``summary.md`` into the folder; returns the paths."""
    groups = contrast.groups(rows)
    subjects = [(group, name) for group in groups for name in group.subjects(subject)]
    drawn = {group.name: pictures.draw(group, folder, subject) for group in groups}
    means = pictures.draw_means(groups, folder / "summary.svg", subject)
    page = folder / "summary.md"
    parts = [
        _head([row for group in groups for row in group.rows]),
        _means(subjects),
        _rooflines(subjects),
        _variants(subjects, groups),
        *(_goals(group, name, groups) for group, name in subjects),
        _worst(subjects),
        _pictures(groups, drawn, folder),
    ]
    page.write_text("\n".join(part for part in parts if part))
    return [*(path for paths in drawn.values() for path in paths), means, page]


def _head(rows: Sequence[Row]) -> str:
    def several(name: str) -> str:
        return ", ".join(dict.fromkeys(row[name] for row in rows if row[name])) or "-"

    def spread(name: str) -> str:
        values = sorted({f"{float(row[name]):.3g}" for row in rows}, key=float)
        return " to ".join(dict.fromkeys((values[0], values[-1])))

    days = sorted({row["time"][:10] for row in rows})
    dirty = " (with uncommitted changes)" if any(row["dirty"] == "yes" for row in rows) else ""
    ceilings = ", ".join(spread(name) for name in ("copy_tbps", "fill_tbps", "read_tbps"))
    return f"""# Benchmark summary

| | |
| --- | --- |
| device | {several("gpu")} |
| driver, CUDA, torch | {several("driver")}, {several("cuda")}, {several("torch")} |
| commit | {several("commit")}{dirty} |
| measured | {days[0]} to {days[-1]} |
| copy, fill, read ceilings, TB/s | {ceilings} |
| an empty kernel reads, us | {spread("floor_us")} |

Speed-ups are time of the other / time of the subject, above 1 where the subject is faster; means
are geometric. Device: the median time on the device. Wall: the median time of one call, from an
idle device to an idle device. "{FASTEST}" takes, in each cell, the fastest peer not ours.
{_not_graphs(rows)}"""


def _not_graphs(rows: Sequence[Row]) -> str:
    """Whose device times may hold some of the host's."""
    counts = Counter(row["peer"] for row in rows if row["method"] == "events")
    if not counts:
        return ""
    listed = ", ".join(f"{peer} {count}" for peer, count in counts.items())
    return f"\nTimed between events and not as a CUDA graph, rows: {listed}.\n"


def _means(subjects: Sequence[Subject]) -> str:
    lines = []
    for group, name in subjects:
        known = SUITES.get(group.suite)
        for peer in group.opponents(name):
            device, wall = (group.speedups(name, peer, m) for m in ("device_us", "wall_us"))
            if device:
                lines.append(_row(_title(group, name), peer, *_means_of(device, wall)))
            large = _large(group, device, known.quantity if known else None)
            if large and len(large) < len(device):
                label = f"{peer}, {known.quantity} >= {LARGE}" if known else ""
                some = {cell: wall[cell] for cell in large}
                lines.append(_row(_title(group, name), label, *_means_of(large, some)))
    columns = ("suite: subject", "against", "cells", "device", "least", "wall", "least")
    picture = ["", "![the means on the device as bars](summary.svg)"] if lines else []
    return _section("Geometric means", [*_table(columns, lines), *picture])


def _means_of(device: Times, wall: Times) -> list[str]:
    found = [
        value
        for times in (device, wall)
        for value in (contrast.mean(times.values()), min(times.values()))
    ]
    return [str(len(device)), *(f"{value:.2f}" for value in found)]


def _large(group: Group, times: Times, quantity: str | None) -> Times:
    if quantity is None or quantity not in group.axes:
        return {}
    return group.only(times, **{quantity: lambda number: number >= LARGE})


def _rooflines(subjects: Sequence[Subject]) -> str:
    lines = []
    for group, name in subjects:
        shares = group.roofline_shares(name)
        if shares:
            worst = min(shares, key=shares.__getitem__)
            mean = f"{contrast.mean(shares.values()):.2f}"
            where = group.describe(worst)
            lines.append(
                _row(_title(group, name), str(len(shares)), mean, f"{shares[worst]:.2f}", where)
            )
    columns = ("suite: subject", "cells", "mean", "least", "there")
    text = f"Share of the roofline, where that is above {ROOFLINE_FROM_US:g} us"
    return _section(text, _table(columns, lines))


def _variants(subjects: Sequence[Subject], groups: Sequence[Group]) -> str:
    """What another dtype or determinism costs or brings."""
    lines = []
    for group, name in subjects:
        view = goals.View(group, name, groups)
        compared = []
        if group.variant["dtype"] != "float32":
            large = f"float32, where its roofline is above {ROOFLINE_FROM_US:g} us"
            compared += [("float32", view.against_itself(dtype="float32"))]
            compared += [(large, view.against_float32())]
        if group.variant["deterministic"] == "yes":
            compared += [("not deterministic", view.against_itself(deterministic="no"))]
        lines += [
            _row(
                _title(group, name),
                label,
                str(len(values)),
                f"{contrast.mean(values.values()):.2f}",
                f"{min(values.values()):.2f}",
            )
            for label, values in compared
            if values
        ]
    columns = ("suite: subject", "against its own", "cells", "device", "least")
    return _section("Other dtypes and settings", _table(columns, lines))


def _goals(group: Group, subject: str, groups: Sequence[Group]) -> str:
    lines = [
        _row(
            goal.text,
            goal.wanted,
            goal.measured,
            str(goal.cells),
            "yes" if goal.met else "no",
            "" if goal.met else goal.worst,
        )
        for goal in goals.of(group, subject, groups)
    ]
    columns = ("goal", "wanted", "measured", "cells", "reached", "worst")
    return _section(f"Goals of {_title(group, subject)}", _table(columns, lines))


def _worst(subjects: Sequence[Subject]) -> str:
    lines = []
    for group, name in subjects:
        speedups = group.speedups(name, FASTEST)
        lines += [
            _row(_title(group, name), f"{speedups[cell]:.2f}", group.describe(cell))
            for cell in sorted(speedups, key=speedups.__getitem__)[:WORST_CELLS]
        ]
    columns = ("suite: subject", "speed-up", "cell")
    return _section(f"Worst against the {FASTEST}, on the device", _table(columns, lines))


def _pictures(groups: Sequence[Group], drawn: Mapping[str, Sequence[Path]], folder: Path) -> str:
    plot = commands.command_line(["plot", str(folder)])
    lines = []
    for group in groups:
        made_by = [c for c in commands.of(folder) if _runs(c, group.suite)]
        lines += [f"### {group.name}", ""]
        lines += ["".join(f"    {command}\n" for command in [*made_by, plot])]
        lines += [f"![{path.stem}]({path.name})\n" for path in drawn[group.name]]
    return _section("Pictures", lines)


def _runs(command: str, suite: str) -> bool:
    return suite in command.split() or "all" in command.split()


def _title(group: Group, subject: str) -> str:
    label = f" ({group.label})" if group.label else ""
    return f"{group.suite}{label}: {subject}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines, ""]) if lines else ""


def _table(columns: Sequence[str], lines: Sequence[str]) -> list[str]:
    numbers = ("cells", "device", "least", "wall", "mean", "speed-up", "measured")
    rules = ["---:" if column in numbers else "---" for column in columns]
    return [_row(*columns), _row(*rules), *lines] if lines else []


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
