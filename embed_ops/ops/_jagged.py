"""Nested tensors of layout torch.jagged: bags as values and offsets."""

from __future__ import annotations

import torch
from torch import Tensor

from ._arguments import fail


def open_jagged(name: str, argument: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The values (N,) and the offsets (B + 1,) that a nested tensor (B, j) is made of.

    Args:
        name: the op, for error texts.
        argument: the argument, for error texts.
        tensor: nested; its entries one after the other in memory.

    Raises:
        ValueError: another layout, more dimensions, or gaps between the entries.
    """
    if tensor.layout != torch.jagged:
        fail(name, argument, "layout torch.jagged of a nested tensor", f"layout {tensor.layout}")
    if tensor.dim() != 2:
        fail(name, argument, "2 dimensions of a nested tensor", f"{tensor.dim()} dimensions")
    if tensor.lengths() is not None:  # type: ignore[attr-defined]
        fail(name, argument, "a jagged tensor without gaps (tensor.contiguous())", "one with gaps")
    return tensor.values(), tensor.offsets()  # type: ignore[attr-defined]


def open_jagged_weights(name: str, weights: Tensor, like: Tensor) -> Tensor:
    """The values (N,) of per-sample weights that are as ragged as ``like``.

    Raises:
        ValueError: as :func:`open_jagged`; or the two were not made from the same offsets.
    """
    argument = "per_sample_weights"
    if not weights.is_nested:
        fail(name, argument, "a jagged tensor (as input)", "a dense tensor")
    values, _ = open_jagged(name, argument, weights)
    # Ragged sizes are equal if they come from the same offsets; the data is not compared.
    if weights.shape != like.shape:
        fail(
            name,
            argument,
            "the offsets of input (torch.nested.nested_tensor_from_jagged(weights, "
            "input.offsets()))",
            "offsets of its own",
        )
    return values
