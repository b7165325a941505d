"""FastMultiEmbedding: many tables in one parameter, looked up in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..ops._arguments import fail
from ..ops.multi_embedding import multi_embedding

_NAME = "FastMultiEmbedding"
_STORAGES = ("packed", "padded")
_MODES = (None, "sum", "mean")


class FastMultiEmbedding(nn.Module):
    """n tables of different sizes, whose rows come out side by side.

    Table i has ``embedding_sizes[i]`` rows of ``embedding_dims[i]`` elements. With ``mode=None`` a
    sample names one row of each table; with ``"sum"`` or ``"mean"`` it has a bag of rows for each.

    Args:
        embedding_sizes: rows of each table.
        embedding_dims: width of each table.
        _weight: the tables' values in either storage; drawn from N(0, 1) otherwise. Not copied if
            its storage is the module's.
        storage: ``"packed"`` holds the tables one after the other in a 1-D weight, nothing wasted.
            ``"padded"`` holds them side by side in a 2-D weight of shape (rows of the tallest, sum
            of widths).
        mode: None, ``"sum"`` or ``"mean"``.
        sparse: the gradient of ``weight`` is a coalesced sparse tensor, of the elements of the rows
            that the input names, also in compiled code.
        device, dtype: of the weight; dtype float32, float64, float16 or bfloat16. With ``_weight``
            given, its own are the default.

    Attributes:
        weight: the parameter that holds all tables; :meth:`table` views one.
        embedding_sizes, embedding_dims: as given, as lists.
        storage, mode, sparse: as given.

    State dicts of either storage load into either, those of RTBHOUSE's FastMultiEmbedding included.

    Raises:
        ValueError: sizes and widths of different number, none at all, or out of range; a
            ``_weight`` of another shape; an unknown storage or mode.
    """

    weight: nn.Parameter

    def __init__(
        self,
        embedding_sizes: Sequence[int],
        embedding_dims: Sequence[int],
        _weight: Tensor | None = None,
        *,
        storage: str = "packed",
        mode: str | None = None,
        sparse: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.embedding_sizes = list(embedding_sizes)
        self.embedding_dims = list(embedding_dims)
        self.storage = storage
        self.mode = mode
        self.sparse = sparse
        self._check_options()
        if _weight is None:
            shape = self._weight_shape(storage)
            self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.reset_parameters()
        else:
            self._check_weight(_weight)
            self.weight = nn.Parameter(self._to_own_storage(_weight.to(device, dtype)))

    def reset_parameters(self) -> None:
        """Draws all tables from N(0, 1)."""
        nn.init.normal_(self.weight)

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Looks the tables up.

        Args:
            input: int32 or int64. With ``mode=None`` (batch, n), or (batch,) for a single table.
                Otherwise (N,), the bags one after the other.
            offsets: with a mode only: (n * batch + 1,), where each bag begins, and the end. Bag
                ``t * batch + b`` is that of table t and sample b.
            per_sample_weights: with a mode only: (N,), a weight for each index, of the weight's
                dtype.

        Returns:
            (batch, sum of widths).

        Raises:
            IndexError: an index is outside its table, or offsets make no bags; late on CUDA
                (:class:`embed_ops.bounds_check`).
            ValueError: an argument of a wrong dtype, shape or device; offsets without a mode or
                none with one.
        """
        if self.mode is None and offsets is not None:
            fail(_NAME, "offsets", "None with mode None", "a tensor")
        if self.mode is not None and offsets is None:
            fail(_NAME, "offsets", f"a tensor with mode {self.mode!r}", "None")
        if offsets is None and input.dim() == 1 and len(self.embedding_sizes) == 1:
            input = input.unsqueeze(1)
        return multi_embedding(
            input,
            self.weight,
            self.embedding_sizes,
            self.embedding_dims,
            offsets,
            self.mode or "sum",
            per_sample_weights,
            self.sparse,
        )

    def table(self, index: int) -> Tensor:
        """The weights of one table, (rows, width): a view of ``weight``, differentiable.

        Negative values of ``index`` count from the end.

        Raises:
            IndexError: there is no such table.
        """
        count = len(self.embedding_sizes)
        if not -count <= index < count:
            raise IndexError(
                f"embed_ops::FastMultiEmbedding: table: expected a value in [{-count}, {count}), "
                f"got {index}"
            )
        return self._table_in(self.weight, index % count)

    def extra_repr(self) -> str:
        mode = "" if self.mode is None else f", mode={self.mode!r}"
        sparse = ", sparse=True" if self.sparse else ""
        return f"{self.embedding_sizes}, {self.embedding_dims}{mode}{sparse}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # RTBHOUSE's module keeps the table of each column as a buffer; here the sizes say it.
        state_dict.pop(f"{prefix}membership_index", None)
        key = f"{prefix}weight"
        loaded = state_dict.get(key)
        other = "packed" if self.storage == "padded" else "padded"
        if loaded is not None and tuple(loaded.shape) == self._weight_shape(other):
            state_dict[key] = self._to_own_storage(loaded)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _weight_shape(self, storage: str) -> tuple[int, ...]:
        if storage == "packed":
            return _packed_shape(self.embedding_sizes, self.embedding_dims)
        return max(self.embedding_sizes), sum(self.embedding_dims)

    def _table_in(self, weight: Tensor, index: int) -> Tensor:
        """One table of a weight of either storage, as a view."""
        sizes, dims = self.embedding_sizes, self.embedding_dims
        rows, width = sizes[index], dims[index]
        if weight.dim() == 2:
            return weight.narrow(1, sum(dims[:index]), width).narrow(0, 0, rows)
        (start,) = _packed_shape(sizes[:index], dims[:index])
        return weight.narrow(0, start, rows * width).view(rows, width)

    def _to_own_storage(self, weight: Tensor) -> Tensor:
        """``weight`` itself if it is in this module's storage, otherwise a copy that is."""
        shape = self._weight_shape(self.storage)
        if tuple(weight.shape) == shape:
            return weight
        with torch.no_grad():
            converted = weight.new_zeros(shape)
            for index in range(len(self.embedding_sizes)):
                self._table_in(converted, index).copy_(self._table_in(weight, index))
        return converted

    def _check_options(self) -> None:
        sizes, dims = self.embedding_sizes, self.embedding_dims
        if not sizes:
            fail(_NAME, "embedding_sizes", "at least 1 value", "0 values")
        if len(dims) != len(sizes):
            fail(
                _NAME,
                "embedding_dims",
                f"{len(sizes)} values (as embedding_sizes)",
                f"{len(dims)} values",
            )
        if min(sizes) < 0:
            fail(_NAME, "embedding_sizes", "values of at least 0", str(min(sizes)))
        if min(dims) < 1:
            fail(_NAME, "embedding_dims", "values of at least 1", str(min(dims)))
        if self.storage not in _STORAGES:
            fail(_NAME, "storage", "'packed' or 'padded'", repr(self.storage))
        if self.mode not in _MODES:
            fail(_NAME, "mode", "None, 'sum' or 'mean'", repr(self.mode))

    def _check_weight(self, weight: Tensor) -> None:
        packed, padded = (self._weight_shape(storage) for storage in _STORAGES)
        if tuple(weight.shape) not in (packed, padded):
            fail(
                _NAME,
                "_weight",
                f"shape {packed} (packed) or {padded} (padded)",
                f"shape {tuple(weight.shape)}",
            )


def _packed_shape(sizes: Sequence[int], dims: Sequence[int]) -> tuple[int]:
    return (sum(rows * width for rows, width in zip(sizes, dims, strict=True)),)
