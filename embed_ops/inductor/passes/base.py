"""What a rewrite is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from torch._ops import OpOverloadPacket
from torch.fx import Graph, Node

from ..graph import describe, is_op, is_tensor, place
from ..report import Finding, Report

Match = TypeVar("Match")

_FINDINGS = "embed_ops_findings"
_POSITION = "embed_ops_position"


class Rewrite(ABC, Generic[Match]):
    """One rewrite of Dynamo's graph: a pattern, a precondition, a replacement, and the reason that
    it gives where it declines.

    Each place in a graph goes through :meth:`find`, :meth:`why_not` and, if there is no reason why
    not, :meth:`replace`, before the next is looked for.
    """

    name: str
    """As documentation and tests call it."""

    def __call__(self, graph: Graph, report: Report) -> None:
        """Rewrites ``graph`` in place and tells ``report``."""
        for match in self.find(graph):
            findings = self.findings(match, report)
            reason = self.why_not(match)
            if reason is None:
                became = self.replace(match)
                for finding in findings:
                    finding.became = became
            else:
                for finding in findings:
                    finding.note(reason)

    @abstractmethod
    def find(self, graph: Graph) -> Iterator[Match]:
        """The pattern: yields each place that has it."""

    @abstractmethod
    def findings(self, match: Match, report: Report) -> list[Finding]:
        """The lookups in ``match``."""

    @abstractmethod
    def why_not(self, match: Match) -> str | None:
        """The precondition: the reason for leaving ``match`` as it is, or None."""

    @abstractmethod
    def replace(self, match: Match) -> str:
        """The replacement, made in the graph. Returns what it has become."""


def new_finding(node: Node, lookup: str, table: Any, indices: Any, report: Report) -> Finding:
    """Reports the lookup that ``node`` makes."""
    looked_up, looked_in = (describe(x) if is_tensor(x) else str(x) for x in (indices, table))
    position = node.meta[_POSITION]
    finding = report.add(Finding(place(node), lookup, looked_up, looked_in, position))
    set_findings(node, [finding])
    return finding


def remember_positions(graph: Graph) -> None:
    """To be done before anything moves, so that findings can be listed in the model's order."""
    for position, node in enumerate(graph.nodes):
        node.meta[_POSITION] = position


def findings_of(node: Node) -> list[Finding]:
    """The lookups of the model that a node now makes."""
    return node.meta.get(_FINDINGS, [])


def is_listed(node: Any, op: OpOverloadPacket) -> bool:
    """Whether a node is a call of one of our ops that an earlier rewrite found or made."""
    return is_op(node, op) and bool(findings_of(node))


def set_findings(node: Node, findings: list[Finding]) -> None:
    node.meta[_FINDINGS] = findings
