"""Index transforms: what lies between the bags of a lookup and the rows of its gradient.

The words are those of NVIDIA's cuEmbed (https://github.com/NVIDIA/cuEmbed). A *lookup* in
coordinates is an index (the row of the table), a *row id* (the sample, or bag, that it belongs to)
and, where there are any, a weight. :func:`transpose` puts lookups from the order of their samples,
which the forward takes, into that of their rows, which the gradient takes;
:func:`compressed_indices` numbers the distinct rows among them.

Nothing here synchronises except the exact form of :func:`compressed_indices`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._arguments import NO_PADDING
from ._autograd import needs_grad
from ._registration import Gradients

ops = torch.ops.embed_ops


class Coordinates(NamedTuple):
    """Lookups in coordinates, each (N,)."""

    indices: Tensor
    row_ids: Tensor
    per_sample_weights: Tensor | None


class Runs(NamedTuple):
    """The distinct values among sorted indices.

    Attributes:
        rows: (U,), the values, ascending; of the dtype of the indices.
        inverse: (N,), for each index the place of its value in ``rows``, -1 for an index of -1; of
            the dtype of the indices. cuEmbed: remapped, or compressed, indices.
        counts: (U,) int64, how often each value occurs.
        offsets: (U + 1,) int64, where the run of each value begins, and where the last one ends.
        num_unique: of the padded form U, on the device: int64 without dimensions; otherwise None.
    """

    rows: Tensor
    inverse: Tensor
    counts: Tensor
    offsets: Tensor
    num_unique: Tensor | None


def row_ids_from_fixed(indices: Tensor) -> Tensor:
    """The bag of each lookup of bags of fixed hotness (cuEmbed: ExtractRowIdsFromFixed).

    With a hotness of 1 these are the numbers of the lookups (cuEmbed: ExtractRowIdsForConcat).

    Args:
        indices: (B, hotness), int32 or int64; only its shape is read.

    Returns:
        (B * hotness,): 0, 0, ... 1, 1, ..., of the dtype of ``indices``.

    Raises:
        ValueError: another dtype or number of dimensions.
    """
    return ops.row_ids_from_fixed(indices)


def row_ids_from_csr(
    offsets: Tensor, num_indices: int, include_last_offset: bool = False
) -> Tensor:
    """The bag of each lookup of a CSR layout (cuEmbed: ExtractRowIdsFromCSR).

    Args:
        offsets: (B,), where each bag begins, the first at 0; int32 or int64.
        num_indices: N, the number of lookups.
        include_last_offset: ``offsets`` is (B + 1,) and ends with the end of the last bag.

    Returns:
        (N,), of the dtype of ``offsets``; -1 for lookups behind the last bag.

    Raises:
        IndexError: offsets make no bags; late on CUDA (:class:`embed_ops.bounds_check`).
        ValueError: another dtype or number of dimensions.
    """
    return ops.row_ids_from_csr(offsets, num_indices, include_last_offset)


def offsets_from_row_ids(
    row_ids: Tensor, num_bags: int, include_last_offset: bool = False
) -> Tensor:
    """The way back from :func:`row_ids_from_csr`: where each bag begins.

    Args:
        row_ids: (N,), not decreasing, with -1 behind them for lookups of no bag; int32 or int64.
        num_bags: B.
        include_last_offset: whether the end of the last bag is wanted too.

    Returns:
        (B,) or (B + 1,), of the dtype of ``row_ids``.

    Raises:
        IndexError: row ids that decrease or are not in [0, B); late on CUDA
            (:class:`embed_ops.bounds_check`).
        ValueError: another dtype or number of dimensions.
    """
    return ops.offsets_from_row_ids(row_ids, num_bags, include_last_offset)


def transpose(
    indices: Tensor,
    row_ids: Tensor,
    num_weights: int,
    per_sample_weights: Tensor | None = None,
    padding_idx: int | None = None,
) -> Coordinates:
    """Sorts lookups in coordinates by index (cuEmbed: Transpose).

    The sort is stable: lookups of one index keep their order. On CUDA it is a radix sort over
    as many bits as the size of the table needs. Called again with the roles of ``indices`` and
    ``row_ids`` exchanged, it is the way back.

    Args:
        indices: (N,), int32 or int64.
        row_ids: (N,), int32 or int64; lookups of no bag have -1.
        num_weights: rows of the table.
        per_sample_weights: (N,), of any of the tables' dtypes. Differentiable.
        padding_idx: a row whose lookups count for nothing.

    Returns:
        The three, sorted. Last, with an index of -1, stand the lookups that count for nothing: of
        no bag, of the padding row or out of range.

    Raises:
        IndexError: an index is outside [0, num_weights); late on CUDA
            (:class:`embed_ops.bounds_check`).
        ValueError: an argument of a wrong dtype, shape or device.
    """
    padding = NO_PADDING if padding_idx is None else padding_idx
    weights, sorted_indices, sorted_row_ids = ops.transpose(
        indices, row_ids, num_weights, per_sample_weights, padding
    )
    given = per_sample_weights is not None
    return Coordinates(sorted_indices, sorted_row_ids, weights if given else None)


def compressed_indices(indices: Tensor, padded: bool = False) -> Runs:
    """The distinct values among sorted indices (cuEmbed: ComputeCompressedGradIndices).

    ``rows[inverse]`` is the way back, and so is ``rows[row_ids_from_csr(offsets, N, True)]``.

    Args:
        indices: (N,), not decreasing, with -1 behind them for lookups that count for nothing, as
            :func:`transpose` leaves them; int32 or int64.
        padded: False: results have as many entries as there are values, which on CUDA waits for the
            device and cannot be captured in a CUDA graph; in compiled code the number is a size
            known at run time. True: they have N, of which ``num_unique`` are used; the others
            repeat the last value (0 where there is none), with a count of 0 and the last offset.

    Raises:
        IndexError: indices that decrease; late on CUDA (:class:`embed_ops.bounds_check`).
        ValueError: another dtype or number of dimensions.
    """
    if padded:
        rows, inverse, counts, offsets, num_unique = ops.compressed_indices_padded(indices)
        return Runs(rows, inverse, counts, offsets, num_unique)
    rows, inverse, counts, offsets = ops.compressed_indices(indices)
    return Runs(rows, inverse, counts, offsets, None)


def _save_for_transpose(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    indices, row_ids, ctx.num_weights, _, ctx.padding_idx = inputs
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(indices, row_ids)


def _backward_of_transpose(
    ctx: Any, grad_weights: Tensor | None, grad_indices: None, grad_row_ids: None
) -> Gradients:
    gradient = None
    if grad_weights is not None and needs_grad(ctx, 3):
        indices, row_ids = ctx.saved_tensors
        # Sorting the lookups' own numbers says where each came from.
        numbers = torch.arange(indices.shape[0], device=indices.device)
        numbers = torch.where(row_ids >= 0, numbers, -1 - numbers)
        came_from = ops.transpose(indices, numbers, ctx.num_weights, None, ctx.padding_idx)[2]
        came_from = torch.where(came_from >= 0, came_from, -1 - came_from)
        gradient = torch.zeros_like(grad_weights).index_copy(0, came_from, grad_weights)
    return (None, None, None, gradient, None)[: len(ctx.needs_input_grad)]


torch.library.register_autograd(
    "embed_ops::transpose", _backward_of_transpose, setup_context=_save_for_transpose
)
