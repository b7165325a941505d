"""Compressed gradients: the arguments of :class:`.coo.Pairs`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ops = torch.ops.embed_ops


def compressed(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor | None,
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: str,
    include_last_offset: bool,
    padding_idx: int,
) -> tuple[Any, ...]:
    """The arguments of :class:`Pairs` for a single table."""
    # All rows of a small table, or as many as there are lookups of a large one.
    size = (torch.sym_min(indices.numel(), num_weights),)
    if mode == "none":
        values, rows, *num_unique = _exact_or_padded(
            "embedding_compressed_backward",
            (grad_output, indices, num_weights, padding_idx, scale_grad_by_freq),
            size,
        )
    else:
        values, rows, *num_unique = _exact_or_padded(
            "embedding_bag_compressed_backward",
            (
                grad_output,
                indices,
                offsets,
                per_sample_weights,
                argmax,
                num_weights,
                scale_grad_by_freq,
                mode,
                include_last_offset,
                padding_idx,
            ),
            size,
        )
    return [values], [rows], [num_weights], *num_unique


def compressed_tables(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    num_embeddings: list[int],
    embedding_dims: list[int],
    mode: str,
) -> tuple[Any, ...]:
    """The arguments of :class:`Pairs` for all tables together."""
    values, rows, *num_unique = _exact_or_padded(
        "multi_embedding_compressed_backward",
        (grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights),
        (),
    )
    return values, rows, num_embeddings, *num_unique


def one_of(together: tuple[Any, ...], table: int) -> tuple[Any, ...]:
    values, rows, num_embeddings, *num_unique = together
    counts = [counts[table : table + 1] for counts in num_unique]
    return [values[table]], [rows[table]], [num_embeddings[table]], *counts


def _exact_or_padded(name: str, arguments: tuple[Any, ...], size: tuple[Any, ...]) -> Any:
    """Compiled code may have to do without sizes that only the data say: torch.compile allows them
    with ``fullgraph=True`` or ``torch._dynamo.config.capture_dynamic_output_shape_ops``."""
    try:
        return getattr(ops, name)(*arguments)
    except torch._subclasses.fake_tensor.DynamicOutputShapeException:
        return getattr(ops, f"{name}_padded")(*arguments, *size)
