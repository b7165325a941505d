"""One page that says how fast we are: geometric means as Markdown, and as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import contrast, plot
from .contrast import FASTEST, Group, Times
from .records import Row
from .suites import SUITES

LARGE = 4096
ROOFLINE_FROM_US = 40.0
WORST_CELLS = 3


def write(rows: Mapping[str, Sequence[Row]], folder: Path, subject: str | None) -> list[Path]:
    """Writes ``summary.md`` and ``summary.svg`` into the folder; returns their paths."""
    found = contrast.groups(rows)
    page, picture = folder / "summary.md", folder / "summary.svg"
    parts = [_head([row for group in found for row in group.rows])]
    for group in found:
        parts += [_section(group, name) for name in group.subjects(subject)]
    page.write_text("\n".join(parts))
    plot.draw_means(found, picture, subject)
    return [page, picture]


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
idle device to an idle device. "fastest other" takes, in each cell, the fastest peer not ours.
"""


def _section(group: Group, subject: str) -> str:
    title = f"## {group.suite}: {subject}"
    if group.label:
        title += f" ({group.label.replace('_', ' ')})"
    known = SUITES.get(group.suite)
    lines = [title, "", known.title if known else "", ""]
    lines += _speedup_table(group, subject, known.quantity if known else None)
    lines += _roofline(group, subject)
    lines += _worst(group, subject)
    return "\n".join(lines) + "\n"


def _speedup_table(group: Group, subject: str, quantity: str | None) -> list[str]:
    others = group.others(subject)
    if not others:
        return ["Nobody to compare with.", ""]
    lines = [
        "| against | cells | device, mean | device, least | wall, mean | wall, least |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for peer in [*others, FASTEST] if len(others) > 1 else others:
        device, wall = (group.speedups(subject, peer, m) for m in ("device_us", "wall_us"))
        if not device:
            continue
        lines.append(_table_row(peer, device, wall))
        large = _large(group, device, quantity)
        if large and len(large) < len(device):
            label = f"{peer}, {quantity} >= {LARGE}"
            lines.append(_table_row(label, large, {c: wall[c] for c in large}))
    return [*lines, ""]


def _table_row(label: str, device: Times, wall: Times) -> str:
    numbers = [
        f"{value:.2f}"
        for times in (device, wall)
        for value in (contrast.mean(times.values()), min(times.values()))
    ]
    return f"| {label} | {len(device)} | {' | '.join(numbers)} |"


def _large(group: Group, times: Times, quantity: str | None) -> Times:
    if quantity is None or quantity not in group.axes:
        return {}
    position = group.axes.index(quantity)
    return {cell: time for cell, time in times.items() if float(cell[position]) >= LARGE}


def _roofline(group: Group, subject: str) -> list[str]:
    shares = {
        group.cell(row): float(row["roofline_us"]) / float(row["device_us"])
        for row in group.rows
        if row["peer"] == subject
        and row["roofline_us"]
        and float(row["roofline_us"]) > ROOFLINE_FROM_US
    }
    if not shares:
        return []
    least = min(shares, key=shares.__getitem__)
    return [
        f"Share of the roofline where it is above {ROOFLINE_FROM_US:g} us ({len(shares)} cells): "
        f"mean {contrast.mean(shares.values()):.2f}, least {shares[least]:.2f} "
        f"({group.describe(least)}).",
        "",
    ]


def _worst(group: Group, subject: str) -> list[str]:
    speedups = group.speedups(subject, FASTEST, "device_us")
    cells = sorted(speedups, key=speedups.__getitem__)[:WORST_CELLS]
    if not cells:
        return []
    listed = [f"- {speedups[cell]:.2f}: {group.describe(cell)}" for cell in cells]
    return ["Against the fastest other, on the device, worst:", "", *listed, ""]
