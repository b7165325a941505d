"""Preconditions that several rewrites share: what the ops can take, as reasons why not."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from . import _torch
from .graph import is_tensor, value

FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INDEX_DTYPES = (torch.int32, torch.int64)


def why_not_lookup(table: Any, indices: Any) -> str | None:
    """Why the ops cannot look these indices up in this table, ranks apart; None if they can."""
    for name, node in (("table", table), ("index", indices)):
        if not is_tensor(node):
            return f"the {name} is not a tensor of the graph"
        tensor = value(node)
        if _torch.is_in_transform(tensor):
            return "inside a torch.func transform"
        if _torch.is_subclass(tensor):
            return f"the {name} is a {type(tensor).__name__}"
        if tensor.layout != torch.strided:
            return f"the {name} has layout {tensor.layout}"
    if value(table).dtype not in FLOAT_DTYPES:
        return f"the table's dtype is {_name(value(table).dtype)}"
    if value(indices).dtype not in INDEX_DTYPES:
        return f"the index's dtype is {_name(value(indices).dtype)}"
    if value(table).device != value(indices).device:
        return f"the index is on {value(indices).device}, the table on {value(table).device}"
    return None


def why_not_options(max_norm: float | None, sparse: bool) -> str | None:
    """Why the ops cannot have these options of torch's functions."""
    if max_norm is not None:
        return "max_norm edits the table"
    if sparse:
        return "sparse=True"
    return None


def why_not_matrix(table: Node) -> str | None:
    dim = value(table).dim()
    return None if dim == 2 else f"the table has {dim} dimension{'' if dim == 1 else 's'}"


def why_not_padding(padding_idx: int | None, table: Node) -> str | None:
    """Why :func:`padding_row` cannot say which row is meant."""
    if padding_idx is not None and padding_idx < 0 and not isinstance(value(table).shape[0], int):
        return "padding_idx counts from the end of a table of dynamic size"
    return None


def padding_row(padding_idx: int | None, table: Node) -> int:
    """The ops' ``padding_idx``: -1 for none, otherwise the row."""
    if padding_idx is None:
        return -1
    return padding_idx if padding_idx >= 0 else padding_idx + int(value(table).shape[0])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
