"""Sparse COO tensors of compressed gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

ops = torch.ops.embed_ops


class Pairs:
    """The compressed gradient of one or several tables.

    Args:
        values: of each table, (U, D).
        rows: of each table, (U,): those that its values belong to, in ascending order.
        num_embeddings: rows of each table.
    """

    def __init__(
        self, values: Sequence[Tensor], rows: Sequence[Tensor], num_embeddings: Sequence[int]
    ) -> None:
        self.values = values
        self.rows = [
            table if table.dtype is torch.int64 else table.to(torch.int64) for table in rows
        ]
        self.num_embeddings = num_embeddings

    def of_table(self, table: int) -> Pairs:
        return Pairs([self.values[table]], [self.rows[table]], [self.num_embeddings[table]])

    def as_sparse(self, shape: torch.Size) -> Tensor:
        """The gradient of a weight of this shape that is all of these tables: coalesced.

        A table is a matrix whose rows are sparse. Of several tables in one weight, packed (1-D) or
        side by side (2-D), the elements are.
        """
        if len(shape) == 1:
            firsts = itertools.accumulate(
                (
                    rows * table.shape[1]
                    for rows, table in zip(self.num_embeddings, self.values, strict=True)
                ),
                initial=0,
            )
            elements = [
                first + (rows * table.shape[1])[:, None] + _columns(table)
                for first, rows, table in zip(firsts, self.rows, self.values, strict=False)
            ]
            indices = torch.cat([element.reshape(-1) for element in elements])[None]
            values = torch.cat([table.reshape(-1) for table in self.values])
            return _coalesced(indices, values, shape)
        if len(self.values) == 1:
            return _coalesced(self.rows[0][None], self.values[0], shape)
        firsts = itertools.accumulate((table.shape[1] for table in self.values), initial=0)
        places = [
            torch.stack(torch.broadcast_tensors(rows[:, None], first + _columns(table)))
            for first, rows, table in zip(firsts, self.rows, self.values, strict=False)
        ]
        indices = torch.cat([place.reshape(2, -1) for place in places], dim=1)
        values = torch.cat([table.reshape(-1) for table in self.values])
        return _sparse(indices, values, shape).coalesce()


def _columns(table: Tensor) -> Tensor:
    return torch.arange(table.shape[1], device=table.device)


def _coalesced(indices: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return _sparse(indices, values, shape, is_coalesced=True)


def _sparse(
    indices: Tensor, values: Tensor, shape: torch.Size, is_coalesced: bool = False
) -> Tensor:
    # As check_invariants=False, which torch 2.11 still warns about; and as torch.sparse's context,
    # which takes half as long as the tensor.
    checks = torch._C._check_sparse_tensor_invariants()
    torch._C._set_check_sparse_tensor_invariants(False)
    try:
        return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=is_coalesced)
    finally:
        torch._C._set_check_sparse_tensor_invariants(checks)


def coalesce(gradient: Tensor) -> Tensor:
    """A coalesced sparse tensor of the same sum, by this library's kernels where they apply.

    Those are the gradients of a lookup of the rows that ``gradient`` names.
    """
    if gradient.sparse_dim() != 1 or gradient.dense_dim() != 1:
        return gradient.coalesce()
    rows, num_rows = gradient._indices()[0], gradient.shape[0]
    values, rows = ops.embedding_compressed_backward(gradient._values(), rows, num_rows)
    return _coalesced(rows[None], values, gradient.shape)
