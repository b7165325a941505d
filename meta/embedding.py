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
    check_gradient(check, grad_output, indices, num_weights, padding_idx)
    return grad_output.new_empty((num_weights, grad_output.shape[-1]))


def check_gradient(
    check: Check, grad_output: Tensor, indices: Tensor, num_weights: Size, padding_idx: int
) -> None:
    check.float_dtype("grad_output", grad_output)
    check.indices(indices, "grad_output", grad_output)
    check.rank("grad_output", grad_output, indices.dim() + 1)
    check.shape("grad_output", grad_output, (*indices.shape, grad_output.shape[-1]))
    check.at_least("num_weights", num_weights, 0)
    check.padding_idx(padding_idx, num_weights)
