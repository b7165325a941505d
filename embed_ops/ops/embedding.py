"""embedding: one row per index."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import sparse_gradient
from ._arguments import op_padding_idx
from ._autograd import divide_rows, is_deterministic, ones
from ._jagged import open_jagged
from ._registration import Gradients, eager_call, register_autograd
from .embedding_renorm import renorm_

ops = torch.ops.embed_ops


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Looks up rows of a table, as :func:`torch.nn.functional.embedding` does.

    Args:
        input: indices of any shape, int32 or int64; or a nested tensor (B, j) of
            ``layout=torch.jagged``, whose result is one too.
        weight: the table, (rows, D); float32, float64, float16 or bfloat16, any strides.
        padding_idx: a row whose gradient is always zero; negative values count from the end.
        max_norm: rows that ``input`` names and whose norm is larger are scaled down to it first, in
            place and outside the graph.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often ``input`` names it.
        sparse: the gradient of ``weight`` is a coalesced sparse tensor of the rows that ``input``
            names (:mod:`.sparse_gradient`). It has no second derivative.

    Returns:
        ``(*input.shape, D)``, of the dtype of ``weight``. Differentiable any number of times.

    Raises:
        IndexError: an index is outside [0, rows); late on CUDA (:class:`embed_ops.bounds_check`).
        ValueError: an argument of a wrong dtype, rank or device.
    """
    if input.is_nested:
        values, offsets = open_jagged("embedding", "input", input)
        rows = embedding(
            values, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        )
        return torch.nested.nested_tensor_from_jagged(rows, offsets)
    padding = op_padding_idx("embedding", padding_idx, weight)
    if max_norm is not None:
        renorm_(weight, input, max_norm, norm_type)
    if sparse and sparse_gradient.wanted_for(weight):
        return _sparse_embedding(weight, input, padding, scale_grad_by_freq)
    return _embedding(weight, input, padding, scale_grad_by_freq)


def _attached_embedding(
    weight: Tensor, indices: Tensor, padding_idx: int, scale_grad_by_freq: bool
) -> Tensor:
    rows = _embedding(weight.detach(), indices, padding_idx)
    return sparse_gradient.attach(
        rows, weight, indices, scale_grad_by_freq=scale_grad_by_freq, padding_idx=padding_idx
    )


def _save_for_sparse_embedding(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, indices, padding_idx, scale_grad_by_freq = inputs
    options = weight.shape[0], scale_grad_by_freq, "none", False, padding_idx
    sparse_gradient.save(ctx, weight, (indices, None, None, None), options)


def _save_for_embedding(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, indices, ctx.padding_idx, ctx.scale_grad_by_freq = inputs
    ctx.save_for_backward(indices)
    ctx.num_weights = weight.shape[0]


def _backward_of_embedding(ctx: Any, grad_output: Tensor) -> Gradients:
    (indices,) = ctx.saved_tensors
    grad_weight = _embedding_dense_backward(
        grad_output,
        indices,
        ctx.num_weights,
        ctx.padding_idx,
        ctx.scale_grad_by_freq,
        is_deterministic(),
    )
    return (grad_weight,)


def _save_for_dense_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, indices, ctx.num_weights, ctx.padding_idx, ctx.scale_grad_by_freq, _ = inputs
    ctx.save_for_backward(indices)


def _backward_of_dense_backward(ctx: Any, grad_weight: Tensor) -> Gradients:
    (indices,) = ctx.saved_tensors
    grad_grad = adjoint(
        grad_weight, indices, ctx.num_weights, ctx.padding_idx, ctx.scale_grad_by_freq
    )
    return (grad_grad,)


def adjoint(
    grad_weight: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int,
    scale_grad_by_freq: bool,
) -> Tensor:
    """The derivative of the dense gradient by ``grad_output``, times ``grad_weight``."""
    if scale_grad_by_freq:
        each = ones(indices, (*indices.shape, 1), torch.float64)
        counts = ops.embedding_dense_backward(each, indices, num_weights)
        grad_weight = divide_rows(grad_weight, counts)
    if padding_idx < 0:
        return ops.embedding(grad_weight, indices)
    # Bags of one lookup: unlike embedding they leave out the padding row.
    bags = indices.reshape(-1, 1)
    rows, _ = ops.embedding_bag(grad_weight, bags, None, False, "sum", None, False, padding_idx)
    return rows.reshape(*indices.shape, grad_weight.shape[1])


_embedding = register_autograd("embedding", ["weight"], _backward_of_embedding, _save_for_embedding)
_sparse_embedding = eager_call(
    "embedding",
    ["weight"],
    sparse_gradient.backward,
    _save_for_sparse_embedding,
    _attached_embedding,
)
_embedding_dense_backward = register_autograd(
    "embedding_dense_backward",
    ["grad_output"],
    _backward_of_dense_backward,
    _save_for_dense_backward,
)
