"""Lookups in several tables become one: multi_embedding_list."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from .. import _torch
from ..csr import flat, offsets_of_all, one_after_the_other
from ..graph import Builder, args_of, arguments, calls, is_tensor, size_is, value
from ..grouping import (
    gather_inputs,
    groups,
    hand_out,
    order_by_cat,
    share_cat,
    storage_of,
    why_not_together,
    written_to,
)
from ..report import Finding, Report
from .base import Rewrite, findings_of, is_listed, set_findings
from .single import are_single_rows

ops = torch.ops.embed_ops

Group = list[Node]

# What a GPU writes and reads again in the time of a launch forward and one backward.
_ELEMENTS_FOR_A_LAUNCH = 2**20


class Tables(Rewrite[Group]):
    """n independent lookups -> multi_embedding_list, one launch forward and one backward

    A torch.cat of all of them along the last dimension disappears: the op writes its result.
    """

    def find(self, graph: Graph) -> Iterator[Group]:
        found = self._groups(graph)
        self._note_those_alone(graph, found)
        seen: set[Node] = set()
        while fresh := next((g for g in found if len(g) > 1 and not seen & set(g)), None):
            seen |= set(fresh)
            yield fresh
            found = self._groups(graph)

    def findings(self, match: Group, report: Report) -> list[Finding]:
        return self._findings(match)

    def why_not(self, match: Group) -> str | None:
        reason = why_not_together(match)
        return reason and f"not grouped: {reason}"

    def replace(self, match: Group) -> str:
        members = order_by_cat(match)
        lookups = [self.lookup(node) for node in members]
        builder = Builder(gather_inputs(match), like=members[0])
        given = [arguments(lookup) for lookup in lookups]
        together = self.together(builder, [g["weight"] for g in given], given)
        set_findings(together, self._findings(members))
        hand_out(builder, together, members)
        for lookup in lookups:
            if lookup not in members:
                for user in list(lookup.users):
                    user.graph.erase_node(user)
                lookup.graph.erase_node(lookup)
        return f"multi_embedding_list of {len(members)}"

    def _groups(self, graph: Graph) -> list[Group]:
        return [self.select(group) for group in self._possible_groups(graph)]

    def _possible_groups(self, graph: Graph) -> list[Group]:
        written = written_to(graph.nodes)
        candidates = [
            node
            for node in graph.nodes
            if self.is_lookup(node)
            and self.why_alone(node) is None
            and storage_of(node) not in written
        ]
        return groups(graph, candidates, self.key)

    def _note_those_alone(self, graph: Graph, found: list[Group]) -> None:
        lookups = [node for node in graph.nodes if self.is_lookup(node)]
        if len(lookups) < 2:
            return
        possible = {node for g in self._possible_groups(graph) if len(g) > 1 for node in g}
        grouped = {node for group in found if len(group) > 1 for node in group}
        for node in lookups:
            if node in grouped:
                continue
            reason = "fuses better alone" if node in possible else "no other like it"
            for finding in findings_of(self.lookup(node)):
                finding.note(f"not grouped: {self.why_alone(node) or reason}")

    def _findings(self, group: Group) -> list[Finding]:
        return [finding for node in group for finding in findings_of(self.lookup(node))]

    @abstractmethod
    def is_lookup(self, node: Node) -> bool:
        """Whether a node's value is what a lookup of this kind gives."""

    @abstractmethod
    def why_alone(self, node: Node) -> str | None:
        """Why a lookup cannot be one of any group."""

    @abstractmethod
    def lookup(self, node: Node) -> Node:
        """The call of the op that a candidate is the value of."""

    @abstractmethod
    def key(self, node: Node) -> Hashable:
        """What the lookups of a group have in common."""

    def select(self, group: Group) -> Group:
        """Those of a group for which it pays."""
        return group

    @abstractmethod
    def together(self, builder: Builder, tables: list[Node], given: list[dict[str, Any]]) -> Node:
        """Builds the call that replaces lookups of these tables with these arguments."""


