"""Slow and obvious versions of every op: the specification in plain torch.

Each function has the name and the arguments of one op and says with ordinary tensor operations what
that op computes, in whatever dtype and on whatever device its tensors have. The tests run them in
float64 and hold the kernels to the result; nothing else calls them.

Words used throughout: a *lookup* is one entry of ``indices``; it names a *row* of the table,
belongs to one *bag* (one row of the output) and has a *weight*. A lookup *counts* unless it names
the padding row or no row of the table at all. Only lookups that count take part in a reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# --------------------------------------------------------------------------------------------------
# embedding: one row per index


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False
) -> Tensor:
    """``weight[indices]``, shape ``(*indices.shape, D)``; an index outside the table reads zeros.

    ``padding_idx`` and ``scale_grad_by_freq`` act on the gradient alone.
    """
    rows = indices.reshape(-1).long()
    return _read_rows(weight, rows).reshape(*indices.shape, weight.shape[1])


def embedding_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    deterministic: bool = False,
) -> Tensor:
    """Adds each ``grad_output[j]`` to row ``indices[j]`` of a ``(num_weights, D)`` tensor of zeros.

    The padding row stays zero. ``scale_grad_by_freq`` divides each addition by the number of times
    that its row occurs in ``indices``.
    """
    width = grad_output.shape[-1]
    rows = indices.reshape(-1).long()
    additions = grad_output.reshape(-1, width)
    if scale_grad_by_freq:
        additions = additions / _frequencies(rows)[:, None]
    counts = _counts(rows, num_weights, padding_idx)
    return _add_rows(num_weights, rows[counts], additions[counts])


def embedding_renorm_(
    weight: Tensor, indices: Tensor, max_norm: float, norm_type: float = 2.0
) -> None:
    """Scales, in place and once, each named row whose p-norm exceeds ``max_norm`` down to it."""
    for row in indices.unique().tolist():
        if 0 <= row < weight.shape[0]:
            norm = torch.linalg.vector_norm(weight[row], norm_type)
            if norm > max_norm:
                weight[row] *= max_norm / (norm + 1e-7)


# --------------------------------------------------------------------------------------------------
# embedding_bag: one reduced row per bag


class _Lookups(NamedTuple):
    """The lookups of one call, all layouts alike; the four tensors have shape (N,)."""

    rows: Tensor
    bags: Tensor
    weights: Tensor
    counts: Tensor
    num_bags: int


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
    """Reduces the rows of each bag; a bag without lookups that count gives zeros.

    * ``sum``: the sum of weight x row.
    * ``mean``: that sum divided by the sum of the weights (by their number, where none are given).
    * ``max``: the greatest value of each column.

    Returns:
        ``(B, D)`` and, for ``max``, the row that gave each value (the first of its bag where
        several are equal, -1 for an empty bag) as ``(B, D)`` of the dtype of ``indices``; for the
        other modes an empty tensor.
    """
    lookups = _lookups(
        weight,
        indices,
        offsets,
        per_sample_weights,
        include_last_offset,
        weight.shape[0],
        padding_idx,
    )
    if mode == "max":
        return _max_of_bags(weight, lookups, indices.dtype)
    contributions = _read_rows(weight, lookups.rows) * _effective_weights(lookups, mode)[:, None]
    output = _add_rows(lookups.num_bags, lookups.bags, contributions)
    return output, indices.new_empty(0)


def embedding_bag_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor,
    num_weights: int,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    include_last_offset: bool = False,
    padding_idx: int = -1,
    deterministic: bool = False,
) -> Tensor:
    """The gradient of the table, ``(num_weights, D)``.

    * ``sum`` and ``mean``: each lookup adds its bag's gradient times its effective weight to its
      row; ``scale_grad_by_freq`` divides by the number of times that the row occurs in ``indices``.
    * ``max``: each element of ``grad_output`` is added to the element that ``argmax`` names.
    """
    if mode == "max":
        return _max_backward(grad_output, argmax.long(), num_weights)
    lookups = _lookups(
        grad_output,
        indices,
        offsets,
        per_sample_weights,
        include_last_offset,
        num_weights,
        padding_idx,
    )
    factors = _effective_weights(lookups, mode)
    if scale_grad_by_freq:
        factors = factors / _frequencies(lookups.rows)
    additions = grad_output[lookups.bags] * factors[:, None]
    return _add_rows(num_weights, lookups.rows[lookups.counts], additions[lookups.counts])


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
    """The gradient of ``per_sample_weights``, in its shape; zero for lookups that do not count.

    * ``sum``: the dot product of the bag's gradient and the row.
    * ``mean``: the dot product of the bag's gradient and (row - output of the bag), divided by the
      sum of the bag's weights.
    """
    lookups = _lookups(
        weight,
        indices,
        offsets,
        per_sample_weights,
        include_last_offset,
        weight.shape[0],
        padding_idx,
    )
    grad_of_lookup = grad_output[lookups.bags]
    rows = _read_rows(weight, lookups.rows)
    if mode == "sum":
        gradient = (grad_of_lookup * rows).sum(dim=1)
    else:
        contributions = rows * _effective_weights(lookups, mode)[:, None]
        output = _add_rows(lookups.num_bags, lookups.bags, contributions)
        difference = rows - output[lookups.bags]
        gradient = (grad_of_lookup * difference).sum(dim=1) / _weight_of_bag(lookups)[lookups.bags]
    gradient = torch.where(lookups.counts, gradient, 0)
    # Lookups behind the last bag (a last offset below N) belong to no bag and have no gradient.
    behind = gradient.new_zeros(indices.numel() - gradient.numel())
    return torch.cat([gradient, behind]).reshape(per_sample_weights.shape)


# --------------------------------------------------------------------------------------------------
# multi_embedding: several tables, their results side by side


def multi_embedding(
    weight: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    """:func:`multi_embedding_list` over tables held in one packed (1-D) or padded (2-D) tensor."""
    tables = split_tables(weight, num_embeddings, embedding_dims)
    return multi_embedding_list(tables, indices, offsets, mode, per_sample_weights)


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
    """The gradients of the tables in one tensor, stored as the weight is: packed or padded.

    Padding has gradient zero. A padded result has as many rows as the longest table.
    """
    gradients = multi_embedding_list_dense_backward(
        grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights
    )
    return join_tables(gradients, padded)


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
    """The gradient of ``per_sample_weights``, ``(N,)``."""
    tables = split_tables(weight, num_embeddings, embedding_dims)
    return multi_embedding_list_per_sample_weights_backward(
        grad_output, tables, indices, offsets, mode, per_sample_weights
    )


def multi_embedding_list(
    weights: Sequence[Tensor],
    indices: Tensor,
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    """Looks each column of ``indices`` (B, n) up in its own table: (B, sum of widths).

    With ``offsets`` of shape ``(n * B + 1,)``, ``indices`` is 1-D and the bag of table ``t`` and
    sample ``b`` is bag ``t * B + b``; each bag is reduced as :func:`embedding_bag` does.
    """
    if offsets is None:
        columns = [embedding(table, indices[:, t]) for t, table in enumerate(weights)]
    else:
        columns = [
            embedding_bag(
                table, part.indices, part.offsets, False, mode, part.per_sample_weights, True
            )[0]
            for table, part in zip(
                weights, _parts(len(weights), indices, offsets, per_sample_weights), strict=True
            )
        ]
    return torch.cat(columns, dim=1)


def multi_embedding_list_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
    deterministic: bool = False,
) -> list[Tensor]:
    """The gradient of each table."""
    columns = grad_output.split(list(embedding_dims), dim=1)
    if offsets is None:
        return [
            embedding_dense_backward(grad, indices[:, t], rows)
            for t, (grad, rows) in enumerate(zip(columns, num_embeddings, strict=True))
        ]
    parts = _parts(len(columns), indices, offsets, per_sample_weights)
    return [
        embedding_bag_dense_backward(
            grad,
            part.indices,
            part.offsets,
            part.per_sample_weights,
            indices.new_empty(0),
            rows,
            mode=mode,
            include_last_offset=True,
        )
        for grad, rows, part in zip(columns, num_embeddings, parts, strict=True)
    ]


def multi_embedding_list_per_sample_weights_backward(
    grad_output: Tensor,
    weights: Sequence[Tensor],
    indices: Tensor,
    offsets: Tensor,
    mode: str,
    per_sample_weights: Tensor,
) -> Tensor:
    """The gradient of ``per_sample_weights``, ``(N,)``."""
    columns = grad_output.split([table.shape[1] for table in weights], dim=1)
    gradients = [
        embedding_bag_per_sample_weights_backward(
            grad, table, part.indices, part.offsets, part.per_sample_weights, mode, True
        )
        for grad, table, part in zip(
            columns,
            weights,
            _parts(len(weights), indices, offsets, per_sample_weights),
            strict=True,
        )
        if part.per_sample_weights is not None
    ]
    behind = grad_output.new_zeros(indices.numel() - sum(map(Tensor.numel, gradients)))
    return torch.cat([*gradients, behind])


def split_tables(
    weight: Tensor, num_embeddings: Sequence[int], embedding_dims: Sequence[int]
) -> list[Tensor]:
    """The tables held in a packed (1-D) or padded (2-D) tensor, as views of it."""
    if weight.dim() == 2:
        columns = weight.split(list(embedding_dims), dim=1)
        return [table[:rows] for table, rows in zip(columns, num_embeddings, strict=True)]
    shapes = list(zip(num_embeddings, embedding_dims, strict=True))
    pieces = weight.split([rows * width for rows, width in shapes])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def join_tables(tables: Sequence[Tensor], padded: bool) -> Tensor:
    """The inverse of :func:`split_tables`; padding is zero."""
    if not padded:
        return torch.cat([table.reshape(-1) for table in tables])
    most = max(table.shape[0] for table in tables)
    return torch.cat(
        [torch.cat([t, t.new_zeros(most - t.shape[0], t.shape[1])]) for t in tables], dim=1
    )


# --------------------------------------------------------------------------------------------------
# The words of the module's docstring, one function each


def _counts(rows: Tensor, num_rows: int, padding_idx: int) -> Tensor:
    return (rows >= 0) & (rows < num_rows) & (rows != padding_idx)


def _frequencies(rows: Tensor) -> Tensor:
    """For each lookup, how many lookups name its row."""
    _, inverse, occurrences = rows.unique(return_inverse=True, return_counts=True)
    return occurrences[inverse]


def _read_rows(weight: Tensor, rows: Tensor) -> Tensor:
    """(N, D): the named rows; zeros where there is no such row."""
    exists = (rows >= 0) & (rows < weight.shape[0])
    read = weight.new_zeros(rows.numel(), weight.shape[1])
    return read.index_put((exists.nonzero().squeeze(1),), weight[rows[exists]])


def _add_rows(num_rows: int, rows: Tensor, additions: Tensor) -> Tensor:
    """(num_rows, D): zeros, with additions[j] added to row rows[j]."""
    return additions.new_zeros(num_rows, additions.shape[1]).index_add(0, rows, additions)


def _lookups(
    like: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    include_last_offset: bool,
    num_rows: int,
    padding_idx: int,
) -> _Lookups:
    if offsets is None:
        num_bags, hotness = indices.shape
        lengths = torch.full((num_bags,), hotness, device=indices.device)
    else:
        ends = (
            offsets
            if include_last_offset
            else torch.cat([offsets, offsets.new_tensor([indices.numel()])])
        )
        lengths = ends.long().diff()
        num_bags = lengths.numel()
    bags = torch.arange(num_bags, device=indices.device).repeat_interleave(lengths)
    rows = indices.reshape(-1)[: bags.numel()].long()
    if per_sample_weights is None:
        weights = like.new_ones(rows.shape)
    else:
        weights = per_sample_weights.reshape(-1)[: bags.numel()]
    return _Lookups(rows, bags, weights, _counts(rows, num_rows, padding_idx), num_bags)


def _weight_of_bag(lookups: _Lookups) -> Tensor:
    """(B,): the sum of the weights of each bag's lookups that count."""
    counted = torch.where(lookups.counts, lookups.weights, 0)
    return counted.new_zeros(lookups.num_bags).index_add(0, lookups.bags, counted)


