"""Fake kernels of the compressed gradients; twins of csrc/ops/compressed_backward.h.

The exact forms have as many rows as lookups name, which only their data say: a size of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import embedding, embedding_bag, multi_embedding
from .checks import Check, Size


@torch.library.register_fake("embed_ops::embedding_compressed_backward")
def embedding_compressed_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: Size,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
) -> tuple[Tensor, Tensor]:
    check = Check("embedding_compressed_backward")
    embedding.check_gradient(check, grad_output, indices, num_weights, padding_idx)
    return _compressed(grad_output, indices, _named_rows(), grad_output.shape[-1])


@torch.library.register_fake("embed_ops::embedding_compressed_backward_padded")
def embedding_compressed_backward_padded(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: Size,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    size: Size | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    check = Check("embedding_compressed_backward_padded")
    embedding.check_gradient(check, grad_output, indices, num_weights, padding_idx)
    room = _padded_size(check, size, indices)
    compressed = _compressed(grad_output, indices, room, grad_output.shape[-1])
    return *compressed, _counts(indices, ())


@torch.library.register_fake("embed_ops::embedding_bag_compressed_backward")
def embedding_bag_compressed_backward(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor,
    num_weights: Size,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor]:
    check = Check("embedding_bag_compressed_backward")
    embedding_bag.check_gradient(
        check,
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
    return _compressed(grad_output, indices, _named_rows(), grad_output.shape[1])


@torch.library.register_fake("embed_ops::embedding_bag_compressed_backward_padded")
def embedding_bag_compressed_backward_padded(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor,
    num_weights: Size,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    include_last_offset: bool = False,
    padding_idx: int = -1,
    size: Size | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    check = Check("embedding_bag_compressed_backward_padded")
    embedding_bag.check_gradient(
        check,
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
    room = _padded_size(check, size, indices)
    compressed = _compressed(grad_output, indices, room, grad_output.shape[1])
    return *compressed, _counts(indices, ())


@torch.library.register_fake("embed_ops::multi_embedding_compressed_backward")
def multi_embedding_compressed_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[Size],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    check = Check("multi_embedding_compressed_backward")
    multi_embedding.check_gradient(
        check,
        grad_output,
        indices,
        num_embeddings,
        embedding_dims,
        offsets,
        mode,
        per_sample_weights,
    )
    pairs = [_compressed(grad_output, indices, _named_rows(), width) for width in embedding_dims]
    return [values for values, _ in pairs], [rows for _, rows in pairs]


@torch.library.register_fake("embed_ops::multi_embedding_compressed_backward_padded")
def multi_embedding_compressed_backward_padded(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[Size],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    check = Check("multi_embedding_compressed_backward_padded")
    multi_embedding.check_gradient(
        check,
        grad_output,
        indices,
        num_embeddings,
        embedding_dims,
        offsets,
        mode,
        per_sample_weights,
    )
    size = indices.shape[0]  # lookups of each table; with offsets any table may have all of them
    pairs = [_compressed(grad_output, indices, size, width) for width in embedding_dims]
    counts = _counts(indices, (len(embedding_dims),))
    return [values for values, _ in pairs], [rows for _, rows in pairs], counts


def _named_rows() -> Size:
    return torch.library.get_ctx().new_dynamic_size()


def _padded_size(check: Check, size: Size | None, indices: Tensor) -> Size:
    if size is None:
        return indices.numel()
    check.at_least("size", size, 0)
    return size


def _compressed(
    grad_output: Tensor, indices: Tensor, size: Size, width: Size
) -> tuple[Tensor, Tensor]:
    return grad_output.new_empty((size, width)), indices.new_empty((size,))


def _counts(indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    return indices.new_empty(shape, dtype=torch.int64)
