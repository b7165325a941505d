"""The operators of compiled code.

They are defined here and not in csrc/schema.cpp, for what they do is to hand Python objects on.
``attach_gradient`` and ``attach_gradients`` return ``output``. Backward, ``deposit_gradient`` and
``deposit_gradients`` compress its gradient and deposit the result. They return the gradient of each
placeholder, so that no compiler leaves them out; ``number`` is another for each call, so that none
takes two for the same.

That one operator both compresses and deposits keeps sizes that only the data say out of the graph.
Without ``fullgraph=True`` torch.compile would not have them there, and with CUDA graphs Inductor
fails at them (torch 2.11).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from .._registration import Gradients
from .compress import compressed, compressed_tables
from .slot import collecting

ops = torch.ops.embed_ops
_new_number = itertools.count()

# What depositing does is not in any kernel that a CUDA graph could replay.
_TAGS = [torch.Tag.cudagraph_unsafe]

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
    "deposit_gradient(Tensor placeholder, Tensor ticket, int number, Tensor grad_output, "
    "Tensor indices, Tensor? offsets, Tensor? per_sample_weights, Tensor? argmax, "
    "SymInt num_weights, bool scale_grad_by_freq, str mode, bool include_last_offset, "
    "int padding_idx) -> Tensor",
    tags=_TAGS,
)
_library.define(
    "deposit_gradients(Tensor[] placeholders, Tensor[] tickets, int number, int[] tables, "
    "Tensor grad_output, Tensor indices, Tensor? offsets, Tensor? per_sample_weights, "
    "SymInt[] num_embeddings, int[] embedding_dims, str mode) -> Tensor[]",
    tags=_TAGS,
)


def _copy(output: Tensor, *_: Any) -> Tensor:
    return output.clone()


def _deposit(placeholder: Tensor, ticket: Tensor, number: int, *arguments: Any) -> Tensor:
    slot = collecting(ticket)
    if slot is not None:
        # New memory; that of grad_output may be a CUDA graph's, which the next replay overwrites.
        slot.deposit(compressed(*arguments))
    return torch.zeros_like(placeholder)


def _deposit_tables(
    placeholders: list[Tensor],
    tickets: list[Tensor],
    number: int,
    tables: list[int],
    *arguments: Any,
) -> list[Tensor]:
    slots = [collecting(ticket) for ticket in tickets]
    if any(slot is not None for slot in slots):
        together = compressed_tables(*arguments)
        is_one_weight = len(slots) < len(tables)
        pairs = [together] if is_one_weight else [together.of_table(table) for table in tables]
        for slot, its_pairs in zip(slots, pairs, strict=True):
            if slot is not None:
                slot.deposit(its_pairs)
    return [torch.zeros_like(placeholder) for placeholder in placeholders]


def _like(first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first)


def _like_each(first: list[Tensor], *_: Any) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in first]


for _name, _kernel, _fake in (
    ("attach_gradient", _copy, _like),
    ("attach_gradients", _copy, _like),
    ("deposit_gradient", _deposit, _like),
    ("deposit_gradients", _deposit_tables, _like_each),
):
    for _key in ("CPU", "CUDA"):
        _library.impl(_name, _kernel, _key)
    torch.library.register_fake(f"embed_ops::{_name}", _fake)


def _save_for_attach(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholder, ticket, *rest = inputs
    tensors, ctx.options = rest[:4], rest[4:]
    ctx.save_for_backward(placeholder, ticket, *tensors)


def _backward_of_attach(ctx: Any, grad_output: Tensor) -> Gradients:
    placeholder, ticket, *tensors = ctx.saved_tensors
    gradient = ops.deposit_gradient(
        placeholder, ticket, next(_new_number), grad_output, *tensors, *ctx.options
    )
    return grad_output, gradient, *(None,) * 10


def _save_for_attach_tables(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholders, tickets, ctx.tables, *rest = inputs
    tensors, ctx.options = rest[:3], rest[3:]
    ctx.count = len(placeholders)
    ctx.save_for_backward(*placeholders, *tickets, *tensors)


def _backward_of_attach_tables(ctx: Any, grad_output: Tensor) -> Gradients:
    saved = ctx.saved_tensors  # once: checkpoints unpack them when they are read
    placeholders, rest = list(saved[: ctx.count]), saved[ctx.count :]
    tickets, tensors = list(rest[: ctx.count]), rest[ctx.count :]
    gradients = ops.deposit_gradients(
        placeholders, tickets, next(_new_number), ctx.tables, grad_output, *tensors, *ctx.options
    )
    return grad_output, gradients, [None] * ctx.count, *(None,) * 7


torch.library.register_autograd(
    "embed_ops::attach_gradient", _backward_of_attach, setup_context=_save_for_attach
)
torch.library.register_autograd(
    "embed_ops::attach_gradients", _backward_of_attach_tables, setup_context=_save_for_attach_tables
)


def register_lowerings() -> None:
    """Inductor: attach_gradient returns its first argument, not a copy of it, and the lookup before
    it is called without a way through autograd, which takes as long as a small lookup."""
    from ...inductor import _torch

    _torch.register_lowerings()
    _torch.lower_to_first_argument(ops.attach_gradient.default, ops.attach_gradients.default)
