"""Fake kernels of embedding and embedding_dense_backward; twins of csrc/ops/embedding.h."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import Check, Size


@torch.library.register_fake("embed_ops::embedding")
def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False
) -> Tensor:
    check = Check("embedding")
    check.table("weight", weight)
    check.indices(indices, "weight", weight)
    check.padding_idx(padding_idx, weight.shape[0])
    return weight.new_empty((*indices.shape, weight.shape[1]))


@torch.library.register_fake("embed_ops::embedding_dense_backward")
def embedding_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: Size,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    deterministic: bool = False,
) -> Tensor:
    check = Check("embedding_dense_backward")
    check.float_dtype("grad_output", grad_output)
    check.indices(indices, "grad_output", grad_output)
    check.rank("grad_output", grad_output, indices.dim() + 1)
    width = grad_output.shape[-1]
    check.shape("grad_output", grad_output, (*indices.shape, width))
    check.at_least("num_weights", num_weights, 0)
    check.padding_idx(padding_idx, num_weights)
    return grad_output.new_empty((num_weights, width))
