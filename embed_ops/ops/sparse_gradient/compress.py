"""Compressed gradients, by the operators that compute them.

Nobody differentiates what is computed here. So the calls go past autograd, whose formulas would
take the host as long again as a call does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._registration import below_autograd
from .coo import Pairs

ops = torch.ops.embed_ops

# An OpOverload is but a Python function around its _op.
_of_rows = ops.embedding_compressed_backward.default._op
_of_bags = ops.embedding_bag_compressed_backward.default._op
_of_tables = ops.multi_embedding_compressed_backward.default._op


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
) -> Pairs:
    """That of a single table; ``mode`` is that of the bags, or ``"none"``."""
    with below_autograd():
        if mode == "none":
            values, rows = _of_rows(
                grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
            )
        else:
            values, rows = _of_bags(
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
            )
    return Pairs([values], [rows], [num_weights])


def compressed_tables(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    num_embeddings: list[int],
    embedding_dims: list[int],
    mode: str,
) -> Pairs:
    """That of all tables together."""
    with below_autograd():
        values, rows = _of_tables(
            grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights
        )
    return Pairs(values, rows, num_embeddings)
