"""F.embedding_bag, and with it nn.EmbeddingBag, becomes embed_ops.embedding_bag."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
from ..graph import Builder, arguments, calls, is_tensor, replace, value
from ..report import Finding, Report
from .base import Rewrite, findings_of, new_finding, set_findings

ops = torch.ops.embed_ops


@dataclass(frozen=True)
class Bag:
    node: Node
    given: dict[str, Any]


class Bags(Rewrite[Bag]):
    """F.embedding_bag(x, weight, ...) -> embed_ops.embedding_bag(weight, x, ...)[0]"""

    name = "bags"

    def find(self, graph: Graph) -> Iterator[Bag]:
        for node in list(graph.nodes):
            if calls(node, F.embedding_bag):
                yield Bag(node, arguments(node))

    def findings(self, match: Bag, report: Report) -> list[Finding]:
        given = match.given
        name = f"embedding_bag {given['mode']}"
        return [new_finding(match.node, name, given["weight"], given["input"], report)]

    def why_not(self, match: Bag) -> str | None:
        given = match.given
        reason = (
            why_not_options(given["max_norm"], given["sparse"])
            or why_not_lookup(given["weight"], given["input"])
            or why_not_matrix(given["weight"])
            or why_not_padding(given["padding_idx"], given["weight"])
        )
        if reason is not None:
            return reason
        if given["scale_grad_by_freq"] and given["mode"] == "max":
            return "scale_grad_by_freq with mode max"
        weights = given["per_sample_weights"]
        if is_tensor(weights) and value(weights).dtype != value(given["weight"]).dtype:
            return "per_sample_weights of another dtype"
        return None

    def replace(self, match: Bag) -> str:
        given = match.given
        builder = Builder(match.node, like=match.node)
        bag = builder.call(
            ops.embedding_bag.default,
            given["weight"],
            given["input"],
            given["offsets"],
            given["scale_grad_by_freq"],
            given["mode"],
            given["per_sample_weights"],
            given["include_last_offset"] and given["offsets"] is not None,
            padding_row(given["padding_idx"], given["weight"]),
        )
        set_findings(bag, findings_of(match.node))
        replace(match.node, builder.call(operator.getitem, bag, 0))
        return "embedding_bag"
