"""embedding_bag: the rows of each bag, reduced to one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _weighted_mean, sparse_gradient
from ._arguments import fail, op_padding_idx
from ._autograd import divide_rows, is_deterministic, ones
from ._jagged import open_jagged, open_jagged_weights
from ._registration import Gradients, register_autograd
from .embedding_renorm import renorm_

ops = torch.ops.embed_ops


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Reduces bags of rows, as :func:`torch.nn.functional.embedding_bag` does.

    Beyond torch: ``per_sample_weights`` with mode ``"mean"`` gives the weighted mean, the sum of
    weight x row divided by the sum of the weights; ``input`` and ``offsets`` may differ in dtype.

    Args:
        input: indices, int32 or int64, in one of three layouts: (B, hotness); (N,) with
            ``offsets``; or a nested tensor (B, j) of ``layout=torch.jagged``.
        weight: the table, (rows, D); float32, float64, float16 or bfloat16, any strides.
        offsets: (B,), where each bag begins in a 1-D ``input``, the first at 0; int32 or int64.
        max_norm: rows that ``input`` names and whose norm is larger are scaled down to it first, in
            place and outside the graph.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often ``input`` names it. Not with
            mode ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: the gradient of ``weight`` is a coalesced sparse tensor of the rows that ``input``
            names (:mod:`.sparse_gradient`). It has no second derivative.
        per_sample_weights: a weight for each index: of the shape (or the jagged layout) of
            ``input`` and the dtype of ``weight``. Differentiable. Not with mode ``"max"``.
        include_last_offset: ``offsets`` is (B + 1,) and ends with the end of the last bag. Ignored
            unless ``input`` is 1-D.
        padding_idx: a row that no bag takes in; negative values count from the end.

    Returns:
        (B, D), of the dtype of ``weight``; zeros for empty bags. Differentiable any number of
        times.

    Raises:
        IndexError: an index is outside [0, rows), or offsets make no bags; late on CUDA
            (:class:`embed_ops.bounds_check`).
        ValueError: an argument of a wrong dtype, shape or device; an unknown mode.
    """
    padding = op_padding_idx("embedding_bag", padding_idx, weight)
    if input.is_nested:
        if offsets is not None:
            fail("embedding_bag", "offsets", "None with a jagged input", "a tensor")
        if per_sample_weights is not None:
            per_sample_weights = open_jagged_weights("embedding_bag", per_sample_weights, input)
        input, offsets = open_jagged("embedding_bag", "input", input)
        include_last_offset = True
    elif offsets is None:
        include_last_offset = False
    if max_norm is not None:
        renorm_(weight, input, max_norm, norm_type)
    is_sparse = sparse and sparse_gradient.wanted_for(weight)
    output, argmax = _embedding_bag(
        weight.detach() if is_sparse else weight,
        input,
        offsets,
        scale_grad_by_freq,
        mode,
        per_sample_weights,
        include_last_offset,
        padding,
    )
    if not is_sparse:
        return output
    return sparse_gradient.attach(
        output,
        weight,
        input,
        offsets,
        None if per_sample_weights is None else per_sample_weights.detach(),
        argmax,
        scale_grad_by_freq,
        mode,
        include_last_offset,
        padding,
    )


class _Bags(_weighted_mean.Bags):
    """The bags of one call, summed and spread by the ops, with a table of ones."""

    def __init__(
        self,
        weights: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        num_rows: int,
        include_last_offset: bool,
        padding_idx: int,
    ) -> None:
        self.table = ones(weights, (num_rows, 1), weights.dtype)
        self.weights = weights
        self.bags = indices, offsets
        self.options = include_last_offset, padding_idx

    def total(self, values: Tensor | None) -> Tensor:
        return ops.embedding_bag(self.table, *self.bags, False, "sum", values, *self.options)[0]

    def spread(self, values: Tensor) -> Tensor:
        return ops.embedding_bag_per_sample_weights_backward(
            values, self.table, *self.bags, self.weights, "sum", *self.options
        )


def _save_for_embedding_bag(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
) -> None:
    weight, indices, offsets, ctx.scale_grad_by_freq, ctx.mode, weights, last, padding = inputs
    ctx.options = last, padding
    ctx.num_weights = weight.shape[0]
    argmax = output[1]
    ctx.mark_non_differentiable(argmax)
    ctx.set_materialize_grads(False)
    # The table is kept only for the gradient of the per-sample weights.
    ctx.save_for_backward(
        indices, offsets, weights, argmax, weight if ctx.needs_input_grad[1] else None
    )


def _backward_of_embedding_bag(
    ctx: Any, grad_output: Tensor | None, grad_argmax: None
) -> Gradients:
    if grad_output is None:
        return None, None
    indices, offsets, weights, argmax, weight = ctx.saved_tensors
    grad_weight = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_weight = _embedding_bag_dense_backward(
            grad_output,
            indices,
            offsets,
            weights,
            argmax,
            ctx.num_weights,
            ctx.scale_grad_by_freq,
            ctx.mode,
            *ctx.options,
            is_deterministic(),
        )
    if ctx.needs_input_grad[1]:
        grad_weights = _embedding_bag_per_sample_weights_backward(
            grad_output, weight, indices, offsets, weights, ctx.mode, *ctx.options
        )
    return grad_weight, grad_weights


