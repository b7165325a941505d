"""Two runs against each other, cell by cell."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import records
from .contrast import USUAL
from .records import Row

METRICS = ("device_us", "wall_us")
SAME = 0.05
HIDDEN = ("suite", "peer", "device")


@dataclass(frozen=True)
class Group:
    """One suite and peer: old / new of each cell measured in both, above 1 is faster now."""

    suite: str
    peer: str
    ratios: dict[str, float]
    only_old: int
    only_new: int

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return statistics.geometric_mean(self.ratios.values())


def compare(
    old: Mapping[str, Sequence[Row]], new: Mapping[str, Sequence[Row]], metric: str
) -> list[Group]:
    """The cells that both have, by suite and peer.

    Raises:
        RecordsError: they have no cell in common.
    """
    groups = []
    for suite in old:
        before, after = (_by_peer(run.get(suite, ()), metric) for run in (old, new))
        for peer in before:
            common = before[peer].keys() & after.get(peer, {}).keys()
            if not common:
                continue
            ratios = {cell: before[peer][cell] / after[peer][cell] for cell in sorted(common)}
            groups.append(
                Group(
                    suite,
                    peer,
                    ratios,
                    only_old=len(before[peer].keys() - common),
                    only_new=len(after[peer].keys() - common),
                )
            )
    if not groups:
        raise records.RecordsError("the two runs have no cell in common")
    return groups


def differs(groups: Sequence[Group], tolerance: float | None) -> bool:
    """Whether some group's geometric mean is further from 1 than that (either way)."""
    return tolerance is not None and any(not _within(group, tolerance) for group in groups)


def report(groups: Sequence[Group], worst: int, tolerance: float | None) -> str:
    """A table of geometric means and, below it, each group's slowest-grown cells."""
    limit = SAME if tolerance is None else tolerance
    lines = [
        "old / new, above 1 is faster now",
        f"{'suite':22} {'peer':22} {'cells':>6} {'geomean':>8} {'min':>7} {'max':>7}  "
        f"within {limit:.0%}",
    ]
    for group in groups:
        values = group.ratios.values()
        verdict = "yes" if _within(group, limit) else "NO"
        lines.append(
            f"{group.suite:22} {group.peer:22} {len(group.ratios):6d} {group.mean:8.3f} "
            f"{min(values):7.3f} {max(values):7.3f}  {verdict}"
        )
        if group.only_old or group.only_new:
            lines.append(f"{'':46}only in old: {group.only_old}, only in new: {group.only_new}")
    for group in groups:
        cells = sorted(group.ratios, key=group.ratios.__getitem__)[:worst]
        if cells:
            lines += ["", f"worst cells of {group.suite}, {group.peer}"]
            lines += [f"  {group.ratios[cell]:7.3f}  {cell}" for cell in cells]
    return "\n".join(lines)


def _within(group: Group, tolerance: float) -> bool:
    return 1.0 / (1.0 + tolerance) <= group.mean <= 1.0 + tolerance


def _by_peer(rows: Sequence[Row], metric: str) -> dict[str, dict[str, float]]:
    """peer -> cell -> time."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        shown = [f"{k}={v}" for k, v in records.key(row) if k not in HIDDEN and v != USUAL.get(k)]
        found.setdefault(row["peer"], {})[" ".join(shown)] = float(row[metric])
    return found
