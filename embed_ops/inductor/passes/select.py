"""index_select and x[index] along the first dimension become embed_ops.embedding."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Graph, Node

from ..conditions import why_not_lookup
from ..graph import Builder, args_of, calls, is_tensor, replace, value
from ..report import Finding, Report
from .additions import why_left_to_index_add
from .base import Rewrite, findings_of, new_finding, set_findings

ops = torch.ops.embed_ops


@dataclass(frozen=True)
class Selection:
    node: Node
    table: Node
    indices: Node
    wraps: bool
    """Whether negative indices count from the end, as in x[index]."""


class Select(Rewrite[Selection]):
    """x.index_select(0, i), x[i] -> embed_ops.embedding(x, i)

    Negative indices of x[i] are made to count from the end first; where it has no gradient there is
    nothing to win, and it stays. So does what is only added to other rows, unless that becomes bags
    (:class:`.additions.Additions`). What lies behind the first dimension of x is flattened if that
    copies nothing.
    """

    name = "select"

    def find(self, graph: Graph) -> Iterator[Selection]:
        for node in list(graph.nodes):
            selection = _index_select(node) or _getitem(node)
            if selection is not None:
                yield selection

    def findings(self, match: Selection, report: Report) -> list[Finding]:
        lookup = "x[index]" if match.wraps else "index_select"
        return [new_finding(match.node, lookup, match.table, match.indices, report)]

    def why_not(self, match: Selection) -> str | None:
        reason = why_not_lookup(match.table, match.indices)
        if reason is not None:
            return reason
        if value(match.table).dim() < 2:
            return "the table has 1 dimension"
        if value(match.indices).dim() == 0:
            return "the index is a single number"
        if match.wraps and not value(match.node).requires_grad:
            return "no gradient: Inductor's gather"
        if value(match.table).dim() > 2 and not _flattens(value(match.table)):
            return "flattening the table's rows would copy it"
        return why_left_to_index_add(match.node)

    def replace(self, match: Selection) -> str:
        builder = Builder(match.node, like=match.node)
        table, indices = match.table, match.indices
        if match.wraps:
            rows = builder.size(table, 0)
            from_end = builder.call(torch.add, indices, rows)
            negative = builder.call(torch.lt, indices, 0)
            indices = builder.call(torch.where, negative, from_end, indices)
        row_shape = value(table).shape[1:]
        if len(row_shape) > 1:
            table = builder.call(torch.flatten, table, 1)
        found = builder.call(ops.embedding.default, table, indices)
        set_findings(found, findings_of(match.node))
        if len(row_shape) > 1:
            found = builder.call(torch.unflatten, found, -1, tuple(row_shape))
        replace(match.node, found)
        return "embedding"


def _index_select(node: Node) -> Selection | None:
    if not calls(node, torch.index_select, "index_select"):
        return None
    names = ("input", "dim", "index")
    given: dict[str, Any] = dict(zip(names, args_of(node), strict=False)) | node.kwargs
    table, dim, index = (given.get(name) for name in names)
    if not is_tensor(table) or dim not in (0, -value(table).dim()):
        return None
    return Selection(node, cast(Node, table), cast(Node, index), wraps=False)


def _getitem(node: Node) -> Selection | None:
    """x[i], x[i, :], x[i, ...] with a tensor i of integers."""
    if not calls(node, operator.getitem) or not is_tensor(args_of(node)[0]):
        return None
    table, index = args_of(node)
    first, *rest = index if isinstance(index, tuple | list) else (index,)
    if any(part not in (slice(None), ...) for part in rest) or not is_tensor(first):
        return None
    if value(first).dtype in (torch.bool, torch.uint8):
        return None  # a mask, not a list of rows
    return Selection(node, table, first, wraps=True)


def _flattens(table: Tensor) -> bool:
    if not all(isinstance(size, int) for size in table.shape[1:]):
        return False
    try:
        table.view(table.shape[0], -1)
    except (RuntimeError, ValueError):  # which of them depends on the release
        return False
    return True
