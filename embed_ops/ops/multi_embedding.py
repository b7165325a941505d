"""multi_embedding: many tables of different sizes, looked up together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _weighted_mean, sparse_gradient
from ._arguments import fail
from ._autograd import is_deterministic
from ._registration import Gradients, register_autograd
from .multi_embedding_list import MultiBags, multi_embedding_list

ops = torch.ops.embed_ops


def multi_embedding(
    input: Tensor,
    weight: Tensor | Sequence[Tensor],
    num_embeddings: Sequence[int] | None = None,
    embedding_dims: Sequence[int] | None = None,
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
    sparse: bool = False,
) -> Tensor:
    """Looks up n tables at once and puts their rows side by side.

    Without ``offsets`` column t of ``input`` (B, n) names rows of table t. With ``offsets`` every
    table has one bag per sample, reduced to one row: bag ``t * B + b`` is that of table t and
    sample b.

    Args:
        input: indices, int32 or int64: (B, n), or (N,) with ``offsets``.
        weight: the tables, of dtype float32, float64, float16 or bfloat16, in one of three forms:
            packed, 1-D, table after table, each in row-major order; padded, 2-D of shape (rows of
            the tallest table, sum of widths), table beside table; or a sequence of n separate
            tensors, (rows, width) each.
        num_embeddings: the rows of each table; for a sequence of tensors None.
        embedding_dims: the width of each table; for a sequence of tensors None.
        offsets: (n * B + 1,), where each bag begins, and the end; int32 or int64.
        mode: ``"sum"`` or ``"mean"``, how bags are reduced; unused without ``offsets``.
        per_sample_weights: (N,), a weight for each index, of the tables' dtype; only with
            ``offsets``. Differentiable. The mean divides by the sum of the bag's weights.
        sparse: the gradient of each weight is a coalesced sparse tensor of the rows that ``input``
            names (:mod:`.sparse_gradient`): of a separate table sparse in its rows, of packed and
            padded tables sparse in its elements. It has no second derivative.

    Returns:
        (B, sum of widths), of the tables' dtype. Differentiable any number of times.

    Raises:
        IndexError: an index is outside its table, or offsets make no bags; late on CUDA
            (:class:`embed_ops.bounds_check`).
        ValueError: an argument of a wrong dtype, shape or device; an unknown mode; sizes missing or
            given twice.
    """
    if not isinstance(weight, Tensor):
        if num_embeddings is not None or embedding_dims is not None:
            fail(
                "multi_embedding",
                "num_embeddings and embedding_dims",
                "None with a sequence of weights",
                "values",
            )
        weights = list(weight)
        is_sparse = sparse and any(map(sparse_gradient.wanted_for, weights))
        tables = [table.detach() for table in weights] if is_sparse else weights
        output = multi_embedding_list(tables, input, offsets, mode, per_sample_weights)
        num_embeddings = [table.shape[0] for table in weights]
        embedding_dims = [table.shape[1] for table in weights]
    elif num_embeddings is None or embedding_dims is None:
        fail(
            "multi_embedding",
            "num_embeddings and embedding_dims",
            "values with a single weight",
            "None",
        )
    else:
        weights = [weight]
        is_sparse = sparse and sparse_gradient.wanted_for(weight)
        output = _multi_embedding(
            weight.detach() if is_sparse else weight,
            input,
            num_embeddings,
            embedding_dims,
            offsets,
            mode,
            per_sample_weights,
        )
    if not is_sparse:
        return output
    return sparse_gradient.attach_tables(
        output,
        weights,
        input,
        num_embeddings,
        embedding_dims,
        offsets,
        mode,
        None if per_sample_weights is None else per_sample_weights.detach(),
    )


def _save_for_multi_embedding(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, indices, num_embeddings, embedding_dims, offsets, ctx.mode, weights = inputs
    ctx.sizes = num_embeddings, embedding_dims
    ctx.padded = weight.dim() == 2
    # The tables are kept only for the gradient of the per-sample weights.
    ctx.save_for_backward(indices, offsets, weights, weight if ctx.needs_input_grad[1] else None)


def _backward_of_multi_embedding(ctx: Any, grad_output: Tensor) -> Gradients:
    indices, offsets, weights, weight = ctx.saved_tensors
    grad_weight = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_weight = _multi_embedding_dense_backward(
            grad_output,
            indices,
            *ctx.sizes,
            offsets,
            ctx.mode,
            weights,
            ctx.padded,
            is_deterministic(),
        )
    if ctx.needs_input_grad[1]:
        grad_weights = _multi_embedding_per_sample_weights_backward(
            grad_output, weight, indices, *ctx.sizes, offsets, ctx.mode, weights
        )
    return grad_weight, grad_weights


def _save_for_dense_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, indices, num_embeddings, embedding_dims, offsets, ctx.mode, weights, _, _ = inputs
    ctx.sizes = num_embeddings, embedding_dims
    ctx.save_for_backward(
        indices, offsets, weights, grad_output if ctx.needs_input_grad[1] else None
    )


def _backward_of_dense_backward(ctx: Any, grad_weight: Tensor) -> Gradients:
    indices, offsets, weights, grad_output = ctx.saved_tensors
    grad_grad = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_grad = ops.multi_embedding(
            grad_weight, indices, *ctx.sizes, offsets, ctx.mode, weights
        )
    if ctx.needs_input_grad[1]:
        grad_weights = ops.multi_embedding_per_sample_weights_backward(
            grad_output, grad_weight, indices, *ctx.sizes, offsets, ctx.mode, weights
        )
    return grad_grad, grad_weights


def _save_for_weights_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, weight, indices, num_embeddings, embedding_dims, offsets, ctx.mode, weights = (
        inputs
    )
    ctx.sizes = num_embeddings, embedding_dims
    ctx.padded = weight.dim() == 2
    is_mean = ctx.mode == "mean"
    ctx.save_for_backward(
        indices,
        offsets,
        weights,
        grad_output if ctx.needs_input_grad[1] or (is_mean and ctx.needs_input_grad[2]) else None,
        weight if ctx.needs_input_grad[0] or (is_mean and ctx.needs_input_grad[2]) else None,
    )


def _backward_of_weights_backward(ctx: Any, grad: Tensor) -> Gradients:
    indices, offsets, weights, grad_output, weight = ctx.saved_tensors
    factors, grad_weights = grad, None
    if ctx.mode == "mean":
        dot_products = None
        if ctx.needs_input_grad[2]:
            dot_products = ops.multi_embedding_per_sample_weights_backward(
                grad_output, weight, indices, *ctx.sizes, offsets, "sum", weights
            )
        factors, grad_weights = _weighted_mean.derivatives(
            lambda wide: MultiBags(wide, indices, offsets, ctx.sizes[0]),
            weights,
            grad,
            dot_products,
        )
    grad_grad = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_grad = ops.multi_embedding(weight, indices, *ctx.sizes, offsets, "sum", factors)
    if ctx.needs_input_grad[1]:
        grad_weight = ops.multi_embedding_dense_backward(
            grad_output,
            indices,
            *ctx.sizes,
            offsets,
            "sum",
            factors,
            ctx.padded,
            is_deterministic(),
        )
    return grad_grad, grad_weight, grad_weights


_multi_embedding = register_autograd(
    "multi_embedding",
    ["weight", "per_sample_weights"],
    _backward_of_multi_embedding,
    _save_for_multi_embedding,
)
_multi_embedding_dense_backward = register_autograd(
    "multi_embedding_dense_backward",
    ["grad_output", "per_sample_weights"],
    _backward_of_dense_backward,
    _save_for_dense_backward,
)
_multi_embedding_per_sample_weights_backward = register_autograd(
    "multi_embedding_per_sample_weights_backward",
    ["grad_output", "weight", "per_sample_weights"],
    _backward_of_weights_backward,
    _save_for_weights_backward,
)
