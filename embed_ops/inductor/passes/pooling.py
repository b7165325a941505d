"""Rows that are looked up only to be added up become a bag."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from ..graph import (
    Builder,
    args_of,
    arguments,
    calls,
    is_barrier_between,
    is_tensor,
    replace,
    size_is,
    value,
)
from ..report import Finding, Report
from .base import Rewrite, findings_of, is_listed, set_findings

ops = torch.ops.embed_ops

# What may stand between a comparison and its use as a mask.
_CASTS = ("float", "half", "bfloat16", "double", "int", "long", "to", "type", "type_as")


@dataclass(frozen=True)
class Pool:
    """rows = lookup; product = rows * weights, if there are any; pooled = product.sum(dim)."""

    lookup: Node
    product: Node | None
    weights: Any
    pooled: Node
    mode: str
    dim: int
    keepdim: bool


class Pooling(Rewrite[Pool]):
    """embedding(weight, x).sum(dim) -> embedding_bag(weight, x, mode="sum"), if dim is one of x's

    So does mean, and a product with one weight for each lookup before either, as in a masked mean
    written by hand: the weights become per_sample_weights.

    Unlike a bag, such a sum takes the padding row in: then that part of it is added to the bag,
    without a gradient, unless the weights are seen to be zero there.
    """

    name = "pooling"

    def find(self, graph: Graph) -> Iterator[Pool]:
        for node in list(graph.nodes):
            pool = _pool(node)
            if pool is not None:
                yield pool

    def findings(self, match: Pool, report: Report) -> list[Finding]:
        return findings_of(match.lookup)

    def why_not(self, match: Pool) -> str | None:
        if any(len(node.users) > 1 for node in (match.lookup, match.product) if node is not None):
            return "not pooled: something else reads the rows"
        if is_barrier_between(match.lookup, match.pooled):
            return "not pooled: something may be written to, or the mode changes, in between"
        if value(match.pooled).dtype != value(match.lookup).dtype:
            return "not pooled: the sum has another dtype"
        if match.product is not None:
            return _why_not_weights(match)
        return None

    def replace(self, match: Pool) -> str:
        given = arguments(match.lookup)
        table, indices, padding = given["weight"], given["indices"], given["padding_idx"]
        builder = Builder(match.pooled, like=match.pooled)
        weights = None if match.product is None else _per_lookup(builder, match.weights, indices)
        if padding >= 0 and _is_zero_at(match.weights, indices, padding):
            padding = -1

        last = value(indices).dim() - 1
        bags, leading = _as_matrix(builder, indices, match.dim)
        if weights is not None:
            weights, _ = _as_matrix(builder, weights, match.dim)
        # The mean that divides by all lookups, whatever their weight and the padding among them.
        mean_of_bag = match.mode == "mean" and weights is None and padding < 0
        mode = "mean" if mean_of_bag else "sum"
        bag = builder.call(
            ops.embedding_bag.default,
            table,
            bags,
            None,
            given["scale_grad_by_freq"],
            mode,
            weights,
            False,
            padding,
        )
        set_findings(bag, findings_of(match.lookup))
        pooled = builder.call(operator.getitem, bag, 0)
        if padding >= 0:
            pooled = _add_padding(builder, pooled, table, bags, weights, padding)
        if match.mode == "mean" and not mean_of_bag:
            pooled = builder.call(torch.div, pooled, builder.size(indices, match.dim))
        if last == 0:
            pooled = builder.call(torch.squeeze, pooled, 0)
        elif last > 1:
            pooled = builder.call(torch.unflatten, pooled, 0, leading)
        if match.keepdim:
            pooled = builder.call(torch.unsqueeze, pooled, match.dim)
        replace(match.pooled, pooled)
        for node in (match.product, match.lookup):
            if node is not None:
                node.graph.erase_node(node)
        return f"embedding_bag {mode}"


def _pool(node: Node) -> Pool | None:
    modes = [mode for mode in ("sum", "mean") if calls(node, mode, getattr(torch, mode))]
    if not modes or not node.args:
        return None
    rows, product, weights = args_of(node)[0], None, None
    if calls(rows, "mul", torch.mul, operator.mul):
        product = rows
        rows, weights = args_of(product)
        if not is_listed(rows, ops.embedding):
            rows, weights = weights, rows
    if not is_listed(rows, ops.embedding):
        return None
    names = ("input", "dim", "keepdim")
    given: dict[str, Any] = dict(zip(names, args_of(node), strict=False)) | node.kwargs
    dim = given.get("dim", given.get("axis"))
    if isinstance(dim, tuple | list) and len(dim) == 1:
        (dim,) = dim
    if not isinstance(dim, int):
        return None
    rank = value(rows).dim()
    dim %= rank
    if dim == rank - 1 or (product is not None and value(product).dim() != rank):
        return None
    return Pool(rows, product, weights, node, modes[0], dim, bool(given.get("keepdim", False)))


def _why_not_weights(pool: Pool) -> str | None:
    """The factor must have a last dimension of size 1, and the lookup's others or 1."""
    reason = "not pooled: multiplied by something else than a weight for each lookup"
    if not is_tensor(pool.weights):
        return reason
    shape = value(pool.weights).shape
    wanted = (*value(pool.lookup).shape[:-1], 1)
    fits = 0 < len(shape) <= len(wanted) and all(
        size_is(size, target) or size_is(size, 1)
        for size, target in zip(shape, wanted[-len(shape) :], strict=True)
    )
    if not fits or not size_is(shape[-1], 1):
        return reason
    if value(pool.product).dtype != value(pool.lookup).dtype:
        return "not pooled: the product has another dtype"
    return None


