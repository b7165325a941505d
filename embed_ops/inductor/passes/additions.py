"""Rows that are looked up only to be added to other rows become a bag for each of those."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.fx import Graph, Node

from .. import _torch
from ..graph import (
    Builder,
    Size,
    args_of,
    arguments,
    calls,
    is_barrier_between,
    is_plain,
    is_tensor,
    nodes_between,
    replace,
    size_is,
    value,
)
from ..grouping import storage_of, written_to
from ..report import Finding, Report
from .base import Rewrite, findings_of, is_listed

ops = torch.ops.embed_ops

# What sorting must be worth. On a GPU it is some eight launches, whatever the size; two CPU cores
# took half of Inductor's time for bags, or less, from here on. But each row is sorted, however
# short: with rows of 4 elements they took up to twice its time.
_ELEMENTS_TO_SORT_FOR = 2**22
_WIDTH_TO_SORT_FOR = 16


@dataclass(frozen=True)
class Sorted:
    """Lookups by target: bag t is that of the numbers ``order[offsets[t] : offsets[t + 1]]``.

    Attributes:
        sources: indices in that order, for each in the model's.
    """

    targets: Node
    num_targets: Size
    order: Node
    offsets: Node
    sources: dict[Node, Node]


@dataclass(frozen=True)
class Addition:
    """node = input.index_add(0, targets, rows)

    Attributes:
        in_place: it is index_add_.
        known: what the graph has sorted before.
    """

    node: Node
    input: Node
    targets: Node
    rows: Node
    alpha: Any
    in_place: bool
    known: list[Sorted]


class Additions(Rewrite[Addition]):
    """input.index_add(0, targets, embedding(x, sources)) -> input + a bag for each target

    This is how networks on graphs add up what nodes send along edges. The lookups are sorted by
    target, once for all layers that have the same targets; then they are the bags of embedding_bag,
    and neither the rows that they name nor the gradients of those are ever written.

    An index out of range is an error, as in index_add itself. Of a target it is named by transpose
    with its position, of a source by embedding_bag with its position among the sorted ones.

    Bags made here are not grouped: such sums are too large for a launch to matter.
    """

    name = "additions"

    def find(self, graph: Graph) -> Iterator[Addition]:
        known: list[Sorted] = []
        for node in list(graph.nodes):
            addition = _index_add(node, known)
            if addition is not None and is_listed(addition.rows, ops.embedding):
                yield addition

    def findings(self, match: Addition, report: Report) -> list[Finding]:
        return findings_of(match.rows)

    def why_not(self, match: Addition) -> str | None:
        given = arguments(match.rows)
        if given["padding_idx"] >= 0 or given["scale_grad_by_freq"]:
            reason: str | None = "padding_idx or scale_grad_by_freq"
        else:
            reason = _why_not(match)
        return reason and f"not summed by target: {reason}"

    def replace(self, match: Addition) -> str:
        builder = Builder(match.node, like=match.node)
        given = arguments(match.rows)
        is_fresh = _is_fresh_zeros(match)
        later = [user for user in match.input.users if user is not match.node]
        sources, offsets = _by_target(builder, match, given["indices"])
        bag = builder.call(
            ops.embedding_bag.default,
            given["weight"],
            sources,
            offsets,
            False,
            "sum",
            None,
            True,
            -1,
        )
        total = builder.call(operator.getitem, bag, 0)
        if not is_fresh:
            # In this order the strides of the result are those of the bag, and of index_add.
            total = builder.call(torch.add, total, match.input)
        replace(match.node, total)
        if match.in_place:
            for user in later:
                user.replace_input_with(match.input, total)
        match.rows.graph.erase_node(match.rows)
        return "embedding_bag sum"


def why_left_to_index_add(rows: Node) -> str | None:
    """Why a selection of rows is better left to Inductor, because of what reads it.

    Its gather fuses with additions to other rows, forward and backward, as our gradient could not.
    None if something else reads the rows, or if :class:`Additions` can have them.
    """
    if len(rows.users) != 1:
        return None
    addition = _index_add(next(iter(rows.users)), [])
    if addition is None or addition.rows is not rows:
        return None
    reason = _why_not(addition)
    return reason and f"Inductor fuses it with index_add: {reason}"


def _index_add(node: Node, known: list[Sorted]) -> Addition | None:
    in_place = calls(node, "index_add_")
    if not in_place and not calls(node, torch.index_add, "index_add"):
        return None
    names = ("input", "dim", "index", "source")
    given: dict[str, Any] = dict(zip(names, args_of(node), strict=False)) | node.kwargs
    if any(not is_tensor(given.get(name)) for name in ("input", "index", "source")):
        return None
    into = cast(Node, given["input"])
    if given["dim"] not in (0, -value(into).dim()):
        return None
    alpha = given.get("alpha", 1)
    return Addition(node, into, given["index"], given["source"], alpha, in_place, known)


def _why_not(addition: Addition) -> str | None:
    rows = value(addition.rows)
    if len(addition.rows.users) > 1 or addition.input is addition.rows:
        return "something else reads the rows"
    if not is_plain(addition.input) or not is_plain(addition.targets):
        return "a tensor subclass or in a torch.func transform"
    if rows.dim() != 2 or value(addition.targets).dim() != 1:
        return f"rows of {rows.dim() - 1} dimensions"
    if addition.alpha != 1:
        return "alpha"
    into = value(addition.input)
    if into.dtype != rows.dtype or into.dim() != 2 or not size_is(into.shape[1], rows.shape[1]):
        return "the sum has another dtype or width"  # torch's error, once it runs
    if is_barrier_between(addition.rows, addition.node):
        return "a write or a change of mode in between"
    if addition.in_place and not _is_fresh_zeros(addition):
        return "added in place to more than fresh zeros"
    count, width = map(_torch.size_hint, rows.shape)
    if count * width < _ELEMENTS_TO_SORT_FOR or width < _WIDTH_TO_SORT_FOR:
        return f"{count} rows of {width} elements are not worth sorting"
    return None


def _is_fresh_zeros(addition: Addition) -> bool:
    """Whether the sum starts from zeros that nothing has seen before."""
    zeros = addition.input
    if not calls(zeros, torch.zeros, torch.zeros_like, "new_zeros"):
        return False
    if "requires_grad" in zeros.kwargs:
        return False
    return not any(node in zeros.users for node in nodes_between(zeros, addition.node))


def _by_target(builder: Builder, addition: Addition, sources: Node) -> tuple[Node, Node]:
    """The sources sorted by target, and the offsets of each target's; known ones, if there are."""
    lookups = _sort(builder, addition)
    ordered = lookups.sources.get(sources)
    if ordered is None or _is_stale(sources, ordered, addition.node):
        ordered = builder.call(torch.index_select, sources, 0, lookups.order)
        lookups.sources[sources] = ordered
    return ordered, lookups.offsets


