"""The operators of compiled code.

They are defined here and not in csrc/schema.cpp, for what they do is to hand Python objects on.
``attach_gradient`` and ``attach_gradients`` return ``output``; backward they compress its gradient
and deposit the result. ``deposit`` returns the gradient of the placeholder, so that no compiler
leaves it out; ``number`` is another for each, so that none takes two for the same.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from .._registration import Gradients
from .compress import compressed, compressed_tables, one_of
from .coo import Pairs
from .slot import with_ticket

ops = torch.ops.embed_ops
_new_number = itertools.count()


_library = torch.library.Library("embed_ops", "FRAGMENT")
_library.define(
    "attach_gradient(Tensor output, Tensor placeholder, Tensor ticket, Tensor indices, "
    "Tensor? offsets, Tensor? per_sample_weights, Tensor? argmax, SymInt num_weights, "
    "bool scale_grad_by_freq, str mode, bool include_last_offset, int padding_idx) -> Tensor"
)
_library.define(
    "attach_gradients(Tensor output, Tensor[] placeholders, Tensor[] tickets, int[] tables, "
    "Tensor indices, Tensor? offsets, Tensor? per_sample_weights, SymInt[] num_embeddings, "
    "int[] embedding_dims, str mode) -> Tensor"
)
_library.define(
    "deposit(Tensor placeholder, Tensor ticket, int number, Tensor[] values, Tensor[] rows, "
    "SymInt[] num_embeddings, Tensor? num_unique=None) -> Tensor",
    # What it does is not in any kernel that a CUDA graph could replay.
    tags=[torch.Tag.cudagraph_unsafe] if hasattr(torch.Tag, "cudagraph_unsafe") else [],
)


def _copy(output: Tensor, *_: Any) -> Tensor:
    return output.clone()


def _deposit(
    placeholder: Tensor,
    ticket: Tensor,
    number: int,
    values: list[Tensor],
    rows: list[Tensor],
    num_embeddings: list[int],
    num_unique: Tensor | None = None,
) -> Tensor:
    slot = with_ticket(ticket)
    if slot is not None:
        slot.deposit(Pairs(values, rows, num_embeddings, num_unique))
    return torch.zeros_like(placeholder)


def _like(first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first)


for _key in ("CPU", "CUDA"):
    _library.impl("attach_gradient", _copy, _key)
    _library.impl("attach_gradients", _copy, _key)
    _library.impl("deposit", _deposit, _key)
torch.library.register_fake("embed_ops::attach_gradient", _like)
torch.library.register_fake("embed_ops::attach_gradients", _like)
torch.library.register_fake("embed_ops::deposit", _like)


def _save_for_attach(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholder, ticket, *rest = inputs
    tensors, ctx.options = rest[:4], rest[4:]
    ctx.save_for_backward(placeholder, ticket, *tensors)


def _backward_of_attach(ctx: Any, grad_output: Tensor) -> Gradients:
    placeholder, ticket, *tensors = ctx.saved_tensors
    pairs = compressed(grad_output, *tensors, *ctx.options)
    return grad_output, _deposited(placeholder, ticket, pairs), *(None,) * 10


def _save_for_attach_tables(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholders, tickets, ctx.tables, *rest = inputs
    tensors, ctx.options = rest[:3], rest[3:]
    ctx.count = len(placeholders)
    ctx.save_for_backward(*placeholders, *tickets, *tensors)


def _backward_of_attach_tables(ctx: Any, grad_output: Tensor) -> Gradients:
    saved = ctx.saved_tensors  # once: checkpoints unpack them when they are read
    placeholders, rest = saved[: ctx.count], saved[ctx.count :]
    tickets, tensors = rest[: ctx.count], rest[ctx.count :]
    together = compressed_tables(grad_output, *tensors, *ctx.options)
    if ctx.count < len(ctx.tables):
        pairs = [together]  # all tables are one weight
    else:
        pairs = [one_of(together, table) for table in ctx.tables]
    gradients = list(map(_deposited, placeholders, tickets, pairs))
    return grad_output, gradients, [None] * ctx.count, *(None,) * 7


def _deposited(placeholder: Tensor, ticket: Tensor, pairs: tuple[Any, ...]) -> Tensor:
    """The gradient of the placeholder."""
    return ops.deposit(placeholder, ticket, next(_new_number), *pairs)


torch.library.register_autograd(
    "embed_ops::attach_gradient", _backward_of_attach, setup_context=_save_for_attach
)
torch.library.register_autograd(
    "embed_ops::attach_gradients", _backward_of_attach_tables, setup_context=_save_for_attach_tables
)


def lower_to_identity() -> None:
    """Inductor: attach_gradient returns its first argument, not a copy of it."""
    from ...inductor import _torch

    _torch.lower_to_first_argument(ops.attach_gradient.default, ops.attach_gradients.default)
