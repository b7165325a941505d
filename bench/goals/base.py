"""What a goal is, and the few forms that goals have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import contrast
from ..contrast import FASTEST, Group, Times

# "Never slower" leaves room for the scatter of two medians.
NEVER_SLOWER = 0.99
SIXTEEN_BITS = ("bfloat16", "float16")


@dataclass(frozen=True)
class Goal:
    """One line of the summary.

    Attributes:
        text: what is looked at.
        wanted, measured: in words.
        cells: how many cells that is taken over.
        met: whether the measured is as wanted.
        worst: the cell that is furthest from it, if the goal is about single cells.
    """

    text: str
    wanted: str
    measured: str
    cells: int
    met: bool
    worst: str = ""


@dataclass(frozen=True)
class View:
    """One subject in one group of rows, and the groups beside it.

    Attributes:
        everyone: all groups of the run.
    """

    group: Group
    subject: str
    everyone: Sequence[Group]

    @property
    def usual(self) -> bool:
        """Whether these are the rows that most goals are about: float32, not deterministic."""
        return not self.group.label

    @property
    def sixteen_bits(self) -> bool:
        variant = self.group.variant
        return variant["dtype"] in SIXTEEN_BITS and variant["deterministic"] == "no"

    def speedups(self, peer: str = FASTEST, metric: str = "device_us") -> Times:
        return self.group.speedups(self.subject, peer, metric)

    def times(self, metric: str = "device_us") -> Times:
        return self.group.column(self.subject, metric)

    def against_itself(self, **changed: str) -> Times:
        """The subject's time in another variant / its time here."""
        other = self.sibling(**changed)
        before = other.column(self.subject, "device_us") if other else {}
        return contrast.quotients(before, self.times())

    def against_float32(self) -> Times:
        """The same against float32, where the roofline of that is high enough."""
        other = self.sibling(dtype="float32")
        large = other.large_rooflines(self.subject) if other else {}
        return {
            cell: v for cell, v in self.against_itself(dtype="float32").items() if cell in large
        }

    def sibling(self, **changed: str) -> Group | None:
        return contrast.sibling(self.group, self.everyone, **changed)

    def mean_of(self, text: str, values: Times, least: float) -> Iterator[Goal]:
        """The geometric mean of some values; nothing if there are none."""
        if values:
            found = contrast.mean(values.values())
            yield Goal(
                f"{text}, mean", f">= {least:g}", f"{found:.2f}", len(values), found >= least
            )

    def least_of(self, text: str, values: Times, least: float) -> Iterator[Goal]:
        """The smallest of some values, and how many are too small; nothing if there are none."""
        if values:
            worst = min(values, key=values.__getitem__)
            below = sum(value < least for value in values.values())
            measured = f"{values[worst]:.2f}" + (f", {below} below" if below else "")
            where = self.group.describe(worst)
            yield Goal(f"{text}, least", f">= {least:g}", measured, len(values), not below, where)

    def never_slower(self, peer: str, values: Times) -> Iterator[Goal]:
        return self.least_of(f"against {peer}", values, NEVER_SLOWER)