def _effective_weights(lookups: _Lookups, mode: str) -> Tensor:
    """(N,): by what each row is multiplied on its way into the output."""
    weights = lookups.weights
    if mode == "mean":
        weights = weights / _weight_of_bag(lookups)[lookups.bags]
    return torch.where(lookups.counts, weights, 0)


def _max_of_bags(
    weight: Tensor, lookups: _Lookups, index_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    width = weight.shape[1]
    outputs, winners = [], []
    for bag in range(lookups.num_bags):
        rows = lookups.rows[(lookups.bags == bag) & lookups.counts]
        if rows.numel() == 0:
            outputs.append(weight.new_zeros(width))
            winners.append(rows.new_full((width,), -1))
        else:
            first = weight[rows].argmax(dim=0)
            outputs.append(weight[rows].gather(0, first[None])[0])
            winners.append(rows[first])
    if not outputs:
        return weight.new_empty(0, width), torch.empty(
            0, width, dtype=index_dtype, device=weight.device
        )
    return torch.stack(outputs), torch.stack(winners).to(index_dtype)


def _max_backward(grad_output: Tensor, argmax: Tensor, num_weights: int) -> Tensor:
    bag, column = (argmax >= 0).nonzero(as_tuple=True)
    gradient = grad_output.new_zeros(num_weights, grad_output.shape[1])
    return gradient.index_put(
        (argmax[bag, column], column), grad_output[bag, column], accumulate=True
    )


class _Part(NamedTuple):
    """One table's share of a pooled call: arguments of embedding_bag with include_last_offset."""

    indices: Tensor
    offsets: Tensor
    per_sample_weights: Tensor | None


def _parts(
    num_tables: int, indices: Tensor, offsets: Tensor, per_sample_weights: Tensor | None
) -> list[_Part]:
    batch = (offsets.numel() - 1) // num_tables
    parts = []
    for table in range(num_tables):
        ends = offsets[table * batch : (table + 1) * batch + 1]
        share = slice(int(ends[0]), int(ends[-1]))
        weights = None if per_sample_weights is None else per_sample_weights[share]
        parts.append(_Part(indices[share], ends - ends[0], weights))
    return parts
