"""F.embedding, and with it nn.Embedding, becomes embed_ops.embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Graph, Node
from torch.nn import functional as F

from ..conditions import (
    padding_row,
    why_not_lookup,
    why_not_matrix,
    why_not_options,
    why_not_padding,
)
from ..graph import arguments, calls
from ..report import Finding, Report
from .base import Rewrite, new_finding

ops = torch.ops.embed_ops


@dataclass(frozen=True)
class Lookup:
    node: Node
    table: Node
    indices: Node
    padding_idx: int | None
    scale_grad_by_freq: bool
    max_norm: float | None
    sparse: bool


class Rows(Rewrite[Lookup]):
    """F.embedding(x, weight) -> embed_ops.embedding(weight, x)

    A table that gets no gradient is looked up by our op too: its forward is Inductor's gather
    (:mod:`...gather`), only without wrapping negative indices.
    """

    name = "rows"

    def find(self, graph: Graph) -> Iterator[Lookup]:
        for node in list(graph.nodes):
            if calls(node, F.embedding):
                given = arguments(node)
                yield Lookup(
                    node,
                    given["weight"],
                    given["input"],
                    given["padding_idx"],
                    given["scale_grad_by_freq"],
                    given["max_norm"],
                    given["sparse"],
                )

    def findings(self, match: Lookup, report: Report) -> list[Finding]:
        return [new_finding(match.node, "embedding", match.table, match.indices, report)]

    def why_not(self, match: Lookup) -> str | None:
        return (
            why_not_options(match.max_norm, match.sparse)
            or why_not_lookup(match.table, match.indices)
            or why_not_matrix(match.table)
            or why_not_padding(match.padding_idx, match.table)
        )

    def replace(self, match: Lookup) -> str:
        node = match.node
        node.target = ops.embedding.default
        padding = padding_row(match.padding_idx, match.table)
        node.args = (match.table, match.indices, padding, match.scale_grad_by_freq)
        node.kwargs = {}
        return "embedding"
