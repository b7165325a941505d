"""Fake kernels of multi_embedding and multi_embedding_list; twins of csrc/ops/multi_embedding.h."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import Check, Size, shape_text, size_text


@torch.library.register_fake("embed_ops::multi_embedding")
def multi_embedding(
    weight: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    check = Check("multi_embedding")
    _check_table_sizes(check, num_embeddings, embedding_dims)
    _check_storage(check, weight, num_embeddings, embedding_dims)
    num_tables = len(num_embeddings)
    _check_lookups(check, num_tables, indices, offsets, per_sample_weights, "weight", weight)
    check.mode(mode, max_allowed=False)
    return weight.new_empty((_batch(num_tables, indices, offsets), sum(embedding_dims)))


@torch.library.register_fake("embed_ops::multi_embedding_dense_backward")
def multi_embedding_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
    padded: bool = False,
    deterministic: bool = False,
) -> Tensor:
    check = Check("multi_embedding_dense_backward")
    check_gradient(
        check,
        grad_output,
        indices,
        num_embeddings,
        embedding_dims,
        offsets,
        mode,
        per_sample_weights,
    )
    return grad_output.new_empty(_storage_shape(padded, num_embeddings, embedding_dims))


@torch.library.register_fake("embed_ops::multi_embedding_per_sample_weights_backward")
def multi_embedding_per_sample_weights_backward(
    grad_output: Tensor,
    weight: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor,
    mode: str,
    per_sample_weights: Tensor,
) -> Tensor:
    check = Check("multi_embedding_per_sample_weights_backward")
    _check_table_sizes(check, num_embeddings, embedding_dims)
    _check_storage(check, weight, num_embeddings, embedding_dims)
    num_tables = len(num_embeddings)
    _check_lookups(check, num_tables, indices, offsets, per_sample_weights, "weight", weight)
    check.mode(mode, max_allowed=False)
    check.same_dtype("grad_output", grad_output, "weight", weight)
    check.same_device("grad_output", grad_output, "weight", weight)
    shape = (_batch(num_tables, indices, offsets), sum(embedding_dims))
    check.shape("grad_output", grad_output, shape)
    return per_sample_weights.new_empty(indices.shape)


@torch.library.register_fake("embed_ops::multi_embedding_list")
def multi_embedding_list(
    weights: Sequence[Tensor],
    indices: Tensor,
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    check = Check("multi_embedding_list")
    _check_weights(check, weights)
    first = weights[0]
    num_tables = len(weights)
    _check_lookups(check, num_tables, indices, offsets, per_sample_weights, "weights[0]", first)
    check.mode(mode, max_allowed=False)
    return first.new_empty((_batch(num_tables, indices, offsets), _total_width(weights)))


@torch.library.register_fake("embed_ops::multi_embedding_list_dense_backward")
def multi_embedding_list_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[Size],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
    deterministic: bool = False,
) -> list[Tensor]:
    check = Check("multi_embedding_list_dense_backward")
    check_gradient(
        check,
        grad_output,
        indices,
        num_embeddings,
        embedding_dims,
        offsets,
        mode,
        per_sample_weights,
    )
    return [
        grad_output.new_empty((rows, width))
        for rows, width in zip(num_embeddings, embedding_dims, strict=True)
    ]


@torch.library.register_fake("embed_ops::multi_embedding_list_per_sample_weights_backward")
def multi_embedding_list_per_sample_weights_backward(
    grad_output: Tensor,
    weights: Sequence[Tensor],
    indices: Tensor,
    offsets: Tensor,
    mode: str,
    per_sample_weights: Tensor,
) -> Tensor:
    check = Check("multi_embedding_list_per_sample_weights_backward")
    _check_weights(check, weights)
    first = weights[0]
    num_tables = len(weights)
    _check_lookups(check, num_tables, indices, offsets, per_sample_weights, "weights[0]", first)
    check.mode(mode, max_allowed=False)
    check.same_dtype("grad_output", grad_output, "weights[0]", first)
    check.same_device("grad_output", grad_output, "weights[0]", first)
    shape = (_batch(num_tables, indices, offsets), _total_width(weights))
    check.shape("grad_output", grad_output, shape)
    return per_sample_weights.new_empty(indices.shape)


def _check_table_sizes(
    check: Check, num_embeddings: Sequence[Size], embedding_dims: Sequence[int]
) -> None:
    check.require(len(num_embeddings) >= 1, "num_embeddings", "at least 1 value", "0 values")
    check.require(
        len(embedding_dims) == len(num_embeddings),
        "embedding_dims",
        f"{len(num_embeddings)} values (as num_embeddings)",
        f"{len(embedding_dims)} values",
    )
    for rows, width in zip(num_embeddings, embedding_dims, strict=True):
        check.require(rows >= 0, "num_embeddings", "values of at least 0", size_text(rows))
        check.require(width >= 1, "embedding_dims", "values of at least 1", str(width))
    # Sizes known only at run time are those of tensors that exist.
    if all(isinstance(rows, int) for rows in num_embeddings):
        fits = max(1, *num_embeddings) * sum(embedding_dims) < 2**63
        check.require(fits, "num_embeddings", "tables of fewer than 2^63 elements", "more")


def _storage_shape(
    padded: bool, num_embeddings: Sequence[int], embedding_dims: Sequence[int]
) -> tuple[int, ...]:
    """Packed storage is 1-D, table after table; padded storage is 2-D, table beside table."""
    if padded:
        return max(num_embeddings), sum(embedding_dims)
    return (sum(r * w for r, w in zip(num_embeddings, embedding_dims, strict=True)),)


def _check_storage(
    check: Check, weight: Tensor, num_embeddings: Sequence[int], embedding_dims: Sequence[int]
) -> None:
    check.float_dtype("weight", weight)
    check.require(
        weight.dim() in (1, 2),
        "weight",
        "1 (packed) or 2 (padded) dimensions",
        f"shape {shape_text(weight.shape)}",
    )
    padded = weight.dim() == 2
    check.shape("weight", weight, _storage_shape(padded, num_embeddings, embedding_dims))


def _check_weights(check: Check, weights: Sequence[Tensor]) -> None:
    check.require(len(weights) >= 1, "weights", "at least 1 tensor", "0 tensors")
    for weight in weights:
        check.table("weights", weight)
        check.same_dtype("weights", weight, "weights[0]", weights[0])
        check.same_device("weights", weight, "weights[0]", weights[0])
        got = f"shape {shape_text(weight.shape)}"
        check.require(weight.shape[1] >= 1, "weights", "a width of at least 1", got)


def _check_lookups(
    check: Check,
    num_tables: int,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    other_name: str,
    other: Tensor,
) -> None:
    """Without offsets one lookup, with offsets one bag, per table and sample."""
    check.indices(indices, other_name, other)
    if offsets is None:
        check.require(
            indices.dim() == 2 and indices.shape[1] == num_tables,
            "indices",
            f"shape (batch, {num_tables}) without offsets",
            f"shape {shape_text(indices.shape)}",
        )
        check.require(
            per_sample_weights is None, "per_sample_weights", "None without offsets", "a tensor"
        )
        return
    check.offsets(offsets, indices, other_name, other)
    count = offsets.shape[0]
    expected = f"a multiple of {num_tables} elements plus 1"
    got = f"shape {shape_text(offsets.shape)}"
    check.require(count >= 1, "offsets", expected, got)
    check.require((count - 1) % num_tables == 0, "offsets", expected, got)
    if per_sample_weights is not None:
        check.per_sample_weights(per_sample_weights, indices, other_name, other)


def check_gradient(
    check: Check,
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[Size],
    embedding_dims: Sequence[int],
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
) -> None:
    _check_table_sizes(check, num_embeddings, embedding_dims)
    check.table("grad_output", grad_output)
    num_tables = len(embedding_dims)
    _check_lookups(
        check, num_tables, indices, offsets, per_sample_weights, "grad_output", grad_output
    )
    check.mode(mode, max_allowed=False)
    shape = (_batch(num_tables, indices, offsets), sum(embedding_dims))
    check.shape("grad_output", grad_output, shape)


def _batch(num_tables: int, indices: Tensor, offsets: Tensor | None) -> Size:
    return indices.shape[0] if offsets is None else (offsets.shape[0] - 1) // num_tables


def _total_width(weights: Sequence[Tensor]) -> Size:
    return sum(weight.shape[1] for weight in weights)
