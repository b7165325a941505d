"""Fake kernels of embedding_bag and its gradients; twins of csrc/ops/embedding_bag.h."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import Check, Size, shape_text


@torch.library.register_fake("embed_ops::embedding_bag")
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor | None = None,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor]:
    check = Check("embedding_bag")
    check.table("weight", weight)
    _check_bags(check, indices, offsets, per_sample_weights, include_last_offset, "weight", weight)
    _check_mode(check, mode, per_sample_weights, scale_grad_by_freq)
    check.padding_idx(padding_idx, weight.shape[0])
    shape = (_num_bags(indices, offsets, include_last_offset), weight.shape[1])
    return weight.new_empty(shape), indices.new_empty(shape if mode == "max" else (0,))


@torch.library.register_fake("embed_ops::embedding_bag_dense_backward")
def embedding_bag_dense_backward(
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
    deterministic: bool = False,
) -> Tensor:
    check = Check("embedding_bag_dense_backward")
    check_gradient(
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
    return grad_output.new_empty((num_weights, grad_output.shape[1]))


@torch.library.register_fake("embed_ops::embedding_bag_per_sample_weights_backward")
def embedding_bag_per_sample_weights_backward(
    grad_output: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor,
    mode: str = "mean",
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Tensor:
    check = Check("embedding_bag_per_sample_weights_backward")
    check.table("weight", weight)
    _check_bags(check, indices, offsets, per_sample_weights, include_last_offset, "weight", weight)
    check.mode(mode, max_allowed=False)
    check.same_dtype("grad_output", grad_output, "weight", weight)
    check.same_device("grad_output", grad_output, "weight", weight)
    shape = (_num_bags(indices, offsets, include_last_offset), weight.shape[1])
    check.shape("grad_output", grad_output, shape)
    check.padding_idx(padding_idx, weight.shape[0])
    return per_sample_weights.new_empty(indices.shape)


def check_gradient(
    check: Check,
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor,
    num_weights: Size,
    scale_grad_by_freq: bool,
    mode: str,
    include_last_offset: bool,
    padding_idx: int,
) -> None:
    check.table("grad_output", grad_output)
    _check_bags(
        check, indices, offsets, per_sample_weights, include_last_offset, "grad_output", grad_output
    )
    _check_mode(check, mode, per_sample_weights, scale_grad_by_freq)
    shape = (_num_bags(indices, offsets, include_last_offset), grad_output.shape[1])
    check.shape("grad_output", grad_output, shape)
    if mode == "max":
        check.same_dtype("argmax", argmax, "indices", indices)
        check.same_device("argmax", argmax, "grad_output", grad_output)
        check.shape("argmax", argmax, shape)
    check.at_least("num_weights", num_weights, 0)
    check.padding_idx(padding_idx, num_weights)


def _check_bags(
    check: Check,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    other_name: str,
    other: Tensor,
) -> None:
    """Fixed hotness (2-D indices) or CSR (1-D indices and offsets), and weights of their shape."""
    check.indices(indices, other_name, other)
    if offsets is None:
        check.rank("indices", indices, 2, " without offsets")
        check.require(
            not include_last_offset, "include_last_offset", "False without offsets", "True"
        )
    else:
        check.offsets(offsets, indices, other_name, other)
        check.require(
            not include_last_offset or offsets.shape[0] >= 1,
            "offsets",
            "at least 1 element with include_last_offset",
            f"shape {shape_text(offsets.shape)}",
        )
    if per_sample_weights is not None:
        check.per_sample_weights(per_sample_weights, indices, other_name, other)


def _check_mode(
    check: Check, mode: str, per_sample_weights: Tensor | None, scale_grad_by_freq: bool
) -> None:
    check.mode(mode, max_allowed=True)
    if mode == "max":
        check.require(
            per_sample_weights is None, "per_sample_weights", "None with mode 'max'", "a tensor"
        )
        check.require(not scale_grad_by_freq, "scale_grad_by_freq", "False with mode 'max'", "True")


def _num_bags(indices: Tensor, offsets: Tensor | None, include_last_offset: bool) -> Size:
    if offsets is None:
        return indices.shape[0]
    return offsets.shape[0] - 1 if include_last_offset else offsets.shape[0]
