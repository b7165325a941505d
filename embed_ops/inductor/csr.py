"""The bags of several tables as those of multi_embedding_list: one after the other."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from .graph import Builder, size_is, value

Arguments = dict[str, Any]
"""Of a call of embed_ops.embedding_bag, by name."""


def flat(builder: Builder, tensor: Node) -> Node:
    return tensor if value(tensor).dim() == 1 else builder.call(torch.flatten, tensor)


def one_after_the_other(builder: Builder, tensors: Sequence[Node]) -> Node:
    return builder.call(torch.cat, [flat(builder, tensor) for tensor in tensors])


def offsets_of_all(builder: Builder, bags: Sequence[Arguments]) -> Node:
    """The offsets (tables * bags + 1,) of the bags of each table, moved to where its indices begin,
    and the end."""
    options = {"dtype": torch.int64, "device": value(bags[0]["indices"]).device}
    if _are_alike(bags):
        number = builder.size(bags[0]["indices"], 0)
        count = builder.compute(operator.mul, number, len(bags))
        numbers = builder.call(torch.arange, builder.compute(operator.add, count, 1), **options)
        return builder.call(torch.mul, numbers, builder.size(bags[0]["indices"], 1))
    parts = []
    begin: int | Node = 0
    for given in bags:
        indices = given["indices"]
        sizes = [builder.size(indices, dim) for dim in range(value(indices).dim())]
        count = functools.reduce(functools.partial(builder.compute, operator.mul), sizes)
        if given["offsets"] is None:
            numbers = builder.call(torch.arange, sizes[0], **options)
            numbers = builder.call(torch.mul, numbers, sizes[1])
            parts.append(_plus(builder, numbers, begin))
        else:
            parts.append(_moved(builder, given, begin, count))
        begin = builder.compute(operator.add, begin, count)
    parts.append(builder.call(torch.full, (1,), begin, **options))
    return builder.call(torch.cat, parts)


def _are_alike(bags: Sequence[Arguments]) -> bool:
    """Whether all are of the same fixed hotness."""
    if any(given["offsets"] is not None for given in bags):
        return False
    hotness = [value(given["indices"]).shape[1] for given in bags]
    return all(size_is(each, hotness[0]) for each in hotness)


def _moved(builder: Builder, given: Arguments, begin: int | Node, count: int | Node) -> Node:
    """The offsets of one table.

    Where they do not begin at 0, or do not end with their indices, all are -1 instead: moved they
    might look right, and the op would not find the mistake.
    """
    offsets = builder.cast(given["offsets"], torch.int64)
    is_right = builder.call(torch.eq, builder.call(torch.narrow, offsets, 0, 0, 1), 0)
    starts = offsets
    if given["include_last_offset"]:
        bags = builder.compute(operator.sub, builder.size(offsets, 0), 1)
        starts = builder.call(torch.narrow, offsets, 0, 0, bags)
        ends = builder.call(torch.eq, builder.call(torch.narrow, offsets, 0, bags, 1), count)
        is_right = builder.call(torch.logical_and, is_right, ends)
    return builder.call(torch.where, is_right, _plus(builder, starts, begin), -1)


def _plus(builder: Builder, tensor: Node, number: int | Node) -> Node:
    return tensor if number == 0 else builder.call(torch.add, tensor, number)