def _save_for_dense_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, indices, offsets, weights, argmax, num_weights, by_freq, mode, *rest = inputs
    ctx.scale_grad_by_freq, ctx.mode = by_freq, mode
    ctx.num_weights = num_weights
    ctx.options = tuple(rest[:2])
    ctx.save_for_backward(
        indices, offsets, weights, argmax, grad_output if ctx.needs_input_grad[1] else None
    )


def _backward_of_dense_backward(ctx: Any, grad_weight: Tensor) -> Gradients:
    indices, offsets, weights, argmax, grad_output = ctx.saved_tensors
    bags = indices, offsets, weights, argmax
    wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
    grad_grad, grad_weights = adjoint(
        grad_weight,
        grad_output,
        bags,
        ctx.num_weights,
        ctx.scale_grad_by_freq,
        ctx.mode,
        ctx.options,
        wanted,
    )
    return grad_grad, grad_weights


def adjoint(
    grad_weight: Tensor,
    grad_output: Tensor | None,
    bags: tuple[Tensor, Tensor | None, Tensor | None, Tensor],
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: str,
    options: tuple[bool, int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The derivatives of the dense gradient, times ``grad_weight``.

    Args:
        grad_output: needed for the second derivative only.
        bags: indices, offsets, per_sample_weights and argmax.
        options: include_last_offset and padding_idx.
        wanted: whether the derivatives by ``grad_output`` and by ``per_sample_weights`` are.
    """
    indices, offsets, weights, argmax = bags
    if scale_grad_by_freq:
        counts = _frequencies(indices, offsets, num_weights, *options)
        grad_weight = divide_rows(grad_weight, counts)
    grad_grad = grad_weights = None
    if wanted[0]:
        if mode == "max":
            grad_grad = _take(grad_weight, argmax)
        else:
            grad_grad, _ = ops.embedding_bag(
                grad_weight, indices, offsets, False, mode, weights, *options
            )
    if wanted[1]:
        grad_weights = ops.embedding_bag_per_sample_weights_backward(
            grad_output, grad_weight, indices, offsets, weights, mode, *options
        )
    return grad_grad, grad_weights


def _frequencies(
    indices: Tensor,
    offsets: Tensor | None,
    num_weights: int,
    include_last_offset: bool,
    padding_idx: int,
) -> Tensor:
    """(num_weights, 1) float64: how many lookups of the call name each row."""
    if offsets is None:
        num_bags = indices.shape[0]
    else:
        num_bags = offsets.shape[0] - 1 if include_last_offset else offsets.shape[0]
    return ops.embedding_bag_dense_backward(
        ones(indices, (num_bags, 1), torch.float64),
        indices,
        offsets,
        None,
        indices.new_empty(0),
        num_weights,
        False,
        "sum",
        include_last_offset,
        padding_idx,
    )


def _take(table: Tensor, rows: Tensor) -> Tensor:
    """(B, D): ``table[rows[b, d], d]``, zero where the row is -1."""
    if table.shape[0] == 0:
        return table.new_zeros(rows.shape)
    taken = table.gather(0, rows.clamp(min=0).to(torch.int64))
    return torch.where(rows >= 0, taken, 0)


def _save_for_weights_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, weight, indices, offsets, weights, ctx.mode, *rest = inputs
    ctx.options = tuple(rest)
    ctx.num_weights = weight.shape[0]
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
            dot_products = ops.embedding_bag_per_sample_weights_backward(
                grad_output, weight, indices, offsets, weights, "sum", *ctx.options
            )
        factors, grad_weights = _weighted_mean.derivatives(
            lambda wide: _Bags(wide, indices, offsets, ctx.num_weights, *ctx.options),
            weights,
            grad,
            dot_products,
        )
    grad_grad = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_grad = ops.embedding_bag(
            weight, indices, offsets, False, "sum", factors, *ctx.options
        )[0]
    if ctx.needs_input_grad[1]:
        grad_weight = ops.embedding_bag_dense_backward(
            grad_output,
            indices,
            offsets,
            factors,
            indices.new_empty(0),
            ctx.num_weights,
            False,
            "sum",
            *ctx.options,
            is_deterministic(),
        )
    return grad_grad, grad_weight, grad_weights


_embedding_bag = register_autograd(
    "embedding_bag",
    ["weight", "per_sample_weights"],
    _backward_of_embedding_bag,
    _save_for_embedding_bag,
)
_embedding_bag_dense_backward = register_autograd(
    "embedding_bag_dense_backward",
    ["grad_output", "per_sample_weights"],
    _backward_of_dense_backward,
    _save_for_dense_backward,
)
_embedding_bag_per_sample_weights_backward = register_autograd(
    "embedding_bag_per_sample_weights_backward",
    ["grad_output", "weight", "per_sample_weights"],
    _backward_of_weights_backward,
    _save_for_weights_backward,
)
