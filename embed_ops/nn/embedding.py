"""FastEmbedding: torch.nn.Embedding through this library's kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops._arguments import refuse_sparse
from ..ops.embedding import embedding


class FastEmbedding(nn.Embedding):
    """A table of embeddings: a drop-in replacement of :class:`torch.nn.Embedding`.

    It takes the same arguments with the same meaning, holds the same parameter and loads the same
    state_dict. Not supported so far: ``sparse=True``, at construction.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: width of a row.
        padding_idx: a row that starts as zeros and whose gradient is always zero; negative values
            count from the end.
        max_norm: rows that the input names and whose norm is larger are scaled down to it, in
            place, by every forward.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often the input names it.
        sparse: must be False.
        device, dtype: of the table; dtype float32, float64, float16 or bfloat16.

    Shape:
        - Input: any, int32 or int64.
        - Output: ``(*input.shape, embedding_dim)``.

    Attributes:
        weight: the table, (num_embeddings, embedding_dim), drawn from N(0, 1).

    Raises:
        NotImplementedError: ``sparse`` is True.
        IndexError: by forward, for an index outside [0, num_embeddings); late on CUDA
            (:class:`embed_ops.bounds_check`).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        refuse_sparse("FastEmbedding", sparse)
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