class TablesOfBags(Tables):
    """Bags: fixed hotness and offsets, of any lengths, side by side.

    Where every bag is a single row, as in a recommender of one category for each table, rows are
    copied: neither offsets nor a mode are needed, forward or backward.
    """

    name = "tables of bags"

    def is_lookup(self, node: Node) -> bool:
        return (
            calls(node, operator.getitem)
            and is_listed(args_of(node)[0], ops.embedding_bag)
            and args_of(node)[1] == 0
        )

    def why_alone(self, node: Node) -> str | None:
        bag = self.lookup(node)
        given = arguments(bag)
        if given["mode"] == "max":
            return "mode max"
        if any(user is not node and user.users for user in bag.users):
            return "something reads its argmax"
        if given["offsets"] is not None and size_is(value(given["offsets"]).shape[0], 0):
            return "no offsets"
        return _why_alone(node, given)

    def lookup(self, node: Node) -> Node:
        return args_of(node)[0]

    def key(self, node: Node) -> Hashable:
        given = arguments(self.lookup(node))
        return *_common(node), given["mode"], given["per_sample_weights"] is None

    def together(self, builder: Builder, tables: list[Node], given: list[dict[str, Any]]) -> Node:
        indices = [g["indices"] for g in given]
        if all(map(are_single_rows, given)):
            matrix = _columns(builder, indices)
            if matrix is None:
                matrix = builder.call(torch.cat, indices, 1)
            return builder.call(ops.multi_embedding_list.default, tables, matrix)
        weighted = given[0]["per_sample_weights"] is not None
        return builder.call(
            ops.multi_embedding_list.default,
            tables,
            one_after_the_other(builder, indices),
            offsets_of_all(builder, given),
            given[0]["mode"],
            one_after_the_other(builder, [g["per_sample_weights"] for g in given])
            if weighted
            else None,
        )


class TablesOfRows(Tables):
    """Single rows, where a torch.cat puts them side by side, or where there are few.

    Else each is left to Inductor's gather, which fuses with what reads it: the words and positions
    of a language model, the nodes at the ends of a graph's edges.
    """

    name = "tables of rows"

    def is_lookup(self, node: Node) -> bool:
        return is_listed(node, ops.embedding)

    def why_alone(self, node: Node) -> str | None:
        if value(node).dim() == 1:
            return "a single index"
        return _why_alone(node, arguments(node))

    def lookup(self, node: Node) -> Node:
        return node

    def key(self, node: Node) -> Hashable:
        return _common(node)

    def select(self, group: Group) -> Group:
        # Of each table one: the gradient of every further lookup would be another whole table.
        tables = [arguments(node)["weight"] for node in group]
        firsts = [
            node for number, node in enumerate(group) if tables.index(tables[number]) == number
        ]
        return firsts if _are_few(firsts) else share_cat(firsts)

    def together(self, builder: Builder, tables: list[Node], given: list[dict[str, Any]]) -> Node:
        indices = [g["indices"] for g in given]
        shape = [builder.size(indices[0], dim) for dim in range(value(indices[0]).dim())]
        matrix = _columns(builder, indices)
        if matrix is None:
            matrix = builder.call(torch.stack, [flat(builder, each) for each in indices], 1)
        rows = builder.call(ops.multi_embedding_list.default, tables, matrix)
        return rows if len(shape) == 1 else builder.call(torch.unflatten, rows, 0, shape)


def _are_few(group: Group) -> bool:
    """Whether the launches that a group saves weigh more than writing the rows and reading them."""
    tensor = value(group[0])
    if tensor.dim() > 2:
        return False
    rows = _torch.size_hint(tensor.shape[0])
    elements = rows * sum(value(node).shape[1] for node in group)
    return elements <= _ELEMENTS_FOR_A_LAUNCH * (len(group) - 1)


def _common(node: Node) -> tuple[Hashable, ...]:
    """Tables without a gradient are a group of their own: none is computed for them."""
    tensor: Tensor = value(node)
    return tensor.dtype, tensor.device, tensor.requires_grad


def _why_alone(node: Node, given: dict[str, Any]) -> str | None:
    if given["padding_idx"] >= 0:
        return "padding_idx"
    if given["scale_grad_by_freq"]:
        return "scale_grad_by_freq"
    width = value(node).shape[-1]
    if not isinstance(width, int) or width == 0:
        return f"rows of {width} elements"
    return None


def _columns(builder: Builder, indices: list[Node]) -> Node | None:
    """The matrix of which these are neighbouring columns in order, x[:, 0], x[:, 1], ..., if so."""
    found = [_column(node) for node in indices]
    matrix, first = found[0]
    if matrix is None or found != [(matrix, first + number) for number in range(len(found))]:
        return None
    if len(found) == value(matrix).shape[1]:
        return matrix
    return builder.call(torch.narrow, matrix, 1, first, len(found))


def _column(node: Node) -> tuple[Node | None, int]:
    """Of which matrix this is which column, written x[:, t] or x[:, t : t + 1]; None if of none."""
    none = None, 0
    if not calls(node, operator.getitem):
        return none
    matrix, index = args_of(node)
    if not is_tensor(matrix) or value(matrix).dim() != 2:
        return none
    if not isinstance(index, tuple) or len(index) != 2 or index[0] not in (slice(None), ...):
        return none
    width, column = value(matrix).shape[1], index[1]
    if not isinstance(width, int):
        return none
    if isinstance(column, int):
        return matrix, column % width
    if isinstance(column, slice) and size_is(value(node).shape[1], 1):
        bounds = column.start, column.stop, column.step
        if all(bound is None or isinstance(bound, int) for bound in bounds):
            return matrix, column.indices(width)[0]
    return none
