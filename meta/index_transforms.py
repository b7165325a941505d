"""Fake kernels of the index transforms; twins of csrc/ops/index_transforms.h."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import Check, Size, shape_text


@torch.library.register_fake("embed_ops::row_ids_from_fixed")
def row_ids_from_fixed(indices: Tensor) -> Tensor:
    check = Check("row_ids_from_fixed")
    check.index_dtype("indices", indices)
    check.rank("indices", indices, 2)
    return indices.new_empty((indices.numel(),))


@torch.library.register_fake("embed_ops::row_ids_from_csr")
def row_ids_from_csr(
    offsets: Tensor, num_indices: Size, include_last_offset: bool = False
) -> Tensor:
    check = Check("row_ids_from_csr")
    check.index_dtype("offsets", offsets)
    check.rank("offsets", offsets, 1)
    check.require(
        not include_last_offset or offsets.shape[0] >= 1,
        "offsets",
        "at least 1 element with include_last_offset",
        f"shape {shape_text(offsets.shape)}",
    )
    check.at_least("num_indices", num_indices, 0)
    return offsets.new_empty((num_indices,))


@torch.library.register_fake("embed_ops::offsets_from_row_ids")
def offsets_from_row_ids(
    row_ids: Tensor, num_bags: Size, include_last_offset: bool = False
) -> Tensor:
    check = Check("offsets_from_row_ids")
    check.index_dtype("row_ids", row_ids)
    check.rank("row_ids", row_ids, 1)
    check.at_least("num_bags", num_bags, 0)
    return row_ids.new_empty((num_bags + 1 if include_last_offset else num_bags,))


@torch.library.register_fake("embed_ops::transpose")
def transpose(
    indices: Tensor,
    row_ids: Tensor,
    num_weights: Size,
    per_sample_weights: Tensor | None = None,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor]:
    check = Check("transpose")
    check.index_dtype("indices", indices)
    check.rank("indices", indices, 1)
    check.index_dtype("row_ids", row_ids)
    check.same_device("row_ids", row_ids, "indices", indices)
    check.shape("row_ids", row_ids, indices.shape)
    check.at_least("num_weights", num_weights, 0)
    if per_sample_weights is not None:
        check.float_dtype("per_sample_weights", per_sample_weights)
        check.same_device("per_sample_weights", per_sample_weights, "indices", indices)
        check.shape("per_sample_weights", per_sample_weights, indices.shape)
    check.padding_idx(padding_idx, num_weights)
    if per_sample_weights is None:
        weights = indices.new_empty((0,), dtype=torch.float32)
    else:
        weights = per_sample_weights.new_empty(indices.shape)
    return weights, indices.new_empty(indices.shape), row_ids.new_empty(row_ids.shape)


@torch.library.register_fake("embed_ops::compressed_indices")
def compressed_indices(indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_sorted(Check("compressed_indices"), indices)
    return _runs(indices, torch.library.get_ctx().new_dynamic_size())


@torch.library.register_fake("embed_ops::compressed_indices_padded")
def compressed_indices_padded(
    indices: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check_sorted(Check("compressed_indices_padded"), indices)
    num_unique = indices.new_empty((), dtype=torch.int64)
    return *_runs(indices, indices.shape[0]), num_unique


def _check_sorted(check: Check, indices: Tensor) -> None:
    check.index_dtype("indices", indices)
    check.rank("indices", indices, 1)


def _runs(indices: Tensor, size: Size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        indices.new_empty((size,)),
        indices.new_empty(indices.shape),
        indices.new_empty((size,), dtype=torch.int64),
        indices.new_empty((size + 1,), dtype=torch.int64),
    )
