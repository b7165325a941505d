"""What the user reads when a suite has been run."""

from __future__ import annotations

from collections.abc import Iterator

from . import contrast
from .contrast import Group
from .run import Outcome

ERRORS_SHOWN = 10
# Of so few rows each is shown.
ROWS_SHOWN = 24


def of_run(outcome: Outcome) -> str:
    """Times and speed-ups, where the run's own time went, what was left out, what failed."""
    seconds = sum(outcome.watch.seconds.values())
    lines = [f"{outcome.path}: {len(outcome.rows)} new rows in {seconds:.0f} s"]
    groups = contrast.groups({outcome.path.stem: outcome.rows})
    for group in groups:
        if len(outcome.rows) <= ROWS_SHOWN:
            lines += _rows(group)
        lines += _means(group)
    if outcome.rows:
        lines.append(f"  a row takes {outcome.watch.per_row(len(outcome.rows))}")
    for peer, count in outcome.compilations.items():
        plural = "" if count == 1 else "s"
        lines.append(f"  {peer}: {count} compilation{plural}, {outcome.compilation_s[peer]:.1f} s")
    lines += [f"  note ({count} x): {note}" for note, count in outcome.notes.items()]
    lines += [f"  error: {error}" for error in outcome.errors[:ERRORS_SHOWN]]
    if len(outcome.errors) > ERRORS_SHOWN:
        rest = len(outcome.errors) - ERRORS_SHOWN
        lines.append(f"  and {rest} more errors, in {outcome.path.stem}.errors.csv")
    return "\n".join(lines)


def _rows(group: Group) -> Iterator[str]:
    """Cell by cell, each peer's times and what share of the roofline they are."""
    cell = None
    for row in group.rows:
        if group.cell(row) != cell:
            cell = group.cell(row)
            yield "  " + " ".join(filter(None, (group.describe(cell), group.label)))
        text = f"    {row['peer']:22} {row['device_us']} us "
        text += f"[{row['device_p20_us']}, {row['device_p80_us']}], wall {row['wall_us']} us"
        if "roofline_us" in row:
            text += f", roofline {row['roofline_us']} us"
        yield text


def _means(group: Group) -> Iterator[str]:
    label = f" ({group.label})" if group.label else ""
    for subject in group.subjects():
        for peer in group.opponents(subject):
            device, wall = (group.speedups(subject, peer, m) for m in ("device_us", "wall_us"))
            if device:
                yield (
                    f"  {subject}{label} against {peer}: "
                    f"{contrast.mean(device.values()):.2f} x as fast on the device, "
                    f"{contrast.mean(wall.values()):.2f} x in wall time ({len(device)} cells)"
                )
