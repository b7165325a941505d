"""Two runs against each other, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import contrast, records
from .contrast import Group, Times
from .records import Row

METRICS = ("device_us", "wall_us")
TOLERANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """One peer in one suite and variant: old / new of each cell measured in both, above 1 is faster
    now.

    Attributes:
        group: of the new run.
        commits: of the old and of the new rows; None where they have several, or changes beside.
    """

    group: Group
    peer: str
    ratios: Times
    only_old: int
    only_new: int
    commits: tuple[str | None, str | None]

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return contrast.mean(self.ratios.values())

    @property
    def name(self) -> str:
        return _name(self.group, self.peer)

    @property
    def same_commit(self) -> bool:
        return self.commits[0] is not None and self.commits[0] == self.commits[1]

    def agrees(self, tolerance: float) -> bool:
        return _within(self.mean, tolerance)


def compare(
    old: Mapping[str, Sequence[Row]], new: Mapping[str, Sequence[Row]], metric: str
) -> list[Comparison]:
    """What both have, by suite, variant and peer.

    Raises:
        RecordsError: they have no cell in common.
    """
    before = contrast.groups(old)
    found = []
    for group in contrast.groups(new):
        earlier = contrast.sibling(group, before)
        for peer in group.peers() if earlier else ():
            assert earlier is not None
            times = earlier.column(peer, metric), group.column(peer, metric)
            ratios = contrast.quotients(*times)
            if ratios:
                only = [len(part) - len(ratios) for part in times]
                commits = _commit(earlier, peer), _commit(group, peer)
                found.append(Comparison(group, peer, ratios, only[0], only[1], commits))
    if not found:
        raise records.RecordsError("the two runs have no cell in common")
    return found


def alone(run: Mapping[str, Sequence[Row]], other: Mapping[str, Sequence[Row]]) -> list[str]:
    """What one run has and the other has not: suites, variants and peers."""
    names = [
        {_name(group, peer): None for group in contrast.groups(rows) for peer in group.peers()}
        for rows in (run, other)
    ]
    return [name for name in names[0] if name not in names[1]]


def differs(comparisons: Sequence[Comparison], tolerance: float | None) -> bool:
    """Whether some geometric mean is further from 1 than that, either way.

    Without a tolerance, only two runs of the same commit have to agree, within :data:`TOLERANCE`.
    """
    return any(
        not c.agrees(TOLERANCE if tolerance is None else tolerance)
        for c in comparisons
        if tolerance is not None or c.same_commit
    )


def report(comparisons: Sequence[Comparison], worst: int, tolerance: float | None) -> str:
    """A line for each comparison and, below, the cells that became slowest."""
    limit = TOLERANCE if tolerance is None else tolerance
    lines = ["old / new, above 1 is faster now", ""]
    lines += [_line(comparison, limit) for comparison in comparisons]
    for comparison in comparisons:
        cells = sorted(comparison.ratios, key=comparison.ratios.__getitem__)[:worst]
        if cells:
            lines += ["", f"worst cells of {comparison.name}"]
            lines += [
                f"  {comparison.ratios[cell]:7.3f}  {comparison.group.describe(cell)}"
                for cell in cells
            ]
    return "\n".join(lines)


def _line(comparison: Comparison, limit: float) -> str:
    values = comparison.ratios.values()
    who = "two runs"
    if comparison.same_commit:
        who = f"two runs of commit {comparison.commits[0]}"
    elif None not in comparison.commits:
        who = "commits {} and {}".format(*comparison.commits)
    verdict = "agree" if comparison.agrees(limit) else "do NOT agree"
    close = sum(_within(value, limit) for value in values)
    text = (
        f"{comparison.name}: {who} {verdict} within {limit:.0%} in geometric mean: "
        f"{comparison.mean:.3f} over {len(values)} cells, "
        f"{close} of them within {limit:.0%}, {min(values):.3f} to {max(values):.3f}"
    )
    if comparison.only_old or comparison.only_new:
        text += f"; only in old: {comparison.only_old}, only in new: {comparison.only_new}"
    return text


def _name(group: Group, peer: str) -> str:
    return ", ".join(filter(None, (group.suite, group.label, peer)))


def _within(ratio: float, tolerance: float) -> bool:
    return 1.0 / (1.0 + tolerance) <= ratio <= 1.0 + tolerance


def _commit(group: Group, peer: str) -> str | None:
    rows = [row for row in group.rows if row["peer"] == peer]
    commits = {row["commit"] for row in rows}
    clean = all(row["dirty"] == "no" for row in rows)
    known = clean and len(commits) == 1 and "unknown" not in commits
    return commits.pop() if known else None
