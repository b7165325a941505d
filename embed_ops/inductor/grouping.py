"""Putting calls that do not need each other into one call: which may, where it goes, who reads it.

A group is computed where the first of its results is needed. What the others' inputs still need is
moved up to there, if nothing on the way forbids (:func:`.graph.is_barrier`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Sequence

import torch
from torch.fx import Graph, Node

from .graph import Builder, args_of, calls, is_barrier, is_plain, replace, size_is, value

_RANDOM = ("rand", "bernoulli", "multinomial", "dropout", "normal", "exponential", "poisson")
_CAT = (torch.cat, torch.concat, torch.concatenate)
_VIEWS = ("view", "view_as", "as_strided")


def groups(
    graph: Graph, candidates: Iterable[Node], key: Callable[[Node], Hashable]
) -> list[list[Node]]:
    """Sorts candidates into groups of equal key and equal sizes but for the last, none of which
    needs another of its group, with no barrier between them; each in the order of the graph.

    Groups may need each other: after one has been replaced, ask again.
    """
    order = list(candidates)
    bit = {node: 1 << number for number, node in enumerate(order)}
    needs: dict[Node, int] = {}  # the candidates that lie before each node, as bits
    found: dict[Hashable, list[list[Node]]] = {}
    segment = 0
    for node in graph.nodes:
        segment += is_barrier(node)
        above = 0
        for source in node.all_input_nodes:
            above |= needs[source] | bit.get(source, 0)
        needs[node] = above
        if node in bit:
            same_key = found.setdefault((segment, key(node)), [])
            for group in same_key:
                independent = not any(above & bit[member] for member in group)
                if independent and _equal_sizes(node, group[0]):
                    group.append(node)
                    break
            else:
                same_key.append([node])
    return [group for same_key in found.values() for group in same_key]


def written_to(nodes: Iterable[Node]) -> set[int]:
    """The storages of tensors that something among these nodes may write to."""
    return {storage for node in nodes if is_barrier(node) for storage in _storages_read_by(node)}


def storage_of(node: Node) -> int:
    """The same for tensors that share memory."""
    return value(node).untyped_storage()._cdata


def why_not_together(members: Sequence[Node]) -> str | None:
    """Why a group cannot be computed in one place."""
    _, to_move = _meeting_point(members)
    if any(_is_random(node) for node in to_move):
        return "an index is drawn at random after the first lookup is used"
    return None


def gather_inputs(members: Sequence[Node]) -> Node:
    """Makes the inputs of all members available in one place: before the node that is returned."""
    point, to_move = _meeting_point(members)
    for node in to_move:
        point.prepend(node)
    return point


def order_by_cat(members: Sequence[Node]) -> list[Node]:
    """The members in the order in which a torch.cat of the last dimension reads most of them."""
    best: list[Node] = []
    for cat in _cats_of(members):
        read = [part for part in dict.fromkeys(args_of(cat)[0]) if part in members]
        if len(read) > len(best):
            best = read
    return [*best, *(node for node in members if node not in best)]


def share_cat(members: Sequence[Node]) -> list[Node]:
    """Those members that the cat named by :func:`order_by_cat` reads."""
    cats = _cats_of(members)
    shares = [[node for node in members if node in args_of(cat)[0]] for cat in cats]
    return max(shares, key=len, default=[])


def hand_out(builder: Builder, together: Node, members: Sequence[Node]) -> None:
    """Replaces each member by its columns of ``together``, and a cat of all by the whole.

    Who sees the strides of a member gets a copy of the columns: they are not contiguous.
    """
    widths = [int(value(node).shape[-1]) for node in members]
    cats = _cats_of(members)
    parts = builder.call(torch.split, together, widths, -1)
    columns = [builder.call(operator.getitem, parts, number) for number in range(len(members))]
    for old, new in zip(members, columns, strict=True):
        seeing = [user for user in old.users if _sees_strides(user)]
        if seeing:
            copied = builder.call(torch.clone, new, memory_format=torch.contiguous_format)
            for user in seeing:
                user.replace_input_with(old, copied)
        replace(old, new)
    for cat in cats:
        _shorten(cat, columns, together, widths)
    for node in [*columns, parts]:
        if not node.users:
            node.graph.erase_node(node)


def _storages_read_by(node: Node) -> set[int]:
    return {storage_of(source) for source in node.all_input_nodes if is_plain(source)}


def _shorten(cat: Node, columns: list[Node], together: Node, widths: list[int]) -> None:
    """Reads neighbouring columns of ``together`` as one part of ``cat``."""
    numbers = {node: number for number, node in enumerate(columns)}
    runs: list[list[Node]] = []
    for part in args_of(cat)[0]:
        follows = (
            runs
            and part in numbers
            and runs[-1][-1] in numbers
            and numbers[part] == numbers[runs[-1][-1]] + 1
        )
        if follows:
            runs[-1].append(part)
        else:
            runs.append([part])
    builder = Builder(cat, like=cat)
    parts = []
    for run in runs:
        if len(run) == len(columns):
            parts.append(together)
        elif len(run) > 1:
            first = sum(widths[: numbers[run[0]]])
            count = sum(widths[numbers[node]] for node in run)
            parts.append(builder.call(torch.narrow, together, -1, first, count))
        else:
            parts.append(run[0])
    if len(parts) == 1:
        replace(cat, parts[0])
    else:
        cat.args = (parts, -1)
        cat.kwargs = {}


def _equal_sizes(node: Node, other: Node) -> bool:
    sizes, others = value(node).shape[:-1], value(other).shape[:-1]
    return len(sizes) == len(others) and all(map(size_is, sizes, others))


def _meeting_point(members: Sequence[Node]) -> tuple[Node, list[Node]]:
    """Where a group can be computed, and the nodes to be moved before it, in order.

    That is where the last member stands, or before the first reader of any, if that comes sooner.
    """
    positions = {node: number for number, node in enumerate(members[0].graph.nodes)}
    readers = [user for member in members for user in member.users]
    point = min([members[-1], *readers], key=positions.__getitem__)
    needed: set[Node] = set()
    pending = [source for member in members for source in member.all_input_nodes]
    while pending:
        node = pending.pop()
        if node not in needed and positions[node] >= positions[point]:
            needed.add(node)
            pending += node.all_input_nodes
    return point, sorted(needed, key=positions.__getitem__)


def _is_random(node: Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return any(word in str(name) for word in _RANDOM)


def _cats_of(members: Sequence[Node]) -> list[Node]:
    """The torch.cat along the last dimension that read members and could be their group, in order.

    Not so one that keeps the gradient from flowing, or whose memory would be seen to be that of
    members: because something writes to it, or because both leave the graph.
    """
    graph = members[0].graph
    written, returned = written_to(graph.nodes), _storages_read_by(graph.output_node())
    if any(storage_of(member) in returned for member in members):
        written |= returned
    return [
        user
        for user in dict.fromkeys(user for member in members for user in member.users)
        if _is_cat_of_columns(user)
        and value(user).requires_grad == value(members[0]).requires_grad
        and storage_of(user) not in written
    ]


def _sees_strides(reader: Node) -> bool:
    """Whether it may fail, or others see a difference, where a tensor is not contiguous."""
    return reader.op == "output" or calls(reader, torch.as_strided, *_VIEWS)


def _is_cat_of_columns(node: Node) -> bool:
    if not calls(node, *_CAT) or not node.args or not isinstance(node.args[0], list | tuple):
        return False
    dim = (*node.args[1:], node.kwargs.get("dim", node.kwargs.get("axis", 0)))[0]
    tensors = [value(part) for part in node.args[0]]
    rank = value(node).dim()
    return dim in (-1, rank - 1) and all(
        tensor.dim() == rank and tensor.dtype == value(node).dtype for tensor in tensors
    )
