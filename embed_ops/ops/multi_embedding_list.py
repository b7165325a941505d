"""multi_embedding_list: multi_embedding over tables that are separate tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _weighted_mean
from ._autograd import is_deterministic, ones
from ._registration import Gradients, register_autograd

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
    kept = tables if ctx.needs_input_grad[0] else ()
    ctx.save_for_backward(indices, offsets, weights, *kept)


def _backward_of_list(ctx: Any, grad_output: Tensor) -> Gradients:
    indices, offsets, weights, *tables = ctx.saved_tensors
    by_weights, *wanted, _ = ctx.needs_input_grad
    grad_tables: list[Tensor | None] = [None] * len(wanted)
    if any(wanted):
        grad_tables = _grad_of_wanted(ctx, grad_output, indices, offsets, weights, wanted)
    grad_weights = None
    if by_weights:
        grad_weights = _list_weights_backward(
            grad_output, tables, indices, offsets, ctx.mode, weights
        )
    return grad_weights, *grad_tables


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
    computed = _list_dense_backward(
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
    grad = grad_output if ctx.needs_input_grad[1] else None
    ctx.save_for_backward(indices, offsets, weights, grad)


def _backward_of_dense_backward(ctx: Any, *grad_tables: Tensor) -> Gradients:
    indices, offsets, weights, grad_output = ctx.saved_tensors
    grad_grad = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_grad = ops.multi_embedding_list(grad_tables, indices, offsets, ctx.mode, weights)
    if ctx.needs_input_grad[1]:
        grad_weights = ops.multi_embedding_list_per_sample_weights_backward(
            grad_output, grad_tables, indices, offsets, ctx.mode, weights
        )
    return grad_grad, grad_weights


def _save_for_weights_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, tables, indices, offsets, ctx.mode, weights = inputs
    ctx.sizes = [table.shape[0] for table in tables], [table.shape[1] for table in tables]
    by_grad, by_weights, *by_tables, _ = ctx.needs_input_grad
    by_weights = by_weights and ctx.mode == "mean"
    grad = grad_output if by_weights or any(by_tables) else None
    kept = tables if by_weights or by_grad else ()
    ctx.save_for_backward(indices, offsets, weights, grad, *kept)


def _backward_of_weights_backward(ctx: Any, grad: Tensor) -> Gradients:
    indices, offsets, weights, grad_output, *tables = ctx.saved_tensors
    by_grad, by_weights, *wanted, _ = ctx.needs_input_grad
    factors, grad_weights = grad, None
    if ctx.mode == "mean":
        dot_products = None
        if by_weights:
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
    if by_grad:
        grad_grad = ops.multi_embedding_list(tables, indices, offsets, "sum", factors)
    if any(wanted):
        grad_tables = ops.multi_embedding_list_dense_backward(
            grad_output, indices, *ctx.sizes, offsets, "sum", factors, is_deterministic()
        )
    return grad_grad, grad_weights, *grad_tables


multi_embedding_list = register_autograd(
    "multi_embedding_list",
    ["per_sample_weights", "weights"],
    _backward_of_list,
    _save_for_list,
)
_list_dense_backward = register_autograd(
    "multi_embedding_list_dense_backward",
    ["grad_output", "per_sample_weights"],
    _backward_of_dense_backward,
    _save_for_dense_backward,
)
_list_weights_backward = register_autograd(
    "multi_embedding_list_per_sample_weights_backward",
    ["grad_output", "per_sample_weights", "weights"],
    _backward_of_weights_backward,
    _save_for_weights_backward,
)
