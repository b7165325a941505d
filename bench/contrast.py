"""One peer against the others, within one run: what the summary and the pictures are made of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import records
from .records import Row

OURS = "embed_ops"
FASTEST = "fastest other"
VARIANT = ("device", "dtype", "index_dtype", "deterministic", "shapes")
USUAL = {"dtype": "float32", "index_dtype": "int64", "deterministic": "no", "shapes": "dynamic"}
# Below it launches and latencies take a share of the time that bytes do not explain.
ROOFLINE_FROM_US = 40.0

CellKey = tuple[str, ...]
Times = dict[CellKey, float]
# Of an axis: a word, a number, or a condition on the number.
Wanted = str | float | Callable[[float], bool]


@dataclass(frozen=True)
class Group:
    """The rows of one suite that differ in peer and axes only.

    Attributes:
        variant: what else they have in common, by the names of :data:`VARIANT`.
        axes: the suite's.
        rows: all of them.
    """

    suite: str
    variant: Mapping[str, str]
    axes: list[str]
    rows: list[Row]

    @property
    def label(self) -> str:
        """What is unusual about them ("bfloat16", say), "" if nothing is."""
        return variant_label(self.variant)

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.suite}_{self.label}".rstrip("_").replace(" ", "_")

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

    def column(self, peer: str, name: str) -> Times:
        """cell -> a column of numbers, where it has one."""
        found = ((self.cell(r), r.get(name)) for r in self.rows if r["peer"] == peer)
        return {cell: float(value) for cell, value in found if value}

    def others(self, subject: str) -> list[str]:
        """Who the subject is compared with: everybody but us."""
        return [p for p in self.peers() if p != subject and not p.startswith(OURS)]

    def opponents(self, subject: str) -> list[str]:
        """The others and, where there are several, the fastest of them in each cell."""
        others = self.others(subject)
        return [*others, FASTEST] if len(others) > 1 else others

    def baseline(self, peer: str, subject: str, metric: str) -> Times:
        """The times of a peer; for :data:`FASTEST`, each cell's least time of the others."""
        if peer != FASTEST:
            return self.column(peer, metric)
        best: Times = {}
        for other in self.others(subject):
            for cell, time in self.column(other, metric).items():
                best[cell] = min(time, best.get(cell, time))
        return best

    def speedups(self, subject: str, peer: str, metric: str = "device_us") -> Times:
        """cell -> time of the peer / time of the subject, where both have one."""
        return quotients(self.baseline(peer, subject, metric), self.column(subject, metric))

    def roofline_shares(self, subject: str) -> Times:
        """cell -> roofline / time, where the roofline is high enough to mean something."""
        rooflines = self.large_rooflines(subject)
        return quotients(rooflines, self.column(subject, "device_us"))

    def large_rooflines(self, subject: str) -> Times:
        rooflines = self.column(subject, "roofline_us")
        return {cell: us for cell, us in rooflines.items() if us > ROOFLINE_FROM_US}

    def only(self, times: Times, **wanted: Wanted) -> Times:
        """The cells whose axes have the wanted values."""

        def fits(cell: CellKey) -> bool:
            found = dict(zip(self.axes, cell, strict=True))
            return all(_is(found[name], value) for name, value in wanted.items())

        return {cell: time for cell, time in times.items() if fits(cell)}

    def across(self, times: Times, axis: str, over: str, under: str) -> Times:
        """cell at ``under`` of an axis -> the value at ``over`` of that axis / the value there."""
        place = self.axes.index(axis)
        chosen = self.only(times, **{axis: over}).items()
        moved = {(*cell[:place], under, *cell[place + 1 :]): time for cell, time in chosen}
        return quotients(moved, times)

    def describe(self, cell: CellKey) -> str:
        return " ".join(f"{name}={value}" for name, value in zip(self.axes, cell, strict=True))


def groups(rows_by_suite: Mapping[str, Sequence[Row]]) -> list[Group]:
    """The rows by suite, device, dtypes and settings."""
    found: list[Group] = []
    for suite, rows in rows_by_suite.items():
        by_variant: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            by_variant.setdefault(tuple(row[name] for name in VARIANT), []).append(row)
        for values, members in by_variant.items():
            variant = dict(zip(VARIANT, values, strict=True))
            found.append(Group(suite, variant, records.axes_of(members), members))
    return found


def sibling(group: Group, everyone: Iterable[Group], **changed: str) -> Group | None:
    """The same suite's rows of another dtype, say; None where there are none."""
    variant = {**group.variant, **changed}
    return next((g for g in everyone if g.suite == group.suite and g.variant == variant), None)


def variant_label(variant: Mapping[str, str]) -> str:
    """What is unusual about it, in words; "" if nothing is."""
    unusual = [variant[name] for name in ("dtype", "index_dtype") if variant[name] != USUAL[name]]
    unusual += ["deterministic"] if variant["deterministic"] == "yes" else []
    unusual += ["static shapes"] if variant["shapes"] == "static" else []
    return " ".join(unusual)


def _is(found: str, wanted: Wanted) -> bool:
    if isinstance(wanted, str):
        return found == wanted
    return wanted(float(found)) if callable(wanted) else float(found) == wanted


def quotients(over: Times, under: Times) -> Times:
    """cell -> over / under, where both have one."""
    return {cell: time / under[cell] for cell, time in over.items() if cell in under}


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    return statistics.geometric_mean(values)
