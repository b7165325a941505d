"""embed_ops.embedding as Inductor's own gather, which fuses with what reads the rows.

This runs on the ATen graphs after differentiation, so that the gradient stays ours.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

from . import _torch
from .graph import args_of, arguments, is_op

aten = torch.ops.aten

# A row that one access of the GPU reads: the check then is the whole lookup.
_SHORT_ROW_BYTES = 32

# Those that Inductor calls instead of generating code for.
_CALLED = (
    aten.mm,
    aten.addmm,
    aten.bmm,
    aten.baddbmm,
    aten.convolution,
    aten.convolution_backward,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_cudnn_attention,
)
_VIEWS = (
    aten.view,
    aten.reshape,
    aten._unsafe_view,
    aten.permute,
    aten.transpose,
    aten.t,
    aten.unsqueeze,
    aten.squeeze,
    aten.expand,
    aten.slice,
    aten.select,
    aten.alias,
    aten.detach,
    aten.as_strided,
)


def lower_to_gather(graph: Graph) -> None:
    """Replaces lookups whose rows something can fuse with.

    rows = embedding(weight, indices) becomes::

        checked = embedding(weight[:, :1], indices)
        rows = where(0 <= indices < n, aten.embedding(weight, clamp(indices, 0, n - 1)), checked)

    ``checked`` is zero where the index names no row, so the result is what the op gives; computing
    it raises or records the error, at the price of one element for each lookup. The rows come from
    Inductor's gather, which reads nothing out of range, wraps nothing, and need not be written.

    Of indices that cannot be wrong (positions 0, 1, ... of a long enough table) only the gather
    remains.
    """
    for node in list(graph.nodes):
        if is_op(node, torch.ops.embed_ops.embedding) and _pays(node):
            _lower(node)


def _pays(lookup: Node) -> bool:
    table, rows = arguments(lookup)["weight"].meta["val"], lookup.meta["val"]
    width = table.shape[1]
    if not isinstance(width, int) or width * table.element_size() <= _SHORT_ROW_BYTES:
        return False
    if _torch.statically_true(table.shape[0] == 0) or _torch.statically_true(rows.numel() == 0):
        return False
    return any(_fuses(user) for user in lookup.users)


def _fuses(reader: Node) -> bool:
    """Whether Inductor can compute a reader in the kernel that gathers the rows."""
    if reader.op != "call_function":
        return False  # the graph's output
    if reader.target is operator.getitem or _packet(reader) in _VIEWS:
        return any(_fuses(user) for user in reader.users)
    packet = _packet(reader)
    return packet not in _CALLED and getattr(reader.target, "namespace", "") in ("aten", "prims")


def _packet(node: Node) -> Any:
    return getattr(node.target, "overloadpacket", None)


def _lower(lookup: Node) -> None:
    graph = lookup.graph
    given = arguments(lookup)
    table, indices = given["weight"], given["indices"]

    def call(target: Any, *args: Any, **kwargs: Any) -> Node:
        node = graph.call_function(target, args, kwargs)
        node.meta["val"] = _evaluate(node, lookup)
        return node

    with graph.inserting_before(lookup):
        if _count_within(indices, table.meta["val"].shape[0]):
            lookup.replace_all_uses_with(call(aten.embedding.default, table, indices))
            graph.erase_node(lookup)
            return
        rows: Any = table.meta["val"].shape[0]
        if not isinstance(rows, int):
            rows = call(aten.sym_size.int, table, 0)
        last = rows - 1 if isinstance(rows, int) else call(operator.sub, rows, 1)
        column = call(aten.slice.Tensor, table, 1, 0, 1)
        checked = call(lookup.target, column, indices)
        inside = call(
            aten.bitwise_and.Tensor,
            call(aten.ge.Scalar, indices, 0),
            call(aten.lt.Scalar, indices, rows),
        )
        safe = call(aten.clamp_max.default, call(aten.clamp_min.default, indices, 0), last)
        gathered = call(aten.embedding.default, table, safe)
        result = call(aten.where.self, call(aten.unsqueeze.default, inside, -1), gathered, checked)
    lookup.replace_all_uses_with(result)
    graph.erase_node(lookup)


def _count_within(indices: Node, rows: Any) -> bool:
    """Whether the indices are torch.arange(start, end, step) with 0 <= start and end <= rows."""
    if indices.target is not torch.ops.prims.iota.default:
        return False
    options: dict[str, Any] = dict(indices.kwargs)
    (length,) = args_of(indices)
    sizes = (length, options["start"], options["step"], rows)
    if not all(isinstance(size, int) for size in sizes):
        return False
    last = options["start"] + (length - 1) * options["step"]
    return min(options["start"], last) >= 0 and max(options["start"], last) < rows


def _evaluate(node: Node, like: Node) -> Any:
    """The fake value of a node that has just been added."""
    from torch.fx.node import map_arg

    def value(source: Node) -> Any:
        return source.meta["val"]

    target: Any = node.target
    with like.meta["val"].fake_mode:
        return target(*map_arg(node.args, value), **map_arg(node.kwargs, value))
