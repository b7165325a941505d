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
# Compressed gradients: the rows that lookups name, ascending, and the dense gradient's values there


def embedding_compressed_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns: values ``(U, D)``, and rows ``(U,)`` of the dtype of ``indices``."""
    dense = embedding_dense_backward(
        grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
    )
    return _compress(dense, indices.reshape(-1), padding_idx)


def embedding_compressed_backward_padded(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, padded to ``size`` rows, and how many of them are named.

    ``size`` is the number of indices unless it is given. Behind the rows that are named stand
    repetitions of the last one (of 0 where there is none) whose values are zero.
    """
    values, rows = embedding_compressed_backward(
        grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
    )
    return _pad(values, rows, indices.numel() if size is None else size)


def embedding_bag_compressed_backward(
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
) -> tuple[Tensor, Tensor]:
    """Rows that lookups of any bag name count as named, also where ``max`` keeps none of them."""
    dense = embedding_bag_dense_backward(
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
    of_bags = _lookups(
        grad_output,
        indices,
        offsets,
        per_sample_weights,
        include_last_offset,
        num_weights,
        padding_idx,
    )
    return _compress(dense, of_bags.rows.to(indices.dtype), padding_idx)


def embedding_bag_compressed_backward_padded(
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
    size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Padded as :func:`embedding_compressed_backward_padded`."""
    values, rows = embedding_bag_compressed_backward(
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
    return _pad(values, rows, indices.numel() if size is None else size)


def multi_embedding_compressed_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The compressed gradient of each table."""
    dense = multi_embedding_list_dense_backward(
        grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights
    )
    if offsets is None:
        shares = list(indices.unbind(dim=1))
    else:
        parts = _parts(len(dense), indices, offsets, per_sample_weights)
        shares = [part.indices for part in parts]
    pairs = [_compress(grad, rows, -1) for grad, rows in zip(dense, shares, strict=True)]
    return [values for values, _ in pairs], [rows for _, rows in pairs]


def multi_embedding_compressed_backward_padded(
    grad_output: Tensor,
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None = None,
    mode: str = "sum",
    per_sample_weights: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Padded as :func:`embedding_compressed_backward_padded`, each table to B rows (to N with
    ``offsets``); the number of named rows of each table is ``(n,)``."""
    values, rows = multi_embedding_compressed_backward(
        grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights
    )
    padded = [_pad(v, r, indices.shape[0]) for v, r in zip(values, rows, strict=True)]
    counts = torch.stack([count for _, _, count in padded])
    return [v for v, _, _ in padded], [r for _, r, _ in padded], counts


def _compress(dense: Tensor, rows: Tensor, padding_idx: int) -> tuple[Tensor, Tensor]:
    named = rows[_counts(rows, dense.shape[0], padding_idx)].unique()
    return dense[named.long()], named


def _pad(values: Tensor, rows: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    more = size - rows.numel()
    last = rows[-1:] if rows.numel() > 0 else rows.new_zeros(1)
    return (
        torch.cat([values, values.new_zeros(more, values.shape[1])]),
        torch.cat([rows, last.expand(more)]),
        torch.tensor(rows.numel(), device=rows.device),
    )


# --------------------------------------------------------------------------------------------------
# Index transforms


def row_ids_from_fixed(indices: Tensor) -> Tensor:
    """``(B * h,)``: the bag of each lookup of ``indices`` (B, h)."""
    batch, hotness = indices.shape
    return torch.arange(batch, dtype=indices.dtype, device=indices.device).repeat_interleave(
        hotness
    )


def row_ids_from_csr(
    offsets: Tensor, num_indices: int, include_last_offset: bool = False
) -> Tensor:
    """``(num_indices,)``: the bag of each lookup, -1 for a lookup behind the last bag."""
    ends = offsets
    if not include_last_offset:
        ends = torch.cat([offsets, offsets.new_tensor([num_indices])])
    lengths = ends.long().diff()
    bags = torch.arange(lengths.numel(), dtype=offsets.dtype, device=offsets.device)
    row_ids = bags.repeat_interleave(lengths)
    return torch.cat([row_ids, row_ids.new_full((num_indices - row_ids.numel(),), -1)])


def offsets_from_row_ids(
    row_ids: Tensor, num_bags: int, include_last_offset: bool = False
) -> Tensor:
    """``(B,)`` or ``(B + 1,)``: the way back from :func:`row_ids_from_csr`."""
    bags = torch.arange(num_bags + include_last_offset, device=row_ids.device)
    return (row_ids[row_ids >= 0] < bags[:, None]).sum(dim=1).to(row_ids.dtype)


def transpose(
    indices: Tensor,
    row_ids: Tensor,
    num_weights: int,
    per_sample_weights: Tensor | None = None,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Lookups in coordinates, sorted by index; lookups of one index keep their order.

    Last, with an index of -1, come the lookups that count for nothing: those of no bag (row id -1),
    of the padding row or out of range.
    """
    counts = _counts(indices, num_weights, padding_idx) & (row_ids >= 0)
    order = torch.where(counts, indices.long(), num_weights).argsort(stable=True)
    if per_sample_weights is None:
        weights = indices.new_empty(0, dtype=torch.float32)
    else:
        weights = per_sample_weights[order]
    return weights, torch.where(counts, indices, -1)[order], row_ids[order]


def compressed_indices(indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The runs of equal values in sorted ``indices`` (N,), behind which -1 may stand.

    Returns:
        The value of each run (U,), the run of each index (N,) or -1, the length of each run (U,)
        and where each begins, with the end of the last (U + 1,).
    """
    counted = indices[indices >= 0]
    rows, inverse, counts = counted.unique_consecutive(return_inverse=True, return_counts=True)
    behind = indices.new_full((indices.numel() - counted.numel(),), -1)
    inverse = torch.cat([inverse.to(indices.dtype), behind])
    return rows, inverse, counts, torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def compressed_indices_padded(indices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same with N runs, and how many of them are not empty.

    The empty ones repeat the last value (0 where there is none), and begin where it ends.
    """
    rows, inverse, counts, offsets = compressed_indices(indices)
    more = indices.numel() - rows.numel()
    last = rows[-1:] if rows.numel() > 0 else rows.new_zeros(1)
    return (
        torch.cat([rows, last.expand(more)]),
        inverse,
        torch.cat([counts, counts.new_zeros(more)]),
        torch.cat([offsets, offsets[-1:].expand(more)]),
        torch.tensor(rows.numel(), device=rows.device),
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
