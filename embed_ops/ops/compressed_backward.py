"""The derivatives of the compressed gradients.

A compressed gradient is the dense one with the rows left out that nobody names. So its derivative
is that of the dense one at the gradient put back into a dense table, which
``embedding_dense_backward(values, rows, num_weights)`` does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import embedding, embedding_bag
from ._autograd import needs_grad
from ._registration import Gradients

ops = torch.ops.embed_ops


def decompressed(
    grad_values: Tensor, rows: Tensor, num_unique: Tensor | None, num_weights: int
) -> Tensor:
    """(num_weights, D): each row of ``grad_values`` in its place, zeros elsewhere.

    Args:
        grad_values: (size, D).
        rows: (size,).
        num_unique: of a padded result, how many rows are named; the rest is left out.
        num_weights: rows of the table.
    """
    if num_unique is not None:
        named = torch.arange(rows.shape[0], device=rows.device) < num_unique
        grad_values = torch.where(named[:, None], grad_values, 0)
        rows = torch.where(named, rows, 0)
        if num_weights == 0:
            return grad_values.new_zeros(0, grad_values.shape[1])
    return ops.embedding_dense_backward(grad_values, rows, num_weights)


def _save_for_embedding(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, indices, ctx.num_weights, ctx.padding_idx, ctx.scale_grad_by_freq, *_ = inputs
    _save(ctx, output, indices)


def _backward_of_embedding(ctx: Any, grad_values: Tensor | None, *_: None) -> Gradients:
    if grad_values is None:
        return (None,) * len(ctx.needs_input_grad)
    rows, num_unique, indices = ctx.saved_tensors
    grad_grad = embedding.adjoint(
        decompressed(grad_values, rows, num_unique, ctx.num_weights),
        indices,
        ctx.num_weights,
        ctx.padding_idx,
        ctx.scale_grad_by_freq,
    )
    return grad_grad, *(None,) * (len(ctx.needs_input_grad) - 1)


def _save_for_bag(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    grad_output, indices, offsets, weights, argmax, ctx.num_weights, *rest = inputs
    ctx.scale_grad_by_freq, ctx.mode, last, padding = rest[:4]
    ctx.options = last, padding
    keep_grad = grad_output if needs_grad(ctx, 3) else None
    _save(ctx, output, indices, offsets, weights, argmax, keep_grad)


def _backward_of_bag(ctx: Any, grad_values: Tensor | None, *_: None) -> Gradients:
    if grad_values is None:
        return (None,) * len(ctx.needs_input_grad)
    rows, num_unique, indices, offsets, weights, argmax, grad_output = ctx.saved_tensors
    grad_grad, grad_weights = embedding_bag.adjoint(
        decompressed(grad_values, rows, num_unique, ctx.num_weights),
        grad_output,
        (indices, offsets, weights, argmax),
        ctx.num_weights,
        ctx.scale_grad_by_freq,
        ctx.mode,
        ctx.options,
        (needs_grad(ctx, 0), needs_grad(ctx, 3)),
    )
    gradients = (grad_grad, None, None, grad_weights, *(None,) * 7)
    return gradients[: len(ctx.needs_input_grad)]


def _save_for_multi(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    grad_output, indices, num_embeddings, embedding_dims, offsets, ctx.mode, weights = inputs
    ctx.num_embeddings, ctx.embedding_dims = num_embeddings, embedding_dims
    keep_grad = weights is not None and weights.requires_grad
    _, rows, *num_unique = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        indices,
        offsets,
        weights,
        grad_output if keep_grad else None,
        num_unique[0] if num_unique else None,
        *rows,
    )


def _backward_of_multi(ctx: Any, grad_values: list[Tensor | None], *_: Any) -> Gradients:
    indices, offsets, weights, grad_output, num_unique, *rows = ctx.saved_tensors
    given = [grad for grad in grad_values if grad is not None]
    if not given:
        return (None,) * len(ctx.needs_input_grad)
    tables = []
    for t, (grad, named) in enumerate(zip(grad_values, rows, strict=True)):
        if grad is None:
            tables.append(given[0].new_zeros(ctx.num_embeddings[t], ctx.embedding_dims[t]))
        else:
            count = None if num_unique is None else num_unique[t]
            tables.append(decompressed(grad, named, count, ctx.num_embeddings[t]))
    grad_grad = grad_weights = None
    if needs_grad(ctx, 0):
        grad_grad = ops.multi_embedding_list(tables, indices, offsets, ctx.mode, weights)
    if needs_grad(ctx, 6):
        grad_weights = ops.multi_embedding_list_per_sample_weights_backward(
            grad_output, tables, indices, offsets, ctx.mode, weights
        )
    gradients = (grad_grad, None, None, None, None, None, grad_weights)
    return gradients[: len(ctx.needs_input_grad)]


def _save(ctx: Any, output: tuple[Tensor, ...], *tensors: Tensor | None) -> None:
    _, rows, *num_unique = output
    ctx.mark_non_differentiable(rows, *num_unique)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(rows, num_unique[0] if num_unique else None, *tensors)


for _op, _backward, _setup in (
    ("embedding", _backward_of_embedding, _save_for_embedding),
    ("embedding_bag", _backward_of_bag, _save_for_bag),
    ("multi_embedding", _backward_of_multi, _save_for_multi),
):
    for _form in ("", "_padded"):
        torch.library.register_autograd(
            f"embed_ops::{_op}_compressed_backward{_form}", _backward, setup_context=_setup
        )
