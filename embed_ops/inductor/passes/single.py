"""A bag that is always a single row is that row."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, Node

from ..graph import Builder, args_of, arguments, calls, replace, size_is, value
from ..report import Finding, Report
from .base import Rewrite, findings_of, is_listed, set_findings

ops = torch.ops.embed_ops


def are_single_rows(given: dict[str, Any]) -> bool:
    """Whether each bag of these arguments of embedding_bag is one row as it stands in the table."""
    return (
        given["offsets"] is None
        and size_is(value(given["indices"]).shape[1], 1)
        and given["mode"] != "max"
        and given["per_sample_weights"] is None
        and given["padding_idx"] < 0
    )


class SingleRows(Rewrite[Node]):
    """embedding_bag(weight, x) -> embedding(weight, x[:, 0]), if x is (B, 1)

    The rows need not be written: their gather fuses with what reads them (:mod:`...gather`). And
    their gradient is added up without asking how long bags are. It comes after the bags that are
    grouped, and before the rows that may be.
    """

    name = "single rows"

    def find(self, graph: Graph) -> Iterator[Node]:
        for node in list(graph.nodes):
            if calls(node, operator.getitem) and args_of(node)[1] == 0:
                bag = args_of(node)[0]
                if is_listed(bag, ops.embedding_bag) and are_single_rows(arguments(bag)):
                    yield node

    def findings(self, match: Node, report: Report) -> list[Finding]:
        return findings_of(args_of(match)[0])

    def why_not(self, match: Node) -> str | None:
        return None

    def replace(self, match: Node) -> str:
        bag = args_of(match)[0]
        given = arguments(bag)
        builder = Builder(match, like=match)
        rows = builder.call(
            ops.embedding.default,
            given["weight"],
            builder.call(torch.select, given["indices"], 1, 0),
            given["padding_idx"],
            given["scale_grad_by_freq"],
        )
        set_findings(rows, findings_of(bag))
        replace(match, rows)
        return "embedding"
