"""In eager code an autograd node makes the sparse tensor: that of the lookup itself, recorded with
:func:`save` and :func:`backward`, or one behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import unwrap_if_dead
from torch.autograd.function import once_differentiable

from .._registration import Gradients, autograd_function, in_transform
from .compress import compressed, compressed_tables
from .coo import Pairs
from .slot import Slot, slot_of


def attach(
    output: Tensor, weight: Tensor, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...]
) -> Tensor:
    """``output``, with a gradient for ``weight``."""
    return _record(_attach, output, (output, tensors, options), weight)


def attach_tables(
    output: Tensor,
    weights: Sequence[Tensor],
    tensors: tuple[Tensor | None, ...],
    options: tuple[Any, ...],
    wanted: list[int],
) -> Tensor:
    """``output``, with a gradient for each of the weights whose numbers are in ``wanted``."""
    return _record(_attach_tables, output, (output, tensors, options, wanted), *weights)


def _record(
    apply: Callable[..., Tensor], output: Tensor, arguments: tuple[Any, ...], *weights: Tensor
) -> Tensor:
    if in_transform():
        raise RuntimeError("sparse=True: expected no transform of torch.func, got one")
    # An output without a history gets this one. One that has its own is an input, and autograd
    # returns a view of it. A tracer sees inputs only.
    is_input = output.requires_grad or torch._C._get_tracing_state() is not None
    before = output if is_input else None
    return apply(arguments, before, *map(unwrap_if_dead, weights))


def _once(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """once_differentiable, for what a backward seldom does: recording itself."""
    recorded = once_differentiable(backward)

    def run(ctx: Any, grad_output: Tensor) -> Gradients:
        if not torch.is_grad_enabled():
            return backward(ctx, grad_output)
        gradients = recorded(ctx, grad_output)
        return gradients if isinstance(gradients, tuple) else (gradients,)  # torch unpacks one.

    return run


def save(
    ctx: Any, weight: Tensor, tensors: tuple[Tensor | None, ...], options: tuple[Any, ...]
) -> None:
    """Keeps in ctx what :func:`backward` needs: the arguments of :func:`compressed` after the first
    are ``tensors`` and ``options``."""
    ctx.shape, ctx.options = weight.shape, options
    ctx.slot = slot_of(weight) if weight.is_leaf else None
    ctx.save_for_backward(*tensors)


@_once
def backward(ctx: Any, grad_output: Tensor) -> Gradients:
    pairs = compressed(grad_output, *ctx.saved_tensors, *ctx.options)
    return (_as_gradient(pairs, ctx.shape, ctx.slot),)


def _forward(ctx: Any, arguments: tuple[Any, ...], before: Tensor | None, weight: Tensor) -> Tensor:
    output, tensors, options = arguments
    save(ctx, weight, tensors, options)
    return output if before is None else before


def _backward(ctx: Any, grad_output: Tensor) -> Gradients:
    return None, grad_output if ctx.needs_input_grad[1] else None, *backward(ctx, grad_output)


def _forward_of_tables(
    ctx: Any, arguments: tuple[Any, ...], before: Tensor | None, *weights: Tensor
) -> Tensor:
    output, tensors, ctx.options, ctx.wanted = arguments
    ctx.shapes = [weight.shape for weight in weights]
    ctx.slots = [
        slot_of(weight) if number in ctx.wanted and weight.is_leaf else None
        for number, weight in enumerate(weights)
    ]
    ctx.save_for_backward(*tensors)
    return output if before is None else before


@_once
def _backward_of_tables(ctx: Any, grad_output: Tensor) -> Gradients:
    together = compressed_tables(grad_output, *ctx.saved_tensors, *ctx.options)
    gradients: list[Tensor | None] = [None] * len(ctx.shapes)
    for number in ctx.wanted:
        pairs = together if len(gradients) == 1 else together.of_table(number)
        gradients[number] = _as_gradient(pairs, ctx.shapes[number], ctx.slots[number])
    return None, grad_output if ctx.needs_input_grad[1] else None, *gradients


_attach = autograd_function("Attach", _forward, _backward)
_attach_tables = autograd_function("AttachTables", _forward_of_tables, _backward_of_tables)


def _as_gradient(pairs: Pairs, shape: torch.Size, slot: Slot | None) -> Tensor:
    return pairs.as_sparse(shape) if slot is None else slot.as_gradient(pairs, shape)
