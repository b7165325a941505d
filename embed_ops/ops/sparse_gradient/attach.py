"""Gives a lookup the sparse gradient of its weight, in eager and in compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import eager
from .compiled import register_lowerings
from .slot import SLOT, slot_of

ops = torch.ops.embed_ops


def _prepare(weight: Tensor) -> None:
    """Runs while code that looks ``weight`` up is traced, with the tensor itself."""
    slot_of(weight)
    register_lowerings()


def _is_exporting() -> bool:
    return torch.compiler.is_exporting()


# What torch.compiler.assume_constant_result does, which imports the compiler. Asked in traced code
# itself, torch 2.11's is_exporting always says yes.
for _function in (_prepare, _is_exporting):
    vars(_function)["_dynamo_marked_constant"] = True


def wanted_for(weight: Tensor) -> bool:
    """Whether ``sparse=True`` means anything for this weight, here.

    Not where it gets no gradient. In compiled code not where its gradient flows on into the graph,
    nor in exported programs: there it is dense.
    """
    if not (weight.requires_grad and torch.is_grad_enabled()):
        return False
    if torch.compiler.is_compiling() and _is_exporting():
        return False
    return weight.is_leaf or not torch.compiler.is_compiling()


def attach(
    output: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor | None = None,
    per_sample_weights: Tensor | None = None,
    argmax: Tensor | None = None,
    scale_grad_by_freq: bool = False,
    mode: str = "none",
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Tensor:
    """``output``, looked up in ``weight.detach()``, with the sparse gradient of ``weight``.

    Args:
        mode: that of the bags, or ``"none"`` for a lookup without bags.
    """
    tensors = indices, offsets, per_sample_weights, argmax
    options = weight.shape[0], scale_grad_by_freq, mode, include_last_offset, padding_idx
    if torch.compiler.is_compiling():
        _prepare(weight)
        slot = getattr(weight, SLOT)
        return ops.attach_gradient(output, slot.placeholder, slot.ticket, *tensors, *options)
    return eager.attach(output, weight, tensors, options)


def attach_tables(
    output: Tensor,
    weights: Sequence[Tensor],
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
) -> Tensor:
    """:func:`attach` for lookups in several tables: each a weight, or all of them one.

    Weights that get no gradient (:func:`wanted_for`) are left out.
    """
    tensors = indices, offsets, per_sample_weights
    options: Any = list(num_embeddings), list(embedding_dims), mode
    wanted = [number for number, weight in enumerate(weights) if wanted_for(weight)]
    if torch.compiler.is_compiling():
        for number in wanted:
            _prepare(weights[number])
        slots = [getattr(weights[number], SLOT) for number in wanted]
        return ops.attach_gradients(
            output,
            [slot.placeholder for slot in slots],
            [slot.ticket for slot in slots],
            wanted if len(weights) > 1 else list(range(len(num_embeddings))),
            *tensors,
            *options,
        )
    return eager.attach_tables(output, weights, tensors, options, wanted)
