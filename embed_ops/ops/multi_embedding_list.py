"""multi_embedding_list: multi_embedding over tables that are separate tensors.

The backward functions return exactly as many entries as their op was called with: torch compares
the two structures where an argument is a list of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _weighted_mean
from ._autograd import Gradients, is_deterministic, needs_grad, ones

ops = torch.ops.embed_ops


class MultiBags(_weighted_mean.Bags):
    """The bags of one call, (B, n), summed and spread by the ops, with tables of ones."""

    def __init__(
        self, weights: Tensor, indices: Tensor, offsets: Tensor, num_embeddings: Sequence[int]
    ) -> None:
        self.tables = [ones(weights, (rows, 1), weights.dtype) for rows in num_embeddings]
        self.weights = weights
        self.bags = indices, offsets

    def total(self, values: Tensor | None) -> Tensor:
        return ops.multi_embedding_list(self.tables, *self.bags, "sum", values)

    def spread(self, values: Tensor) -> Tensor:
        return ops.multi_embedding_list_per_sample_weights_backward(
            values, self.tables, *self.bags, "sum", self.weights
        )


def _save_for_list(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tables, indices, offsets, ctx.mode, weights = inputs
    ctx.sizes = [table.shape[0] for table in tables], [table.shape[1] for table in tables]
    # The tables are kept only for the gradient of the per-sample weights.
    keep_tables = weights is not None and weights.requires_grad
    ctx.save_for_backward(indices, offsets, weights, *(tables if keep_tables else ()))


def _backward_of_list(ctx: Any, grad_output: Tensor) -> Gradients:
    indices, offsets, weights, *tables = ctx.saved_tensors
    wanted = ctx.needs_input_grad[0]
    grad_tables: list[Tensor | None] = [None] * len(wanted)
    if any(wanted):
        grad_tables = _grad_of_wanted(ctx, grad_output, indices, offsets, weights, wanted)
    grad_weights = None
    if needs_grad(ctx, 4):
        grad_weights = ops.multi_embedding_list_per_sample_weights_backward(
            grad_output, tables, indices, offsets, ctx.mode, weights
        )
    return (grad_tables, None, None, None, grad_weights)[: len(ctx.needs_input_grad)]


def _grad_of_wanted(
    ctx: Any,
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    weights: Tensor | None,
    wanted: list[bool],
) -> list[Tensor | None]:
    """The gradients of the tables that need one; None for the others."""
    num_embeddings, embedding_dims = ctx.sizes
    tables = list(range(len(wanted)))
    if offsets is None and not all(wanted):
        # Columns can be left out; the bags of a CSR call cannot.
        tables = [table for table in tables if wanted[table]]
        columns = grad_output.split(embedding_dims, dim=1)
        grad_output = torch.cat([columns[table] for table in tables], dim=1)
        indices = torch.stack([indices[:, table] for table in tables], dim=1)
    computed = ops.multi_embedding_list_dense_backward(
        grad_output,
        indices,
        [num_embeddings[table] for table in tables],
        [embedding_dims[table] for table in tables],
        offsets,
        ctx.mode,
        weights,
        is_deterministic(),
    )
    gradients = dict(zip(tables, computed, strict=True))
    return [gradients[table] if needed else None for table, needed in enumerate(wanted)]


def _save_for_dense_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    grad_output, indices, _, _, offsets, ctx.mode, weights, _ = inputs
    keep_grad = weights is not None and weights.requires_grad
    ctx.save_for_backward(indices, offsets, weights, grad_output if keep_grad else None)


def _backward_of_dense_backward(ctx: Any, grad_tables: list[Tensor]) -> Gradients:
    indices, offsets, weights, grad_output = ctx.saved_tensors
    grad_grad = grad_weights = None
    if needs_grad(ctx, 0):
        grad_grad = ops.multi_embedding_list(grad_tables, indices, offsets, ctx.mode, weights)
    if needs_grad(ctx, 6):
        grad_weights = ops.multi_embedding_list_per_sample_weights_backward(
            grad_output, grad_tables, indices, offsets, ctx.mode, weights
        )
    gradients = (grad_grad, None, None, None, None, None, grad_weights, None)
    return gradients[: len(ctx.needs_input_grad)]


def _save_for_weights_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, tables, indices, offsets, ctx.mode, weights = inputs
    ctx.sizes = [table.shape[0] for table in tables], [table.shape[1] for table in tables]
    by_weights = ctx.mode == "mean" and weights.requires_grad
    keep_grad = by_weights or any(table.requires_grad for table in tables)
    keep_tables = by_weights or grad_output.requires_grad
    ctx.save_for_backward(
        indices,
        offsets,
        weights,
        grad_output if keep_grad else None,
        *(tables if keep_tables else ()),
    )


def _backward_of_weights_backward(ctx: Any, grad: Tensor) -> Gradients:
    indices, offsets, weights, grad_output, *tables = ctx.saved_tensors
    wanted = ctx.needs_input_grad[1]
    factors, grad_weights = grad, None
    if ctx.mode == "mean":
        dot_products = None
        if needs_grad(ctx, 5):
            dot_products = ops.multi_embedding_list_per_sample_weights_backward(
                grad_output, tables, indices, offsets, "sum", weights
            )
        factors, grad_weights = _weighted_mean.derivatives(
            lambda wide: MultiBags(wide, indices, offsets, ctx.sizes[0]),
            weights,
            grad,
            dot_products,
        )
    grad_grad = None
    grad_tables: list[Tensor | None] = [None] * len(wanted)
    if needs_grad(ctx, 0):
        grad_grad = ops.multi_embedding_list(tables, indices, offsets, "sum", factors)
    if any(wanted):
        grad_tables = ops.multi_embedding_list_dense_backward(
            grad_output, indices, *ctx.sizes, offsets, "sum", factors, is_deterministic()
        )
    return grad_grad, grad_tables, None, None, None, grad_weights


torch.library.register_autograd(
    "embed_ops::multi_embedding_list",
    _backward_of_list,
    setup_context=_save_for_list,
)
torch.library.register_autograd(
    "embed_ops::multi_embedding_list_dense_backward",
    _backward_of_dense_backward,
    setup_context=_save_for_dense_backward,
)
torch.library.register_autograd(
    "embed_ops::multi_embedding_list_per_sample_weights_backward",
    _backward_of_weights_backward,
    setup_context=_save_for_weights_backward,
)
