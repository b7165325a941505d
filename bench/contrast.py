"""One peer against the others, within one run: what the summary and the pictures are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import records
from .records import Row

OURS = "embed_ops"
FASTEST = "fastest other"
VARIANT = ("device", "dtype", "index_dtype", "deterministic", "shapes")
USUAL = {"dtype": "float32", "index_dtype": "int64", "deterministic": "no", "shapes": "dynamic"}

CellKey = tuple[str, ...]
Times = dict[CellKey, float]


@dataclass(frozen=True)
class Group:
    """The rows of one suite that differ in peer and axes only.

    Attributes:
        label: what is unusual about them ("bfloat16", say), "" if nothing is.
        axes: the suite's.
        rows: all of them.
    """

    suite: str
    label: str
    axes: list[str]
    rows: list[Row]

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.suite}_{self.label}".rstrip("_")

    def cell(self, row: Row) -> CellKey:
        return tuple(row[axis] for axis in self.axes)

    def peers(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(row["peer"] for row in self.rows))

    def subjects(self, wanted: str | None = None) -> list[str]:
        """The peers to compare with the others: the wanted one, else ours, else the first."""
        present = self.peers()
        if wanted is not None:
            return [peer for peer in present if peer == wanted]
        return [peer for peer in present if peer.startswith(OURS)] or present[:1]

    def times(self, peer: str, metric: str) -> Times:
        """cell -> microseconds."""
        return {self.cell(r): float(r[metric]) for r in self.rows if r["peer"] == peer}

    def others(self, subject: str) -> list[str]:
        """Who the subject is compared with: everybody but us."""
        return [p for p in self.peers() if p != subject and not p.startswith(OURS)]

    def baseline(self, peer: str, subject: str, metric: str) -> Times:
        """The times of a peer; for :data:`FASTEST`, each cell's least time of the others."""
        if peer != FASTEST:
            return self.times(peer, metric)
        best: Times = {}
        for other in self.others(subject):
            for cell, time in self.times(other, metric).items():
                best[cell] = min(time, best.get(cell, time))
        return best

    def speedups(self, subject: str, peer: str, metric: str) -> Times:
        """cell -> time of the peer / time of the subject, where both have one."""
        ours, theirs = self.times(subject, metric), self.baseline(peer, subject, metric)
        return {cell: theirs[cell] / time for cell, time in ours.items() if cell in theirs}

    def describe(self, cell: CellKey) -> str:
        return " ".join(f"{name}={value}" for name, value in zip(self.axes, cell, strict=True))


def groups(rows_by_suite: Mapping[str, Sequence[Row]]) -> list[Group]:
    """The rows by suite, device, dtypes and settings."""
    found: list[Group] = []
    for suite, rows in rows_by_suite.items():
        by_variant: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            by_variant.setdefault(tuple(row[name] for name in VARIANT), []).append(row)
        for variant, members in by_variant.items():
            found.append(Group(suite, _label(variant), records.axes_of(members), members))
    return found


def _label(variant: tuple[str, ...]) -> str:
    named = dict(zip(VARIANT, variant, strict=True))
    unusual = [named[name] for name in ("dtype", "index_dtype") if named[name] != USUAL[name]]
    unusual += ["deterministic"] if named["deterministic"] == "yes" else []
    unusual += ["static_shapes"] if named["shapes"] == "static" else []
    return "_".join(unusual)


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    return statistics.geometric_mean(values)
