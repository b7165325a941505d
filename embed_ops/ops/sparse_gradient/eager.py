"""In eager code an autograd node makes the sparse tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._registration import Gradients
from .compress import compressed, compressed_tables
from .coo import Pairs
from .slot import Slot, slot_of


class Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, weight: Tensor, tensors: tuple[Tensor | None, ...], options: Any
    ) -> Tensor:
        ctx.shape, ctx.options = weight.shape, options
        ctx.slot = slot_of(weight) if weight.is_leaf else None
        ctx.save_for_backward(*tensors)
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Gradients:
        pairs = compressed(grad_output, *ctx.saved_tensors, *ctx.options)
        gradient = _as_gradient(pairs, ctx.shape, ctx.slot)
        return grad_output, gradient, None, None


class AttachTables(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        tensors: tuple[Tensor | None, ...],
        options: Any,
        wanted: list[int],
        *weights: Tensor,
    ) -> Tensor:
        ctx.options, ctx.wanted = options, wanted
        ctx.shapes = [weight.shape for weight in weights]
        ctx.slots = [
            slot_of(weight) if number in wanted and weight.is_leaf else None
            for number, weight in enumerate(weights)
        ]
        ctx.save_for_backward(*tensors)
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Gradients:
        together = compressed_tables(grad_output, *ctx.saved_tensors, *ctx.options)
        gradients: list[Tensor | None] = [None] * len(ctx.shapes)
        for number in ctx.wanted:
            pairs = together if len(gradients) == 1 else together.of_table(number)
            gradients[number] = _as_gradient(pairs, ctx.shapes[number], ctx.slots[number])
        return grad_output, None, None, None, *gradients


def _as_gradient(pairs: Pairs, shape: Sequence[int], slot: Slot | None) -> Tensor:
    return pairs.as_sparse(shape) if slot is None else slot.as_gradient(pairs, shape)
