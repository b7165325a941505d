"""Lookups that are this library's already: FastEmbedding, embed_ops.embedding_bag, the ops."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import Graph, Node

from ..conditions import why_not_lookup
from ..graph import arguments, is_op
from ..report import Finding, Report
from .base import Rewrite, new_finding

ops = torch.ops.embed_ops


class OwnLookups(Rewrite[Node]):
    """Lists them, for the rewrites that follow treat them as any other."""

    name = "own lookups"

    def find(self, graph: Graph) -> Iterator[Node]:
        for node in list(graph.nodes):
            if any(is_op(node, op) for op in (ops.embedding, ops.embedding_bag)):
                given = arguments(node)
                if why_not_lookup(given["weight"], given["indices"]) is None:
                    yield node

    def findings(self, match: Node, report: Report) -> list[Finding]:
        given = arguments(match)
        name = f"embed_ops.{_op_name(match)}"
        return [new_finding(match, name, given["weight"], given["indices"], report)]

    def why_not(self, match: Node) -> str | None:
        return None

    def replace(self, match: Node) -> str:
        return _op_name(match)


def _op_name(node: Node) -> str:
    return "embedding" if is_op(node, ops.embedding) else "embedding_bag"
