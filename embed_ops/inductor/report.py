"""What was found in a graph and what became of it: the lines of explain() and of the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

logger = logging.getLogger("embed_ops")

UNCHANGED = "unchanged"
_HEADINGS = ("where", "lookup", "indices", "table", "became", "notes")


@dataclass(eq=False)
class Finding:
    """One lookup of a graph.

    Attributes:
        where: the module's path, or the line of the model's source.
        lookup: how the model wrote it.
        indices, table: dtype and shape.
        became: this library's op that is computed instead.
        notes: why not more became of it.
        position: where in the graph it stood, to be listed in that order.
    """

    where: str
    lookup: str
    indices: str
    table: str
    position: int
    became: str = UNCHANGED
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def cells(self) -> tuple[str, ...]:
        notes = "; ".join(self.notes)
        return self.where, self.lookup, self.indices, self.table, self.became, notes

    def __str__(self) -> str:
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return (
            f"{self.where}: {self.lookup} of {self.indices} in {self.table}: {self.became}{notes}"
        )


class Report:
    """The lookups of a graph; prints as a table."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> Finding:
        self.findings.append(finding)
        return finding

    def sort(self) -> None:
        """Puts the findings into the order of the model."""
        self.findings.sort(key=lambda finding: finding.position)

    def log(self) -> None:
        """A line for each lookup, at level INFO of the logger ``embed_ops``."""
        for finding in self.findings:
            logger.info("%s", finding)

    def __str__(self) -> str:
        if not self.findings:
            return "no lookups found"
        rows = [_HEADINGS, *(finding.cells() for finding in self.findings)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