def _per_lookup(builder: Builder, weights: Node, indices: Node) -> Node:
    """Weights of the table's dtype and the shape of the indices."""
    dtype = value(builder.like).dtype
    weights = builder.cast(builder.call(torch.squeeze, weights, -1), dtype)
    rank = value(indices).dim()
    same = value(weights).dim() == rank and all(
        size_is(*sizes) for sizes in zip(value(weights).shape, value(indices).shape, strict=True)
    )
    if not same:
        shape = [builder.size(indices, dim) for dim in range(rank)]
        weights = builder.call(torch.broadcast_to, weights, shape)
    return weights


def _as_matrix(builder: Builder, tensor: Node, dim: int) -> tuple[Node, list[Any]]:
    """(bags, lookups of a bag), and the sizes that the bags had: ``dim`` runs along a bag."""
    last = value(tensor).dim() - 1
    if last == 0:
        return builder.call(torch.unsqueeze, tensor, 0), []
    if dim != last:
        tensor = builder.call(torch.movedim, tensor, dim, -1)
    if last == 1:
        return tensor, []
    leading = [builder.size(tensor, axis) for axis in range(last)]
    return builder.call(torch.flatten, tensor, 0, -2), leading


def _add_padding(
    builder: Builder, pooled: Node, table: Node, bags: Node, weights: Node | None, padding: int
) -> Node:
    """Adds the padding row as often as each bag names it, with its weights; it gets no gradient."""
    named = builder.cast(builder.call(torch.eq, bags, padding), value(pooled).dtype)
    if weights is not None:
        named = builder.call(torch.mul, named, weights)
    amount = builder.call(torch.sum, named, 1, True)
    row = builder.call(torch.select, builder.call(torch.detach, table), 0, padding)
    return builder.call(torch.add, pooled, builder.call(torch.mul, amount, row))


def _is_zero_at(weights: Any, indices: Node, row: int) -> bool:
    """Whether ``weights`` are made from ``indices != row``."""
    node = weights
    while calls(node, *_CASTS, "unsqueeze", torch.unsqueeze) or _adds_dimensions(node):
        node = args_of(node)[0]
    if not calls(node, operator.ne, torch.ne, "ne", "not_equal", torch.not_equal):
        return False
    return tuple(node.args) in ((indices, row), (row, indices))


def _adds_dimensions(node: Any) -> bool:
    """x[..., None] and the like."""
    if not calls(node, operator.getitem):
        return False
    index = args_of(node)[1]
    return isinstance(index, tuple) and all(part in (None, ..., slice(None)) for part in index)