def _sort(builder: Builder, addition: Addition) -> Sorted:
    """The lookups sorted by target, unless they have been.

    It is their numbers that are sorted, and not their sources: transpose would leave out a negative
    one, and no error would tell.
    """
    targets, num_targets = addition.targets, value(addition.input).shape[0]
    for known in addition.known:
        is_same = known.targets is targets and size_is(known.num_targets, num_targets)
        if is_same and not _is_stale(targets, known.offsets, addition.node):
            return known
    size = builder.size(addition.input, 0)
    numbers = builder.call(torch.arange, builder.size(targets, 0), device=value(targets).device)
    coordinates = builder.call(ops.transpose.default, targets, numbers, size)
    by_target = builder.call(operator.getitem, coordinates, 1)
    order = builder.call(operator.getitem, coordinates, 2)
    offsets = builder.call(ops.offsets_from_row_ids.default, by_target, size, True)
    result = Sorted(targets, num_targets, order, offsets, {})
    addition.known.append(result)
    return result


def _is_stale(tensor: Node, first: Node, second: Node) -> bool:
    """Whether what one node has made of a tensor may be of no use to a later one: the tensor may
    have been written to, or inference mode begins or ends in between, whose tensors autograd does
    not save."""
    between = list(nodes_between(first, second))
    changes_mode = any("inference_mode" in getattr(n.target, "__name__", "") for n in between)
    return changes_mode or storage_of(tensor) in written_to(between)
